"""Preparing a training: options into configurations, files that are checked and read, and what is printed before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from charlm.cli import resumption, ui
from charlm.cli.level_options import given_pieces, reading_of, strict
from charlm.cli.options import choose_seed, refuse_same_file
from charlm.cli.train_options import TrainOptions, settings_given
from charlm.cli.training_lines import describe
from charlm.cli.training_log import TrainingLog
from charlm.cli.training_output import check_output, output_files
from charlm.cli.training_ranks import in_turn, share
from charlm.errors import CorpusError, UsageError
from charlm.processes import world
from charlm.storage.files import display_name

_OTHER_LOG = "name another file: --log FILE.jsonl"


class Preparation:
    """A training that is about to start: its options, its files, and its session once it is prepared."""

    def __init__(self, options: TrainOptions, output: Path) -> None:
        self.options, self.given = options.values, options.given
        self.corpus: list[str] = self.options["corpus"]
        self.valid: str | None = self.options["valid"]
        self.model_path, self.checkpoint_path = output_files(output)
        self.log: TrainingLog | None = None

    def prepare(self) -> None:
        """Prepare the training; raise what `start` and `resume` raise, and UsageError for files that would be lost."""
        options = self.options
        files = [*self.corpus, *(name for name in (self.valid, options["test"]) if name is not None)]
        is_resumed = options["resume"]
        if world().is_first:
            self.check_files(files)
        if is_resumed:
            self.resume(options["device"])
        else:
            self.start(options["device"])

    def check_files(self, files: list[str]) -> None:
        """Raise UsageError for files that would be lost, and open the log; files: those that are read."""
        options = self.options
        force, is_resumed = options["force"], options["resume"]
        check_output(self.model_path, self.checkpoint_path, files, force=force or options["dry_run"], resume=is_resumed)
        if options["log"] is not None and not options["dry_run"]:
            refuse_same_file([*files, str(self.model_path), str(self.checkpoint_path)], options["log"], hint=_OTHER_LOG)
            if options["log"].resolve() in (self.model_path.resolve(), self.checkpoint_path.resolve()):
                raise UsageError(f"the log is also an output, {display_name(options['log'])}", hint=_OTHER_LOG)
            self.log = TrainingLog(options["log"], force=force, resume=is_resumed)

    def start(self, device: str) -> None:
        """Prepare a new training; raise UsageError for a mistake in the options before the corpus is read."""
        from charlm.backends import get_backend
        from charlm.checkpoint import load
        from charlm.session import inherited, prepare_from
        from charlm.task import task_named
        from charlm.text import read_lines
        from charlm.training.pretrained import start_from_vectors
        from charlm.training.warm_start import warm_start

        flags, init_from = self.options, self.options["init_from"]
        task = task_named(flags["task"], bidirectional=flags["bidirectional"])
        seed = choose_seed() if flags["seed"] is None else flags["seed"]
        settings = {**settings_given(self.given), "task": task, "seed": seed, **given_pieces(flags["pieces"])}
        ops = get_backend(device, watch=_note_processor, gpu=world().local_rank)
        source = None if init_from is None else load(init_from, ops).language_model
        if source is not None:
            settings = {**inherited(source, task), **settings}
        vectors = self._vectors(task, settings)
        lines, valid_lines = self._read(reading_of(settings))
        conditioned = flags["condition"]
        self.session = in_turn(
            lambda: prepare_from(lines, settings, conditioned=conditioned, valid_lines=valid_lines, ops=ops)
        )
        share(self.session, flags["threads"], self.digest())
        self.corpus_memory.read()
        run = self.session.language_model.run
        run.corpus, run.init_from = list(self.corpus), "" if init_from is None else str(init_from)
        run.pieces = "" if flags["pieces"] is None else str(flags["pieces"])
        if vectors:
            run.vectors = vectors
            found, of = start_from_vectors(self.session.language_model, read_lines([vectors]))
            ui.note(f"vectors for {found:,} of {of:,} tokens, {display_name(vectors)}")
        if source is not None:
            matched = warm_start(self.session.language_model, source)
            counts = ", ".join(f"{one.count:,} of {one.total:,} {one.kind}" for one in matched)
            ui.note(f"starting from {init_from}: {counts} matched")
        if "seed" not in self.given:
            ui.needed(f"seed {seed}")
        self._describe()

    def _vectors(self, task: str, settings: dict[str, Any]) -> str:
        """Return the file of word vectors, "" for none, after adding their size to the settings."""
        from charlm.task import task_of
        from charlm.text import read_lines
        from charlm.training.pretrained import size_of_vectors

        file: str = self.options["vectors"] or ""
        if file and self.options["init_from"] is not None:
            raise UsageError("--vectors with --init-from", hint="leave one of them out: both set the first weights")
        if file == "-":
            raise UsageError("--vectors -: standard input is not a file", hint="name a file: --vectors FILE")
        if file:
            settings["embedding_size"] = size_of_vectors(read_lines([file]), task_of(task), settings)
        return file

    def resume(self, device: str) -> None:
        """Prepare to continue from the checkpoint; raise UsageError for another corpus or configuration."""
        from charlm.backends import get_backend
        from charlm.checkpoint import load
        from charlm.session import resume

        ops = get_backend(device, watch=_note_processor, gpu=world().local_rank)
        checkpoint = load(self.checkpoint_path, ops)
        if checkpoint.training is None:
            raise UsageError(f"not a checkpoint, {self.checkpoint_path}", hint="train without --resume")
        model = checkpoint.language_model
        resumption.check_flags(self.given, model)
        # Raises before the corpus is read.
        model.model.ops.in_precision(model.model.config.dtype)
        self.valid = resumption.held_out_file(self.valid, model.train.valid)
        if "init_from" in self.given:
            ui.note("--init-from is ignored: the weights come from the checkpoint")
        if "vectors" in self.given:
            ui.note("--vectors is ignored: the weights come from the checkpoint")
        lines, valid_lines = self._read(model.text.reading)
        lines = model.reader.gather(lines)
        valid_lines = None if valid_lines is None else model.reader.gather(valid_lines)
        if self.digest() != checkpoint.corpus:
            plain = model.facts.is_language_model and not model.labels
            held_out = "" if self.valid is None else ", or the held-out text differs"
            raise UsageError(
                f"the corpus is not the one that {self.checkpoint_path} was trained on{held_out}",
                hint="give the same files in the same order" + (", or start from its weights: --init-from" * plain),
            )
        limits = resumption.new_limits(self.given, checkpoint)
        self.session = in_turn(lambda: resume(checkpoint, lines, valid_lines, limits))
        share(self.session, self.options["threads"], self.digest())
        self.corpus_memory.read()
        if model.core not in (None, core := self.session.language_model.core):
            ui.note(
                f"the checkpoint was trained on core {model.core}, this run continues on core {core}: "
                "the last digits will differ from those of an uninterrupted run"
            )
        if any(name in limits for name in resumption.LIMITS):
            self._note_new_plan()
        self._describe()

    def _note_new_plan(self) -> None:
        """Print how a resumed training with a new plan goes on."""
        trainer = self.session.trainer
        left = trainer.plan() - trainer.step
        if left > 0:
            config = trainer.config
            how = {"constant": f"stays at {config.learning_rate:g}", "step": "falls with the epochs as before"}
            anew = f"starts anew at {config.learning_rate:g}"
            ui.note(f"a new plan: {left:,} more steps, the learning rate {how.get(config.schedule, anew)}")

    def _describe(self) -> None:
        """Take over the options of the run, check the files that it will use, and print its sizes."""
        from charlm.samples import Sampling

        run = self.session.language_model.run
        run.sample_every = self.options["sample_every"] or run.sample_every
        run.sample_prompt = self.options["sample_prompt"] or run.sample_prompt
        run.test_file = self.options["test"] or run.test_file
        self.test_lines = self._read_test(run.test_file)
        self.sampling = Sampling(self.session.language_model) if run.sample_every else None
        self.memory = describe(self.session, with_memory=not self.options["dry_run"])

    def _read_test(self, file: str) -> list[str]:
        """Return the lines of the test file, read before the training so that a mistake in it is found."""
        from charlm.text import read_lines

        if not file:
            return []
        if file == "-":
            raise UsageError("--test -: standard input is not a file", hint="name a file: --test FILE")
        reader, labels = self.session.language_model.reader, self.session.language_model.labels
        how = strict(self.session.language_model.text.reading)
        lines = list(read_lines([file], errors=how))
        if not reader.records_in(reader.gather(lines)):
            raise CorpusError(
                f"the test file is empty, {display_name(file)}", hint="name a file with some text: --test"
            )
        reader.read(read_lines([file], errors=how), set(labels) or None)
        return lines

    def _read(self, reading: str) -> tuple[Iterable[str], Iterable[str] | None]:
        """Return the lines of the corpus and of the held-out file, to be read in this order.

        reading: see `TextConfig.reading`
        """
        from charlm.estimate import CorpusMemory
        from charlm.text import read_lines
        from charlm.text.lines.reading import HeldOutDigest

        self.corpus_memory = CorpusMemory()
        how = strict(reading)
        lines = read_lines(self.corpus, errors=how, digest=hashlib.sha256())
        valid_lines = None
        if self.valid is not None:
            valid_lines = read_lines([self.valid], errors=how, digest=HeldOutDigest(lines))
        self._read_last = valid_lines or lines
        return lines, valid_lines

    def digest(self) -> str:
        """Return the digest of all lines that were read."""
        assert self._read_last.digest is not None
        return self._read_last.digest.hexdigest()


def _note_processor(reason: str) -> None:
    ui.note(f"training on the processor, not on a GPU: {reason}")

"""One training from the command line: options into configurations, the library's work, and its output."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from charlm.cli import resumption, signals, ui
from charlm.cli.options import choose_seed, refuse_same_file
from charlm.cli.train_options import TrainOptions, settings_given
from charlm.cli.training_lines import describe, evaluation_line, figures_of_test
from charlm.cli.training_log import TrainingLog
from charlm.cli.training_output import check_output, kept_alone, output_files
from charlm.errors import CorpusError, ResourceError, UsageError
from charlm.storage.files import display_name

_OTHER_LOG = "name another file: --log FILE.jsonl"


class TrainingRun:
    """The work of `charlm train`, step by step.

    command: how it was called, e.g. `charlm train`
    """

    def __init__(self, command: str, options: TrainOptions, output: Path) -> None:
        self.command, self.options, self.given = command, options.values, options.given
        self.corpus: list[str] = self.options["corpus"]
        self.valid: str | None = self.options["valid"]
        self.model_path, self.checkpoint_path = output_files(output)
        self.log: TrainingLog | None = None
        self.signal = 0
        self.alone = True

    def prepare(self) -> None:
        """Prepare the training; raise what `start` and `resume` raise, and UsageError for files that would be lost."""
        options = self.options
        files = [*self.corpus, *(name for name in (self.valid, options["test"]) if name is not None)]
        force, is_resumed = options["force"], options["resume"]
        check_output(self.model_path, self.checkpoint_path, files, force=force or options["dry_run"], resume=is_resumed)
        if options["log"] is not None and not options["dry_run"]:
            refuse_same_file([*files, str(self.model_path), str(self.checkpoint_path)], options["log"], hint=_OTHER_LOG)
            if options["log"].resolve() in (self.model_path.resolve(), self.checkpoint_path.resolve()):
                raise UsageError(f"the log is also an output, {display_name(options['log'])}", hint=_OTHER_LOG)
            self.log = TrainingLog(options["log"], force=force, resume=is_resumed)
        if is_resumed:
            self.resume(options["device"])
        else:
            self.start(options["device"])

    def start(self, device: str) -> None:
        """Prepare a new training; raise UsageError for a mistake in the options before the corpus is read."""
        from charlm.backends import get_backend
        from charlm.checkpoint import load
        from charlm.session import inherited, prepare_from
        from charlm.task import task_named
        from charlm.training.warm_start import warm_start

        flags, init_from = self.options, self.options["init_from"]
        task = task_named(flags["task"], bidirectional=flags["bidirectional"])
        seed = choose_seed() if flags["seed"] is None else flags["seed"]
        settings = {**settings_given(self.given), "task": task, "seed": seed}
        ops = get_backend(device, watch=_note_processor)
        source = None if init_from is None else load(init_from, ops).language_model
        if source is not None:
            settings = {**inherited(source, task), **settings}
        lines, valid_lines = self._read()
        self.session = prepare_from(lines, settings, conditioned=flags["condition"], valid_lines=valid_lines, ops=ops)
        self.corpus_memory.read()
        run = self.session.language_model.run
        run.corpus, run.init_from = list(self.corpus), "" if init_from is None else str(init_from)
        if source is not None:
            matched = warm_start(self.session.language_model, source)
            counts = ", ".join(f"{one.count:,} of {one.total:,} {one.kind}" for one in matched)
            ui.note(f"starting from {init_from}: {counts} matched")
        if "seed" not in self.given:
            ui.needed(f"seed {seed}")
        self._describe()

    def resume(self, device: str) -> None:
        """Prepare to continue from the checkpoint; raise UsageError for another corpus or configuration."""
        from charlm.backends import get_backend
        from charlm.checkpoint import load
        from charlm.session import resume

        checkpoint = load(self.checkpoint_path, get_backend(device, watch=_note_processor))
        if checkpoint.training is None:
            raise UsageError(f"not a checkpoint, {self.checkpoint_path}", hint="train without --resume")
        model = checkpoint.language_model
        resumption.check_flags(self.given, model)
        # Raises before the corpus is read.
        model.model.ops.in_precision(model.model.config.dtype)
        self.valid = resumption.held_out_file(self.valid, model.train.valid)
        if "init_from" in self.given:
            ui.note("--init-from is ignored: the weights come from the checkpoint")
        lines, valid_lines = self._read()
        lines = model.reader.gather(lines)
        valid_lines = None if valid_lines is None else model.reader.gather(valid_lines)
        if self._digest() != checkpoint.corpus:
            plain = model.facts.is_language_model and not model.labels
            held_out = "" if self.valid is None else ", or the held-out text differs"
            raise UsageError(
                f"the corpus is not the one that {self.checkpoint_path} was trained on{held_out}",
                hint="give the same files in the same order" + (", or start from its weights: --init-from" * plain),
            )
        limits = resumption.new_limits(self.given, checkpoint)
        self.session = resume(checkpoint, lines, valid_lines, limits)
        self.corpus_memory.read()
        if model.core not in (None, core := model.model.ops.core):
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
            how = "stays" if trainer.config.schedule == "constant" else "starts anew"
            ui.note(f"a new plan: {left:,} more steps, the learning rate {how} at {trainer.config.learning_rate:g}")

    def _describe(self) -> None:
        """Take over the options of the run, check the files that it will use, and print its sizes."""
        from charlm.samples import Sampling

        run = self.session.language_model.run
        run.sample_every = self.options["sample_every"] or run.sample_every
        run.sample_prompt = self.options["sample_prompt"] or run.sample_prompt
        run.test_file = self.options["test"] or run.test_file
        self.test_lines = self._read_test(run.test_file)
        self.sampling = Sampling(self.session.language_model) if run.sample_every else None
        self.memory = describe(self.session)

    def _read_test(self, file: str) -> list[str]:
        """Return the lines of the test file, read before the training so that a mistake in it is found."""
        from charlm.text import read_lines

        if not file:
            return []
        if file == "-":
            raise UsageError("--test -: standard input is not a file", hint="name a file: --test FILE")
        lines = list(read_lines([file]))
        reader, labels = self.session.language_model.reader, self.session.language_model.labels
        if not reader.records_in(reader.gather(lines)):
            raise CorpusError(
                f"the test file is empty, {display_name(file)}", hint="name a file with some text: --test"
            )
        reader.read(read_lines([file]), set(labels) or None)
        return lines

    def _read(self) -> tuple[Iterable[str], Iterable[str] | None]:
        """Return the lines of the corpus and of the held-out file, to be read in this order."""
        from charlm.estimate import CorpusMemory
        from charlm.text import read_lines
        from charlm.text.lines.reading import HeldOutDigest

        self.corpus_memory = CorpusMemory()
        lines = read_lines(self.corpus, digest=hashlib.sha256())
        valid_lines = None if self.valid is None else read_lines([self.valid], digest=HeldOutDigest(lines))
        self._read_last = valid_lines or lines
        return lines, valid_lines

    def _digest(self) -> str:
        """Return the digest of all lines that were read."""
        assert self._read_last.digest is not None
        return self._read_last.digest.hexdigest()

    def train(self) -> int:
        """Train to the end or to a signal; return the exit code."""
        from charlm.saving import SavedTraining

        trainer = self.session.trainer
        total = trainer.plan()
        self.session.language_model.run.planned_steps = total
        keep = self.options["keep_checkpoint"]
        saved = SavedTraining(self.session, self.model_path, self._digest(), keep=keep)
        if (minutes := trainer.config.minutes) is not None:
            ui.needed(f"{minutes:g} minutes are {total:,} steps here; to repeat this run: --max-steps {total}")
        signals.at_signals(self._take_signal)
        self.signal = self.signal or signals.state.received
        if trainer.step >= total:
            ui.note(f"nothing is left to do: {trainer.step:,} steps are done, and {total:,} were asked for")
            saved.renew_model()
            return 0
        saved.begin()
        if self.log is not None:
            self.log.begin(trainer.step)
        self._learn(saved, total)
        run = self.session.language_model.run
        if self.test_lines and not self.signal:
            saved.test(self.test_lines)
        saved.finish(is_stopped=bool(self.signal))
        if run.test:
            ui.note(f"test {figures_of_test({'file': run.test_file, **run.test})}")
        if self.signal:
            stopped = f"stopped at step {trainer.step:,} of {total:,}"
            if keep is False:
                ui.needed(
                    f"{stopped}; without a checkpoint it cannot be continued, {self.model_path} has the best weights"
                )
                return 128 + self.signal
            if self.alone:
                ui.needed(f"{stopped}; continue with:")
                ui.needed(self._resume_command())
            else:
                ui.needed(stopped)
            return 128 + self.signal
        ui.note(f"wrote {self.model_path}")
        return 0

    def _learn(self, saved: Any, total: int) -> None:
        """Train to the end or to a signal, and show the progress."""
        trainer, unit = self.session.trainer, self.session.language_model.facts.unit
        bar = ui.progress_bar(total, "step")
        tokens, begin = 0, time.perf_counter()

        def show(progress: Any) -> None:
            nonlocal tokens, begin
            sample = None if self.sampling is None else self.sampling.after(progress.step)
            tokens += progress.tokens
            bar.n = progress.step
            bar.set_postfix_str(f"{progress.train_nats:.3f} nats", refresh=False)
            bar.update(0)
            if progress.setback:
                bar.clear()
                ui.warn(f"{progress.setback}; continuing from the best weights so far, at half the learning rate")
            if progress.is_evaluation:
                rate = tokens / (time.perf_counter() - begin)
                bar.clear()
                ui.note(evaluation_line(progress, rate, unit))
                if self.log is not None:
                    self.log.write(trainer.numbers.history[-1])
                tokens, begin = 0, time.perf_counter()
            if sample is not None:
                bar.clear()
                ui.note(f"sample at step {progress.step:,}: {sample}")

        try:
            saved.learn(show, lambda: bool(self.signal))
        except MemoryError as error:
            raise ResourceError(
                f"out of memory: about {self.memory / 1e6:,.0f} MB are needed",
                hint=f"when there is more, continue with: {self._resume_command()}"
                if trainer.step and self.options["keep_checkpoint"] is not False
                else "try a smaller --batch-size, --seq-length or --hidden-size",
            ) from error
        finally:
            bar.close()

    def _take_signal(self, number: int, frame: Any) -> None:
        if self.signal:
            # A second signal ends the process at once.
            signals.take_signal(number, frame)
        self.signal = number

    def _resume_command(self) -> str:
        return resumption.command(self.command, self.corpus, self.model_path, self.valid, self.given)


def train_once(command: str, options: TrainOptions, output: Path, *, alone: bool = True) -> int:
    """Train a model and write its files; return the exit code.

    alone: whether this is all that the command does, and so it prints the command that resumes the training
    """
    run = TrainingRun(command, options, output)
    run.alone = alone
    with kept_alone(output, run.model_path, run.checkpoint_path):
        run.prepare()
        try:
            with run.session.trainer.model.ops.workers.limit(options.values["threads"]):
                return run.train()
        finally:
            if run.log is not None:
                run.log.close()


def _note_processor(reason: str) -> None:
    ui.note(f"training on the processor, not on a GPU: {reason}")

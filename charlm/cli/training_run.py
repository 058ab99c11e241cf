"""One training from the command line: its files, its signals, and what it says."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from charlm.cli import signals, ui
from charlm.cli.options import choose_seed, refuse_same_file
from charlm.cli.training_lines import describe, evaluation_line, unit_of
from charlm.cli.training_output import holds, kept_alone, model_file

# Seconds between saves at least, at an evaluation and elsewhere: saving takes time, being killed costs the steps since.
_SAVE_SECONDS = {True: 2.0, False: 60.0}


def _given(context: typer.Context) -> dict[str, Any]:
    """Give the options that stand on the command line, by name."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name: context.params[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}


class TrainingRun:
    """What `charlm train` does, step by step; corpus, valid: names of files, as given."""

    def __init__(self, context: typer.Context, corpus: list[str], output: Path, valid: str | None) -> None:
        from charlm.checkpoint import checkpoint_path

        self.command = context.command_path
        self.corpus, self.valid, self.given = corpus, valid, _given(context)
        self.output, self.model_path = output, model_file(output)
        self.checkpoint_path = checkpoint_path(self.model_path)
        self.signal = 0

    def check_output(self, *, force: bool, resume: bool) -> None:
        """Refuse, before any work, what would be lost."""
        from charlm.errors import ModelFileError, UsageError

        if resume and not self.checkpoint_path.exists():
            raise ModelFileError(f"no checkpoint to resume, {self.checkpoint_path}", hint="train without --resume")
        for path in (self.model_path, self.checkpoint_path):
            texts = [*self.corpus, *([] if self.valid is None else [self.valid])]
            refuse_same_file(texts, path, hint="name another output: -o NAME")
            if path.exists() and not (force or resume):
                on = ", --resume continues it" if self.checkpoint_path.exists() else ""
                raise UsageError(f"output exists, {path}", hint=f"--force overwrites it{on}, -o names another")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep the output, which has to be writable, to this run, and sweep what runs that were killed have left."""
        with kept_alone(self.output, self.model_path, self.checkpoint_path):
            yield

    def start(self, flags: dict[str, Any], init_from: Path | None, device: str) -> None:
        """Make the configurations and then the model; a mistake in the flags shows before the corpus is read."""
        from charlm.backends import get_backend
        from charlm.checkpoint import load
        from charlm.config import ModelConfig, TextConfig, TrainConfig
        from charlm.errors import UsageError
        from charlm.session import prepare, text_defaults

        if flags["task"] == "lm" and flags["bidirectional"]:
            flags["task"] = "cloze"
        if flags["bidirectional"] is None:
            del flags["bidirectional"]
        flags |= {name: value for name, value in text_defaults(flags["task"]).items() if name not in self.given}
        if init_from is not None and (flags["task"] != "lm" or flags["condition"]):
            raise UsageError(
                "--init-from with another task than plain language", hint="leave one out: it starts language models"
            )
        seed = choose_seed() if flags["seed"] is None else flags["seed"]
        flags = {**flags, "learning_rate": flags["lr"], "seed": seed, "dense": tuple(flags["dense"] or ())}

        def chosen(kind: Any) -> dict[str, Any]:
            return {field.name: flags[field.name] for field in dataclasses.fields(kind) if field.name in flags}

        text, config = TextConfig(**chosen(TextConfig)), TrainConfig(**chosen(TrainConfig))
        network = chosen(ModelConfig)
        ops = get_backend(device, watch=_why_no_gpu)
        source = None if init_from is None else load(init_from, ops).language_model
        if source is not None and "normalize" not in self.given:  # a model older than the option reads text as it is
            text = dataclasses.replace(text, normalize=source.text.normalize)
        lines, valid_lines = self.read()
        self.session = prepare(
            lines, text, network, config, conditioned=flags["condition"], valid_lines=valid_lines, ops=ops
        )
        if source is not None:
            self._begin_from(source, init_from)
        if "seed" not in self.given:
            ui.needed(f"seed {seed}")
        self.memory = describe(self.session)

    def _begin_from(self, source: Any, path: Path | None) -> None:
        from charlm.errors import UsageError
        from charlm.nn.transfer import transfer

        target = self.session.language_model
        if source.text != target.text:
            mine, its = source.text.to_dict(), target.text.to_dict()
            name = next(key for key in its if mine[key] != its[key])
            raise UsageError(f"--init-from: its {name} is {mine[name]}, not {its[name]}", hint="see charlm inspect")
        tokens = [lm.tokenizer.vocabulary.tokens for lm in (source, target)]
        matched = transfer(source.model, tokens[0], target.model, tokens[1])
        ui.note(f"starting from {path}: {matched:,} of {len(tokens[1]):,} tokens matched")

    def resume(self, device: str) -> None:
        """Go on from the checkpoint; refuse another corpus or configuration."""
        from charlm.backends import get_backend
        from charlm.checkpoint import load
        from charlm.cli import resumption
        from charlm.errors import UsageError
        from charlm.session import resume

        checkpoint = load(self.checkpoint_path, get_backend(device, watch=_why_no_gpu))
        if checkpoint.training is None:
            raise UsageError(f"not a checkpoint, {self.checkpoint_path}", hint="train without --resume")
        model = checkpoint.language_model
        resumption.check_flags(self.given, model)
        self.valid = resumption.held_out_file(self.valid, model.train.valid)
        if "init_from" in self.given:
            ui.note("--init-from is ignored: the weights come from the checkpoint")
        lines, valid_lines = self.read()
        lines = model.reader.gather(lines)
        valid_lines = None if valid_lines is None else model.reader.gather(valid_lines)
        if self.digest() != checkpoint.corpus:
            plain = model.task == "lm" and not model.labels
            held_out = "" if self.valid is None else ", or the held-out text is another"
            raise UsageError(
                f"the corpus is not the one that {self.checkpoint_path} was trained on{held_out}",
                hint="give the same files in the same order" + (", or start from its weights: --init-from" * plain),
            )
        limits = resumption.new_limits(self.given, checkpoint)
        self.session = resume(checkpoint, lines, valid_lines, limits)
        self.memory = describe(self.session)

    def read(self) -> tuple[Iterable[str], Iterable[str] | None]:
        """Give the lines of the corpus and of the held-out file, to be read in this order."""
        from charlm.text import read_lines
        from charlm.text.lines.digests import HeldOutDigest

        lines = read_lines(self.corpus, digest=hashlib.sha256())
        valid_lines = None if self.valid is None else read_lines([self.valid], digest=HeldOutDigest(lines))
        self._read_last = valid_lines or lines
        return lines, valid_lines

    def digest(self) -> str:
        """Give the digest of all lines that were read."""
        assert self._read_last.digest is not None
        return self._read_last.digest.hexdigest()

    def train(self) -> int:
        """Train to the end or to a signal, saving on the way; give the exit code."""
        trainer = self.session.trainer
        total = trainer.plan()
        config = trainer.config
        if config.minutes is not None:
            ui.needed(f"{config.minutes:g} minutes are {total:,} steps here; repeat this run with --max-steps {total}")
        signals.at_signals(self._take_signal)
        self.signal = self.signal or signals.state.received
        if trainer.step >= total:
            ui.note(f"nothing is left to do: {trainer.step:,} steps are done, and {total:,} were asked for")
            # It may be missing, or an older one, where only the checkpoint could be written.
            if not holds(self.model_path, trainer.best_weights()):
                trainer.verdict.check()
                self.save_model()
            return 0
        if not trainer.step:  # in the place of an older run's checkpoint, which --resume would take for this one's
            self.save(model=False)
        self._learn(trainer, total)
        self.save(model=trainer.verdict.is_usable())
        if self.signal:
            ui.needed(f"stopped at step {trainer.step:,} of {total:,}; continue with:")
            ui.needed(self.resume_command())
            return 128 + self.signal
        ui.note(f"wrote {self.model_path}")
        return 0

    def _learn(self, trainer: Any, total: int) -> None:
        """Take steps to the end or to a signal, saving on the way."""
        from charlm.errors import DivergenceError, ResourceError

        bar = ui.progress_bar(total, "step")
        unit = unit_of(self.session.language_model.task)
        lost, tokens, begin, saved, is_better = 0, 0, time.perf_counter(), time.perf_counter(), True
        try:
            for progress in trainer.run():
                tokens += progress.tokens
                bar.n = progress.step
                bar.set_postfix_str(f"{progress.train_nats:.3f} nats", refresh=False)
                bar.update(0)
                if trainer.model.lost_processes > lost:
                    bar.clear()
                    ui.warn("a worker process was killed or stopped; its work is repeated")
                lost = trainer.model.lost_processes
                if progress.setback:
                    bar.clear()
                    ui.warn(f"{progress.setback}; continuing from the best weights so far, at half the learning rate")
                if progress.is_evaluation:
                    rate = tokens / (time.perf_counter() - begin)
                    bar.clear()
                    ui.note(evaluation_line(progress, rate, unit))
                    tokens, begin = 0, time.perf_counter()
                is_better = is_better or progress.is_best
                if time.perf_counter() - saved > _SAVE_SECONDS[progress.is_evaluation]:
                    is_better = is_better and trainer.verdict.is_usable(on_the_way=True)
                    self.save(model=is_better)
                    is_better, saved = False, time.perf_counter()
                if self.signal:
                    break
        except DivergenceError:
            if trainer.verdict.has_learned():
                self.save_model()
            raise
        except MemoryError as error:
            traceback.clear_frames(error.__traceback__)  # what they hold is room to save in
            self._save_without_room()
            raise ResourceError(
                f"out of memory: about {self.memory / 1e6:,.0f} MB are needed",
                hint=f"when there is more, continue with: {self.resume_command()}"
                if trainer.step
                else "try a smaller --batch-size, --seq-length or --hidden-size",
            ) from error
        finally:
            bar.close()

    def _save_without_room(self) -> None:
        """Save what is whole if there is memory for it; the checkpoint that is there already is whole, too."""
        trainer = self.session.trainer
        trainer.free_buffers()
        if not trainer.is_whole:
            return
        with contextlib.suppress(MemoryError):
            self.save(model=False)
            if trainer.verdict.has_learned():
                self.save_model()

    def _take_signal(self, number: int, frame: Any) -> None:
        if self.signal:
            signals.take_signal(number, frame)  # which ends it at once
        self.signal = number

    def save(self, *, model: bool) -> None:
        """Write the checkpoint, and the model file where it changes.

        The checkpoint is written even where the model file cannot be: it has the weights, too.
        """
        from charlm.errors import ResourceError

        try:
            if model:
                self.save_model()
        except ResourceError as error:
            self._save_checkpoint()
            hint = f"{error.hint}; the checkpoint is saved: go on with --resume"
            raise ResourceError(error.message, hint=hint) from error
        self._save_checkpoint()

    def _save_checkpoint(self) -> None:
        from charlm.checkpoint import save_training

        trainer = self.session.trainer
        save_training(self.checkpoint_path, self.session.language_model, trainer.state(), corpus=self.digest())

    def save_model(self) -> None:
        """Write the model file, with the best weights."""
        from charlm.checkpoint import save

        save(self.model_path, self.session.language_model, weights=self.session.trainer.best_weights())

    def resume_command(self) -> str:
        """Return the command that goes on from here."""
        from charlm.cli import resumption

        return resumption.command(self.command, self.corpus, self.model_path, self.valid, self.given)


def _why_no_gpu(reason: str) -> None:
    ui.note(f"training on the processor, not on a GPU: {reason}")

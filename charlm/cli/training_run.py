"""One training from the command line: options into configurations, the library's work, and its output."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from charlm.cli import resumption, signals, ui
from charlm.cli.options import choose_seed
from charlm.cli.training_lines import describe, evaluation_line
from charlm.cli.training_output import output_files
from charlm.errors import ResourceError, UsageError


def _given(context: typer.Context) -> dict[str, Any]:
    """Return the options that stand on the command line, by the names of their parameters."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name: context.params[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def settings_given(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings among the options, by the names of their fields in the configurations."""
    from charlm.config import ModelConfig, TextConfig, TrainConfig

    renamed = {**given, "learning_rate": given.get("lr"), "dense": tuple(given.get("dense") or ())}
    names = {one.name for kind in (TextConfig, ModelConfig, TrainConfig) for one in dataclasses.fields(kind)}
    return {name: value for name, value in renamed.items() if name in names and value not in (None, ())}


class TrainingRun:
    """The work of `charlm train`, step by step; corpus, valid: names of files, as given."""

    def __init__(self, context: typer.Context, corpus: list[str], output: Path, valid: str | None) -> None:
        self.command = context.command_path
        self.corpus, self.valid, self.given = corpus, valid, _given(context)
        self.model_path, self.checkpoint_path = output_files(output)
        self.signal = 0

    def start(self, flags: dict[str, Any], init_from: Path | None, device: str) -> None:
        """Prepare a new training; raise UsageError for a mistake in the flags before the corpus is read."""
        from charlm.backends import get_backend
        from charlm.checkpoint import load
        from charlm.session import inherited, prepare_from
        from charlm.task import task_named, task_of
        from charlm.training.warm_start import warm_start

        task = task_named(flags["task"], bidirectional=flags["bidirectional"])
        if init_from is not None and (flags["condition"] or not task_of(task).is_language_model):
            raise UsageError(
                "--init-from starts only plain language models",
                hint="leave out --init-from, or --task, --condition and --bidirectional",
            )
        seed = choose_seed() if flags["seed"] is None else flags["seed"]
        settings = {**settings_given(self.given), "task": task, "seed": seed}
        ops = get_backend(device, watch=_note_processor)
        source = None if init_from is None else load(init_from, ops).language_model
        if source is not None:
            settings = {**inherited(source), **settings}
        lines, valid_lines = self._read()
        self.session = prepare_from(lines, settings, conditioned=flags["condition"], valid_lines=valid_lines, ops=ops)
        if source is not None:
            matched = warm_start(self.session.language_model, source)
            tokens = len(self.session.language_model.tokenizer.vocabulary)
            ui.note(f"starting from {init_from}: {matched:,} of {tokens:,} tokens matched")
        if "seed" not in self.given:
            ui.needed(f"seed {seed}")
        self.memory = describe(self.session)

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
        if model.core not in (None, core := model.model.ops.core):
            ui.note(
                f"the checkpoint was trained on core {model.core}, this run continues on core {core}: "
                "the last digits will differ from those of an uninterrupted run"
            )
        self.memory = describe(self.session)

    def _read(self) -> tuple[Iterable[str], Iterable[str] | None]:
        """Return the lines of the corpus and of the held-out file, to be read in this order."""
        from charlm.text import read_lines
        from charlm.text.lines.reading import HeldOutDigest

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
        saved = SavedTraining(self.session, self.model_path, self._digest())
        if (minutes := trainer.config.minutes) is not None:
            ui.needed(f"{minutes:g} minutes are {total:,} steps here; to repeat this run: --max-steps {total}")
        signals.at_signals(self._take_signal)
        self.signal = self.signal or signals.state.received
        if trainer.step >= total:
            ui.note(f"nothing is left to do: {trainer.step:,} steps are done, and {total:,} were asked for")
            saved.renew_model()
            return 0
        saved.begin()
        self._learn(saved, total)
        saved.finish()
        if self.signal:
            ui.needed(f"stopped at step {trainer.step:,} of {total:,}; continue with:")
            ui.needed(self._resume_command())
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
                tokens, begin = 0, time.perf_counter()

        try:
            saved.learn(show, lambda: bool(self.signal))
        except MemoryError as error:
            raise ResourceError(
                f"out of memory: about {self.memory / 1e6:,.0f} MB are needed",
                hint=f"when there is more, continue with: {self._resume_command()}"
                if trainer.step
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


def _note_processor(reason: str) -> None:
    ui.note(f"training on the processor, not on a GPU: {reason}")

"""One search from the command line: options into a search, its progress, and its results."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import time
from pathlib import Path
from typing import Any

import typer

from charlm.cli import signals, ui
from charlm.cli.level_options import given_pieces, reading_of, strict
from charlm.cli.options import choose_seed, refuse_same_file
from charlm.cli.tables_out import write_records
from charlm.cli.train_options import settings_given
from charlm.cli.training_command import train_command
from charlm.cli.training_lines import describe, in_words, units_of
from charlm.cli.training_output import check_output, kept_alone, output_files
from charlm.cli.tuning_table import rows, table
from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.errors import ResourceError, UsageError

_FEW_STEPS = 30
_LIMITS = ("epochs", "max_steps", "minutes")
_OTHER_OPTIONS = ("lr", "condition", "device", "threads", "pieces")
# Not part of what processes have in common: the digest of the corpus includes the held-out text.
_NOT_SHARED = (*_LIMITS, "seed", "valid")


def is_training_setting(name: str) -> bool:
    """Return whether an option of `train` is a setting of the training, and so an option of `tune`."""
    names = {one.name for kind in (TextConfig, ModelConfig, TrainConfig) for one in dataclasses.fields(kind)}
    return name in names or name in _OTHER_OPTIONS


class TuningRun:
    """The work of `charlm tune`; corpus, valid: names of files, as given."""

    def __init__(self, context: typer.Context, corpus: list[str], output: Path, valid: str | None) -> None:
        self.program = context.command_path.removesuffix("tune") + "train"
        self.flags, self.given = context.params, _given(context)
        self.corpus, self.output, self.valid = corpus, output, valid
        self.model_path, self.checkpoint_path = output_files(output)
        self.records: list[Any] = []
        self.winner: Any = None
        self.signal = 0

    def run(
        self,
        *,
        trials: int | None,
        minutes: float | None,
        trial_minutes: float | None,
        storage: str | None,
        force: bool,
    ) -> int:
        """Search, and write the model; return the exit code."""
        end = math.inf if minutes is None else time.monotonic() + 60.0 * minutes
        _check_times(trials, minutes, trial_minutes)
        study = _study(storage)
        with self._output(study, force=force):
            self._prepare(study, minutes, trial_minutes)
            signals.at_signals(self._take_signal)
            self.signal = self.signal or signals.state.received
            with self.session.trainer.model.ops.workers.limit(self.flags["threads"]):
                self._search(trials, end)
            return self._conclude(study, storage)

    def _output(self, study: Any, *, force: bool) -> contextlib.AbstractContextManager[None]:
        """Check the output, and lock it for the search, unless other processes write it too."""
        from charlm.storage.files import check_writable
        from charlm.tuning.search import is_of_search

        files = (self.model_path, self.checkpoint_path)
        texts = [*self.corpus, *([] if self.valid is None else [self.valid])]
        if study.is_shared and is_of_search(self.model_path, study):
            refuse_same_file(texts, self.model_path, hint="name another output: -o NAME")
        else:
            check_output(*files, texts, force=force, resume=False)
        if study.is_shared:
            check_writable(self.model_path)
            return contextlib.nullcontext()
        return kept_alone(self.output, *files)

    def _prepare(self, study: Any, minutes: float | None, trial_minutes: float | None) -> None:
        """Read the corpus, and begin the search or join the one in the storage."""
        from charlm.backends import get_backend
        from charlm.session import prepare_from, settings_of
        from charlm.task import task_named
        from charlm.text import read_lines
        from charlm.text.lines.reading import HeldOutDigest
        from charlm.tuning import Search, Terms, minutes_of_trial, search_space

        flags, stored = self.flags, study.stored_terms()
        task = task_named(flags["task"], bidirectional=flags["bidirectional"])
        given = {name: value for name, value in settings_given(self.given).items() if name != "minutes"}
        if trial_minutes is not None:
            given["minutes"] = trial_minutes
        limits = {name: given[name] for name in _LIMITS if name in given}
        longest = None
        if not limits and stored is not None:
            given |= {name: value for name, value in stored.limits.items() if name != "longest"}
            longest, limits = stored.limits.get("longest"), stored.limits
        elif not limits and minutes is not None:
            longest = minutes_of_trial(minutes)
            limits = {"longest": longest}
        seed = flags["seed"]
        if seed is None:
            seed = choose_seed() if stored is None else stored.seed
            ui.needed(f"seed {seed}")
        pieces = given_pieces(flags["pieces"])
        self.fixed = {**given, **pieces, "task": task, "seed": seed}
        how = strict(reading_of(self.fixed))
        lines = read_lines(self.corpus, errors=how, digest=hashlib.sha256())
        valid_lines = None
        if self.valid is not None:
            valid_lines = read_lines([self.valid], errors=how, digest=HeldOutDigest(lines))
        self.session = prepare_from(
            lines,
            self.fixed,
            conditioned=flags["condition"],
            valid_lines=valid_lines,
            ops=get_backend(flags["device"], watch=_note_processor),
        )
        run = self.session.language_model.run
        run.corpus, run.pieces = list(self.corpus), "" if flags["pieces"] is None else str(flags["pieces"])
        describe(self.session)
        digest = (valid_lines or lines).digest
        assert digest is not None
        fixed = {name: value for name, value in self.fixed.items() if name not in _NOT_SHARED}
        if pieces:
            fixed["piece_model"] = hashlib.sha256(pieces["piece_model"].encode()).hexdigest()
        terms = Terms(digest.hexdigest(), {**fixed, "condition": flags["condition"]}, limits, seed)
        axes = search_space(settings_of(self.session.language_model), self.fixed)
        if not axes:
            raise UsageError("every setting is given: nothing is left to search", hint="use: charlm train")
        self.search = Search(self.session, axes, study, self.model_path, minutes=longest)
        study.begin(terms, {name: axis.default for name, axis in axes.items()})
        self.study = study

    def _search(self, trials: int | None, end: float) -> None:
        """Run the trials, and show the progress."""
        bar: Any = None

        def show(number: int, progress: Any) -> None:
            nonlocal bar
            if bar is None:
                bar = ui.progress_bar(progress.total_steps, "step")
                bar.set_description_str(f"trial {number}", refresh=False)
            bar.n = progress.step
            bar.set_postfix_str(f"{progress.train_nats:.3f} nats", refresh=False)
            bar.update(0)

        def close() -> None:
            nonlocal bar
            if bar is not None:
                bar.close()
            bar = None

        try:
            for record in self.search.run(show, lambda: bool(self.signal), trials=trials, end=end):
                close()
                ui.note(self._line(record))
                if record.number == 0 and 0 < record.planned_steps < _FEW_STEPS:
                    ui.warn(f"a trial has only {record.planned_steps} steps: give it more time, --trial-minutes")
        finally:
            close()

    def _line(self, record: Any) -> str:
        """Return the line for a trial that has ended."""
        loss = "" if not math.isfinite(record.nats) else f"  valid {record.nats:.4f} nats/{self._unit}"
        why = f" ({record.failure})" if record.failure else ""
        steps = f"step {record.steps:,}/{record.planned_steps:,}"
        return f"trial {record.number}  {record.state}{why}{loss}  {steps}  {', '.join(in_words(record.settings))}"

    @property
    def _unit(self) -> str:
        return str(units_of(self.session.language_model).loss)

    def _conclude(self, study: Any, storage: str | None) -> int:
        """Print the winner and what repeats it; return the exit code."""
        self.records, self.winner = study.records(), study.winner()
        written = self.search.fetch()
        if self.signal and storage is not None:
            ui.needed("stopped; to continue the search, run the same command again")
        elif self.signal:
            ui.needed("stopped; a search with --storage sqlite:///FILE can be continued")
        if running := sum(one.state == "running" for one in self.records):
            ui.note(f"trials that still run in other processes: {running}; the best one may change")
        if self.winner is None and not self.signal and written is None:
            self._explain_failure()
        if self.winner is not None:
            ui.needed(f"best: trial {self.winner.number}; to repeat it:")
            ui.needed(self._command(self.winner))
        elif written is not None:
            ui.warn(f"no trial is complete: the model is that of trial {written.number} at step {written.steps:,}")
            ui.needed(self._command(written))
        if written is not None and written.number == (self.winner or written).number:
            ui.note(f"wrote {self.model_path}")
        elif self.winner is not None:
            ui.warn("the weights of the best trial are in a file of another process, which is missing: repeat it")
        return 128 + self.signal if self.signal else 0

    def _explain_failure(self) -> None:
        """Raise the error of a search without a complete trial."""
        from charlm.errors import DivergenceError

        failures = {one.failure for one in self.records if one.failure}
        if failures == {"out of memory"}:
            raise ResourceError("every trial ran out of memory", hint="give a smaller --hidden-size or --batch-size")
        if failures:
            raise DivergenceError(f"every trial failed: {min(failures)}", hint="leave --lr out, or give a lower one")
        raise UsageError("the time ended before the first evaluation", hint="give more --minutes, or fewer --epochs")

    def _command(self, record: Any) -> str:
        """Return the `train` command that repeats a trial."""
        lm = self.session.language_model
        chosen = dict(self.session.chosen)
        if self.valid is not None:
            chosen.pop("valid_fraction", None)
        given = {name: value for name, value in self.given.items() if is_training_setting(name)}
        settings = {**given, **chosen, **record.settings, "seed": lm.train.seed, "max_steps": record.planned_steps}
        settings |= {"epochs": lm.train.epochs, "minutes": None}
        return train_command(self.program, self.corpus, self.model_path, settings)

    def print_table(self, form: str, output: ui.Output, *, has_header: bool) -> None:
        """Write the trials to standard output."""
        if form == "text":
            for line in table(self.records, self.winner, self._unit):
                output.line(line)
            output.close()
        else:
            absent = None if form == "jsonl" else ""
            write_records(rows(self.records, self.winner, absent), form, output, has_header=has_header)

    def _take_signal(self, number: int, frame: Any) -> None:
        if self.signal:
            # A second signal ends the process at once.
            signals.take_signal(number, frame)
        self.signal = number


def _given(context: typer.Context) -> dict[str, Any]:
    """Return the options on the command line, by the names of their parameters."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name: context.params[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def _check_times(trials: int | None, minutes: float | None, trial_minutes: float | None) -> None:
    """Raise UsageError for times that contradict each other."""
    if trials is None and minutes is None:
        raise UsageError("the search has no end", hint="give it a time, --minutes 10, or a number: --trials 20")
    for flag, value in (("--minutes", minutes), ("--trial-minutes", trial_minutes)):
        if value is not None and not 0.0 < value <= 1e6:
            raise UsageError(f"{flag} is {value:g}", hint="give a number above 0 to 1e+06")
    if minutes is not None and trial_minutes is not None and trial_minutes > minutes:
        raise UsageError(
            f"--trial-minutes {trial_minutes:g} with --minutes {minutes:g}", hint="give the search the longer time"
        )


def _study(storage: str | None) -> Any:
    """Return the trials of a storage, or new ones in memory."""
    try:
        from charlm.tuning import Study
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "charlm":
            raise
        raise ResourceError(f"{error.name} is not installed", hint="pip install 'charlm-rnn[tune]'") from error
    return Study(storage)


def _note_processor(reason: str) -> None:
    ui.note(f"searching on the processor, not on a GPU: {reason}")

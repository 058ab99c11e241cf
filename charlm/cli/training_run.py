"""One training from the command line: the library's work, its files, and what is printed meanwhile."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from charlm.cli import resumption, signals, ui
from charlm.cli.train_options import TrainOptions
from charlm.cli.training_display import TrainingDisplay
from charlm.cli.training_lines import end_line, figures_of_test
from charlm.cli.training_output import kept_alone
from charlm.cli.training_preparation import Preparation
from charlm.errors import DivergenceError, ResourceError
from charlm.processes import world


class TrainingRun:
    """A prepared training from its first step to its files; command: how it was called, e.g. `charlm train`.

    alone: whether this is all that the command does, and so it prints the command that resumes the training
    """

    def __init__(self, command: str, prepared: Preparation, *, alone: bool = True) -> None:
        self.command, self.prepared, self.alone = command, prepared, alone
        self.session, self.options, self.log = prepared.session, prepared.options, prepared.log
        self.model_path = prepared.model_path
        self.signal = 0
        self.is_stopped = False
        self.seconds = 0.0

    def train(self) -> int:
        """Train to the end or to a signal; return the exit code."""
        from charlm.saving import SavedTraining

        trainer = self.session.trainer
        total = trainer.plan()
        self.session.language_model.run.planned_steps = total
        keep = self.options["keep_checkpoint"]
        saved = SavedTraining(self.session, self.model_path, self.prepared.digest(), keep=keep)
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
        run = self.session.language_model.run
        run.test = {}
        self._learn(saved, total)
        if self.prepared.test_lines and not self.signal:
            saved.test(self.prepared.test_lines)
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
        for one in trainer.advice():
            ui.warn(f"{one.message}; {one.hint}")
        end = end_line(self.session, self.model_path, self.seconds)
        (ui.needed if ui.settings.has_bar else ui.note)(end)
        return 0

    def _learn(self, saved: Any, total: int) -> None:
        """Train to the end or to a signal, and show the progress."""
        trainer = self.session.trainer
        display = TrainingDisplay(self.session, total)

        def show(progress: Any) -> None:
            sampling = self.prepared.sampling
            sample = None if sampling is None else sampling.after(progress.step)
            display.show(progress)
            if progress.is_evaluation and self.log is not None:
                self.log.write(trainer.numbers.history[-1])
            if sample is not None:
                display.note(f"sample at step {progress.step:,}: {sample}")

        try:
            saved.after_step = self._agree
            saved.learn(show, lambda: self.is_stopped)
            trainer.gather()
            self.seconds = display.seconds
        except MemoryError as error:
            raise ResourceError(
                f"out of memory: about {self.prepared.memory / 1e6:,.0f} MB are needed",
                hint=f"when there is more, continue with: {self._resume_command()}"
                if trainer.step and self.options["keep_checkpoint"] is not False
                else "try a smaller --batch-size, --seq-length or --hidden-size",
            ) from error
        finally:
            display.close()

    def _agree(self, is_due: bool) -> None:
        """Stop after the same step as all processes if one has received a signal; complete a state that is saved.

        is_due: whether this process is going to save the step
        """
        found = world().largest(2 * self.signal + is_due)
        self.signal = max(self.signal, found // 2)
        self.is_stopped = found > 1
        if found:
            self.session.trainer.gather()

    def _take_signal(self, number: int, frame: Any) -> None:
        if self.signal:
            # A second signal ends the process at once.
            signals.take_signal(number, frame)
        self.signal = number

    def _resume_command(self) -> str:
        prepared = self.prepared
        return resumption.command(self.command, prepared.corpus, self.model_path, prepared.valid, prepared.given)


class Following(TrainingRun):
    """A training in step with that of the first process, without files and output."""

    def train(self) -> int:
        trainer = self.session.trainer
        total = trainer.plan()
        signals.at_signals(self._take_signal)
        self.signal = self.signal or signals.state.received
        if trainer.step >= total:
            return 0
        try:
            for _ in trainer.run():
                self._agree(is_due=False)
                if self.is_stopped:
                    break
            trainer.gather()
        except DivergenceError as error:
            # The first process saves what is of use, and reports it.
            return error.exit_code
        return 128 + self.signal if self.signal else 0


def train_once(command: str, options: TrainOptions, output: Path, *, alone: bool = True) -> int:
    """Train a model and write its files; return the exit code. alone: see `TrainingRun`."""
    prepared = Preparation(options, output)
    files = (output, prepared.model_path, prepared.checkpoint_path)
    is_first = world().is_first
    with kept_alone(*files) if is_first else nullcontext():
        try:
            prepared.prepare()
            with prepared.session.trainer.model.ops.workers.limit(options.values["threads"]):
                code = (TrainingRun if is_first else Following)(command, prepared, alone=alone).train()
                # The others wait here for what the first one writes.
                world().barrier()
                return code
        finally:
            if prepared.log is not None:
                prepared.log.close()

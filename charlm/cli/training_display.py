"""The progress of a training on standard error: a bar at a terminal, lines elsewhere."""

from __future__ import annotations

import time
from typing import Any

from charlm.cli import ui
from charlm.cli.training_lines import legend, progress_line, units_of

_FIRST_LINE = 60.0  # seconds after which a line is printed, if no evaluation has come


class TrainingDisplay:
    """Shows each step of a training; total: steps at its end."""

    def __init__(self, session: Any, total: int) -> None:
        self.session, self.units = session, units_of(session.language_model)
        trainer = session.trainer
        self.begin, self._begun_at = time.perf_counter(), trainer.step
        self._tokens, self._since, self._has_line = 0, self.begin, False
        self._bar = ui.progress_bar(total, "step")
        ui.note(legend(session))
        if trainer.validation is not None:
            trainer.validation.before = self._validating

    def show(self, progress: Any) -> None:
        """Show a step."""
        self._tokens += progress.tokens
        self._bar.n = progress.step
        self._bar.set_postfix_str(f"{progress.train_nats:.3f} nats", refresh=False)
        self._bar.update(0)
        if progress.setback:
            self._bar.clear()
            ui.warn(f"{progress.setback}; continuing from the best weights so far, at half the learning rate")
        now = time.perf_counter()
        waits = self._bar.disable and not self._has_line and now - self.begin >= _FIRST_LINE
        if progress.is_evaluation or waits:
            self._bar.clear()
            self._line(progress, now)

    def note(self, message: str) -> None:
        """Print a note beside the bar."""
        self._bar.clear()
        ui.note(message)

    def _line(self, progress: Any, now: float) -> None:
        """Print a line, and begin to measure the speed anew."""
        rate = self._tokens / (now - self._since)
        left = (now - self.begin) / (progress.step - self._begun_at) * (progress.total_steps - progress.step)
        ui.note(progress_line(progress, rate, left, self.units, self.session.trainer.config.keep))
        self._tokens, self._since, self._has_line = 0, time.perf_counter(), True

    def _validating(self) -> None:
        self._bar.set_postfix_str("validating", refresh=True)

    @property
    def seconds(self) -> float:
        """Seconds since the begin."""
        return time.perf_counter() - self.begin

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()

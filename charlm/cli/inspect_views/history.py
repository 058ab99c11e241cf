"""The history of a training, as `charlm inspect` prints it."""

from __future__ import annotations

from typing import Any

from charlm.cli import ui
from charlm.cli.training_lines import units_of

_COLUMNS = {"train_nats": "train", "valid_nats": "valid", "accuracy": "accuracy", "f1": "f1"}


def history_lines(language_model: Any) -> list[str]:
    """Return what the training came to, and a line for each evaluation, the kept weights marked by a star."""
    rows, units = language_model.history, units_of(language_model)
    lines = [] if language_model.outcome is None else _outcome(language_model.outcome, units)
    if not rows:
        return lines
    names = [name for name in _COLUMNS if name in {**rows[0], **rows[-1]}]
    kept = _kept_step(language_model)
    titles = "".join(f" {_COLUMNS[name]:>8}" for name in names)
    lines.append(f"{'step':>10} {'epoch':>8}{titles}   nats/{units.loss}{'; * kept' if kept else ''}")
    for row in rows:
        numbers = "".join(f" {_number(row.get(name))}" for name in names)
        star = " *" if row["step"] == kept else ""
        lines.append(f"{row['step']:>10,} {_number(row['epoch'], 2)}{numbers}{star}")
    return lines


def _outcome(outcome: Any, units: Any) -> list[str]:
    lines = [f"baseline       {outcome.baseline_nats:.4f} nats/{units.loss}, {units.baseline} alone"]
    if outcome.valid_nats is not None:
        figure = "" if outcome.figure is None else f", {outcome.figure_name} {outcome.figure:.4f}"
        judged = f"on {outcome.judged:,} of {outcome.held_out:,} held-out {units.tokens}"
        lines.append(f"validation     {outcome.valid_nats:.4f} nats/{units.loss}{figure}, {judged}")
    return lines


def _kept_step(language_model: Any) -> int:
    """Return the step of the weights in the file; 0 if none were validated."""
    if language_model.outcome is not None:
        return int(language_model.outcome.kept_step)
    # A file of an older charlm has the weights of the lowest loss.
    judged = [row for row in language_model.history if row["valid_nats"] is not None]
    return int(min(judged, key=lambda row: row["valid_nats"])["step"]) if judged else 0


def _number(value: float | None, decimals: int = 4) -> str:
    return f"{'-' if value is None else ui.figure(value, decimals):>8}"

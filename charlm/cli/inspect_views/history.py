"""The history of a training, as `charlm inspect` prints it."""

from __future__ import annotations

from typing import Any

from charlm.cli import ui
from charlm.cli.training_lines import units_of

_ROWS = 10
_COLUMNS = {"train_nats": "train", "valid_nats": "valid", "accuracy": "accuracy", "f1": "f1"}


def history_lines(language_model: Any) -> list[str]:
    """Return what the training came to, and a line for ten evaluations at most, with a star for the kept one."""
    rows, units = language_model.history, units_of(language_model)
    lines = [] if language_model.outcome is None else _outcome(language_model.outcome, units)
    if not rows:
        return lines
    names = [name for name in _COLUMNS if name in {**rows[0], **rows[-1]}]
    kept = kept_step(language_model)
    titles = "".join(f" {_COLUMNS[name]:>8}" for name in names)
    lines.append(f"{'step':>10} {'epoch':>8}{titles}   nats/{units.loss}{'; * kept' if kept else ''}")
    shown = _some(rows, kept)
    for row in shown:
        numbers = "".join(f" {_number(row.get(name))}" for name in names)
        star = " *" if row["step"] == kept else ""
        lines.append(f"{row['step']:>10,} {_number(row['epoch'], 2)}{numbers}{star}")
    if len(shown) < len(rows):
        lines.append(f"{len(shown)} of {len(rows)} evaluations; all of them: --format tsv")
    return lines


def _some(rows: list[dict[str, Any]], kept: int) -> list[dict[str, Any]]:
    """Return ten rows at most: the first, the last, the kept one, and others at even distances."""
    last = len(rows) - 1
    places = {round(number * last / (_ROWS - 1)) for number in range(_ROWS)} if last >= _ROWS else set(range(len(rows)))
    of_kept = next((at for at, row in enumerate(rows) if row["step"] == kept), 0)
    if of_kept not in places:
        # The kept row takes the place of its nearest neighbour, but not of the first or the last row.
        places.remove(min(places - {0, last}, key=lambda at: abs(at - of_kept)))
        places.add(of_kept)
    return [rows[at] for at in sorted(places)]


def _outcome(outcome: Any, units: Any) -> list[str]:
    lines = [f"baseline       {outcome.baseline_nats:.4f} nats/{units.loss}, {units.baseline} alone"]
    if outcome.valid_nats is not None:
        figure = "" if outcome.figure is None else f", {outcome.figure_name} {outcome.figure:.4f}"
        judged = f"on {outcome.judged:,} of {outcome.held_out:,} held-out {units.tokens}"
        lines.append(f"validation     {outcome.valid_nats:.4f} nats/{units.loss}{figure}, {judged}")
    return lines


def kept_step(language_model: Any) -> int:
    """Return the step of the weights in the file; 0 if none were validated."""
    if language_model.outcome is not None:
        return int(language_model.outcome.kept_step)
    # A file of an older charlm has the weights of the lowest loss.
    judged = [row for row in language_model.history if row["valid_nats"] is not None]
    return int(min(judged, key=lambda row: row["valid_nats"])["step"]) if judged else 0


def _number(value: float | None, decimals: int = 4) -> str:
    return f"{'-' if value is None else ui.figure(value, decimals):>8}"

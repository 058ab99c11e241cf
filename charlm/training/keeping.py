"""What decides which weights a training keeps: the loss, the figure of the task, or nothing but their age."""

from __future__ import annotations

from collections.abc import Sequence

from charlm.errors import UsageError
from charlm.inference.tallies import has_f1
from charlm.task import Task


def check_keep(keep: str | None, facts: Task) -> None:
    """Raise UsageError if the task does not have the figure."""
    allowed = ("loss", *facts.figures, "last")
    if keep is not None and keep not in allowed:
        raise UsageError(f"--keep {keep} with --task {facts.name}", hint=f"choose one of: {', '.join(allowed)}")


def figure_of(keep: str | None, facts: Task, labels: Sequence[str]) -> str | None:
    """Return the figure to count: the one that decides, or else that of the task; None if the task has none.

    Raises UsageError if the labels do not have the figure that is asked for.
    """
    if not facts.figures:
        return None
    if keep == "f1" and not has_f1(labels):
        raise UsageError(
            "--keep f1 with tags other than O, B-X and I-X, or 0 and 1", hint="leave --keep out, or use --keep accuracy"
        )
    if keep in facts.figures:
        return keep
    return "f1" if "f1" in facts.figures and has_f1(labels) else "accuracy"

"""The trials of a search, as a table in words and as records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from charlm.cli import ui
from charlm.cli.training_lines import in_words


def rows(trials: Sequence[Any], winner: Any, absent: Any) -> Iterator[dict[str, Any]]:
    """Yield the fields of each trial, with `absent` in place of what is missing."""
    names: Iterable[str] = next((one.settings for one in trials if one.settings), {})
    for one in trials:
        yield {
            "trial": one.number,
            "state": one.state,
            "best": one == winner,
            "valid_nats": one.nats if math.isfinite(one.nats) else absent,
            "steps": one.steps,
            "planned_steps": one.planned_steps,
            **{name: one.settings.get(name, absent) for name in names},
        }


def table(trials: Sequence[Any], winner: Any, unit: str) -> Iterator[str]:
    """Yield the lines of the table; a star marks the winner.

    unit: what the loss is a mean over
    """
    lines = [("trial", "state", f"nats/{unit}", "steps", "settings")]
    for one in trials:
        loss = "inf" if one.state == "failed" else "" if math.isnan(one.nats) else ui.figure(one.nats)
        star = "*" if one == winner else " "
        lines.append((str(one.number), one.state, loss + star, f"{one.steps:,}", ", ".join(in_words(one.settings))))
    wide = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, state, loss, steps, settings in lines:
        yield f"{number:>{wide[0]}}  {state:<{wide[1]}}  {loss:>{wide[2]}}  {steps:>{wide[3]}}  {settings}".rstrip()

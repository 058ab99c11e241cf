"""`charlm train --dry-run`: print what a training would take."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from charlm.cli import ui
from charlm.cli.tables_out import write_records


def print_estimate(session: Any, corpus_memory: Any, form: str, *, has_header: bool) -> None:
    """Print what the training of a session would take; corpus_memory: what reading its corpus took."""
    from charlm.estimate import estimate

    output = ui.Output()
    found = estimate(session, corpus_memory)
    unit = session.language_model.facts.unit
    if form == "text":
        for line in _in_words(found, unit):
            output.line(line)
        output.close()
    else:
        write_records([{**asdict(found), "unit": unit}], form, output, has_header=has_header)


def _in_words(found: Any, unit: str) -> list[str]:
    """Return the lines of an estimate for people."""
    memory = f"memory {_size(found.memory)}"
    disk = f"disk {_size(found.model_file)} + {_size(found.checkpoint)} for the checkpoint"
    return [
        f"{found.parameters:,} parameters; {found.steps:,} steps ({found.epochs:.1f} epochs); {memory}; {disk}",
        f"{found.tokens_per_second:,.0f} {unit}s/s here: about {duration(found.seconds)}",
    ]


def _size(count: int) -> str:
    millions = count / 1e6
    return f"{millions:,.0f} MB" if millions >= 10 else f"{millions:.1f} MB"


def duration(seconds: float) -> str:
    """Return a time in words, e.g. `7 min 20 s`."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"

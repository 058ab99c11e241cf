"""`charlm train --dry-run`: print what a training would take."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from charlm.cli import ui


def print_estimate(session: Any, corpus_memory: Any, form: str) -> None:
    """Print what the training of a session would take; corpus_memory: what reading its corpus took."""
    from charlm.estimate import estimate

    output = ui.Output()
    found = estimate(session, corpus_memory)
    if form == "jsonl":
        output.line(ui.strict_json({**asdict(found), "unit": session.language_model.facts.unit}))
    else:
        for line in _in_words(found, session.language_model.facts.unit):
            output.line(line)
    output.close()


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

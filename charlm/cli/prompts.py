"""What a command says of the text that it goes on from."""

from __future__ import annotations

from typing import Any

from charlm.cli import ui

_LONGEST_SHOWN = 40  # characters of an unknown token


def warn_of_unknown(sampler: Any, prompt: str) -> None:
    """Warn of the first tokens of a prompt that the model of a `Sampler` reads as `<UNK>`."""
    if unknown := sampler.unknown(prompt, most=6):
        shown = ", ".join(map(_shown, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        ui.warn(f"the prompt has unknown tokens, read as <UNK>: {shown}")


def _shown(token: str) -> str:
    """Return a token in quotation marks, cut if it is long: a text without spaces may be one word."""
    return repr(token) if len(token) <= _LONGEST_SHOWN else f"{token[:_LONGEST_SHOWN]!r}..."

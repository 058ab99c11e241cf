"""Colours of texts: what levels there are, and how a terminal shows them.

A surprisal has a level of 0 to 8, a value of -1 to 1 one of -6 to 6. A page shows the same levels, see `pages`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from charlm.cli import ui

SURPRISAL_LEVELS = 8
SIGNED_LEVELS = 6

# Colours of 256 and of 16, for levels from 1 on. The text has a colour of its own, so that it can be read on each.
_YELLOW_TO_RED = [f"color(16) on color({one})" for one in (230, 229, 222, 215, 208, 202, 196)]
_TO_BLUE = [f"color(16) on color({one})" for one in (189, 153, 117, 75, 33)]
_TO_RED = [f"color(16) on color({one})" for one in (224, 217, 210, 203, 196)]
_SURPRISAL = [*_YELLOW_TO_RED, "color(231) on color(160)"]
_SURPRISAL_16 = ["", "", *["yellow"] * 2, *["black on yellow"] * 2, *["white on red"] * 2]
_PLUS, _MINUS = [*_TO_BLUE, "color(231) on color(27)"], [*_TO_RED, "color(231) on color(160)"]
_PLUS_16, _MINUS_16 = (["", "", colour, colour, *[f"white on {colour}"] * 2] for colour in ("blue", "red"))
_WITH_256 = ("256", "kitty", "alacritty", "foot", "ghostty", "wezterm")


def bits_of_a_level(language_model: Any) -> float:
    """Return how many bits of surprisal a level has: 1 for characters, 2 for words."""
    return 1.0 if language_model.tokenizer.level in ("char", "byte") else 2.0


def surprisal_level(bits: float, width: float) -> int:
    """Return the level of a surprisal; width: bits of a level."""
    return min(SURPRISAL_LEVELS, max(0, int(bits / width)))


def signed_level(value: float) -> int:
    """Return the level of a value between -1 and 1; level 0 is what is nearer to 0 than to a twelfth."""
    size = min(SIGNED_LEVELS, int(abs(value) * SIGNED_LEVELS + 0.5))
    return -size if value < 0 else size


def surprisal_style(level: int) -> str:
    """Return the style of a level of surprisal at this terminal."""
    return ["", *(_SURPRISAL if _has_256_colors() else _SURPRISAL_16)][level]


def signed_style(level: int) -> str:
    """Return the style of a level of a value: blue for positive ones, red for negative ones."""
    plus, minus = (_PLUS, _MINUS) if _has_256_colors() else (_PLUS_16, _MINUS_16)
    return ["", *(minus if level < 0 else plus)][abs(level)]


class Shaded(str):
    """A text whose parts have styles: a field of a table, or a line.

    parts: pairs of text and style, "" for none
    """

    parts: tuple[tuple[str, str], ...]

    def __new__(cls, parts: Iterable[tuple[str, str]]) -> Shaded:
        """Make the text of all parts."""
        kept = tuple(parts)
        made = super().__new__(cls, "".join(text for text, _ in kept))
        made.parts = kept
        return made

    def styled(self) -> str:
        """Return the text with escape sequences; without them it is the text."""
        return "".join(styled(text, style) for text, style in _merged(self.parts))


def styled(text: str, style: str) -> str:
    """Return a text with the escape sequences of a style, as many colours as this terminal has."""
    from rich.color import ColorSystem
    from rich.style import Style

    if not style:
        return text
    system = ColorSystem.EIGHT_BIT if _has_256_colors() else ColorSystem.STANDARD
    return Style.parse(style).render(text, color_system=system)


def shaded_line(parts: Sequence[tuple[str, str]]) -> str:
    """Return a line of a terminal from parts and styles, its control characters escaped."""
    return Shaded((ui.printable(text), style) for text, style in parts).styled()


def _merged(parts: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return parts with those of one style, one after the other, made one."""
    merged: list[tuple[str, str]] = []
    for text, style in parts:
        if merged and merged[-1][1] == style:
            merged[-1] = merged[-1][0] + text, style
        else:
            merged.append((text, style))
    return merged


def _has_256_colors() -> bool:
    """Return whether the terminal says that it has more colours than 16."""
    term = os.environ.get("TERM", "")
    return os.environ.get("COLORTERM", "") in ("truecolor", "24bit") or any(one in term for one in _WITH_256)

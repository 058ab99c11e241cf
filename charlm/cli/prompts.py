"""The text that a command goes on from, and what it says of it."""

from __future__ import annotations

from collections.abc import Callable

from charlm.cli import ui
from charlm.cli.escapes import unescaped
from charlm.cli.options import kept, texts
from charlm.config import TextConfig

_NAMED = 5  # unknown tokens
_LONGEST_SHOWN = 40  # characters of an unknown token


def read_prompt(given: str, text: TextConfig) -> str:
    """Return the prompt that --prompt gives, with its escapes replaced; `-` is standard input, read as training text.

    text: of the model that goes on from it
    """
    if given != "-":
        return unescaped(given)
    # Read in blocks, because the lines of a long prompt would take several times its size.
    return "".join(texts(["-"], errors=kept(text)).blocks()).removesuffix("\n")


def warn_of_unknown(find: Callable[..., list[str]], what: str = "the prompt") -> None:
    """Warn of the first tokens that a model reads as `<UNK>`.

    find: return at most `most` of them; what: the text that has them
    """
    if unknown := find(most=_NAMED + 1):
        shown = ", ".join(map(_shown, unknown[:_NAMED])) + (", ..." if len(unknown) > _NAMED else "")
        ui.warn(f"{what} has unknown tokens, read as <UNK>: {shown}")


def _shown(token: str) -> str:
    """Return a token in quotation marks, cut if it is long: a text without spaces may be one word."""
    return repr(token) if len(token) <= _LONGEST_SHOWN else f"{token[:_LONGEST_SHOWN]!r}..."

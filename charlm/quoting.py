"""Names in messages: files quoted for a shell, and the name that a person may have meant."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Iterable
from pathlib import Path


def shell_argument(path: str | Path) -> str:
    """Return a file's name quoted for a shell, on one line; a leading dash gets `./` before it."""
    name = f"./{path}" if str(path).startswith("-") else str(path)
    if name.isprintable():
        return shlex.quote(name)
    return "$'" + "".join(map(_escaped, os.fsencode(name))) + "'"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the question for the known name most like another one, in any case of its letters; "" if none is like it.

    It ends in a space, because the rest of the hint follows.
    """
    folded = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(name.casefold(), folded, 1)
    return f"did you mean {folded[near[0]]}? " if near else ""


def _escaped(byte: int) -> str:
    character = chr(byte)
    return character if byte < 0x80 and (character.isalnum() or character in " ./-_") else f"\\x{byte:02x}"

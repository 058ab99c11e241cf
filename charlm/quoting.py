"""File names quoted for a shell."""

from __future__ import annotations

import os
import shlex
from pathlib import Path


def shell_argument(path: str | Path) -> str:
    """Return a file's name quoted for a shell, on one line; a leading dash gets `./` before it."""
    name = f"./{path}" if str(path).startswith("-") else str(path)
    if name.isprintable():
        return shlex.quote(name)
    return "$'" + "".join(map(_escaped, os.fsencode(name))) + "'"


def _escaped(byte: int) -> str:
    character = chr(byte)
    return character if byte < 0x80 and (character.isalnum() or character in " ./-_") else f"\\x{byte:02x}"

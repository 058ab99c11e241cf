r"""Escapes in the values of options: `\n` and `\t`, which a shell passes on unchanged."""

from __future__ import annotations

import re

_ESCAPES = {r"\n": "\n", r"\t": "\t", "\\\\": "\\"}
_NUL = {r"\0": "\0"}


def unescaped(text: str, *, allow_nul: bool = False) -> str:
    r"""Return a text with `\n`, `\t` and `\\` replaced by a newline, a tab and a backslash; others stay as they are.

    allow_nul: replace `\0` by the NUL character, too
    """
    escapes = _ESCAPES | _NUL if allow_nul else _ESCAPES
    return re.sub(r"\\.", lambda found: escapes.get(found[0], found[0]), text, flags=re.DOTALL)

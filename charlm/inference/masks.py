"""Masks: what varies from line to line, such as numbers, becomes zeros before a line is scored.

A mask changes no length, so that a place in the masked line is a place in the line. It is as simple as a command of sed
or perl, so that a model can be trained on text masked alike:

    sed 's/[0-9]/0/g'
    perl -pe 's/\\b[0-9a-f]{2,}(?:[:-][0-9a-f]{2,}){2,}\\b|\\b(?:0x)?[0-9a-f]{6,}\\b/"0" x length $&/gie'
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache

from charlm.errors import UsageError
from charlm.text import Tokenizer

# digits: ASCII digits. hex: hexadecimal numbers of six or more digits, and groups of them with colons or hyphens, such
# as MAC addresses and UUIDs; every character of them becomes 0.
_PATTERNS = {
    "digits": r"[0-9]",
    "hex": r"\b[0-9a-f]{2,}(?:[:-][0-9a-f]{2,}){2,}\b|\b(?:0x)?[0-9a-f]{6,}\b",
}
MASK_NAMES = tuple(_PATTERNS)
_BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")  # a byte's name among SentencePiece's pieces


def masked(text: str, names: Collection[str]) -> str:
    """Return a text of the same length with what the masks match as zeros; raise UsageError for an unknown mask.

    names: digits, hex; hex comes first, because digits would leave only a part of a number
    """
    for name in names:
        if name not in _PATTERNS:
            raise UsageError(f"unknown mask {name!r}", hint=f"choose from: {', '.join(_PATTERNS)}")
    for name in ("hex", "digits"):
        if name in names:
            text = _pattern(name).sub(_zeros, text)
    return text


def unmasked_token(tokenizer: Tokenizer, names: Collection[str]) -> str | None:
    """Return a token that a text with these masks cannot contain, or None.

    Such a token shows that a model was trained on text that was not masked alike. Bytes are in every vocabulary of
    their level and show nothing. Tokens that are not words show only whether digits were masked.
    """
    if tokenizer.level == "byte":
        return None
    shown = names if tokenizer.level == "word" else set(names) & {"digits"}
    tokens = (token for token in tokenizer.vocabulary.tokens if not _BYTE_PIECE.fullmatch(token))
    return next((token for token in tokens if masked(token, shown) != token), None)


def _zeros(found: re.Match[str]) -> str:
    return "0" * len(found[0])


@cache
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(_PATTERNS[name], re.ASCII | re.IGNORECASE)

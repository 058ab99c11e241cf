"""Random text: ordinary words and characters, and what few people would write."""

# ruff: noqa: RUF001 - the strings are of many scripts on purpose

from __future__ import annotations

import numpy as np

SYLLABLES = ("ra", "to", "ni", "sau", "rus", "tri", "ce", "don")
SIGNS = (".", ",", "!", "?", ";", ":", "'", '"', "-", "(", ")", "/", "%", "$")
ODD = (
    *("\r", "\v", "\f", "\x1c", "\x85", "\xa0", "\u2028", "\u2029", "\u3000", "\ufeff", "\x1b[2J", "\0"),
    *("<EOS>", "<UNK>", "<unk>", "</s>", "  ", "don't", "e.g.", "3.5", "é", "e\u0301", "\u0301", "\u200d", "\ufe0f"),
    *("👩\u200d🚀", "👍🏽", "🇩🇪", "\u202e", "שלום", "سلام", "ς", "ΣΑΣ", "İ", "ß", "北京", "。", "«", "»", "’", "—"),
    *("\udc80", "\udcff\udcfe", "\U0010ffff"),
)


def word(rng: np.random.Generator) -> str:
    """Draw a word of one to three syllables, now and then with capitals or a digit."""
    spelled = "".join(rng.choice(SYLLABLES, rng.integers(1, 4)))
    how = rng.integers(0, 8)
    return spelled.capitalize() if how == 0 else spelled.upper() if how == 1 else spelled + "7" if how == 2 else spelled


def line(rng: np.random.Generator, *, oddness: float = 0.2, longest: int = 6) -> str:
    """Draw a line of up to `longest` pieces; oddness: the share of pieces that few people would write."""
    pieces = []
    for _ in range(rng.integers(0, longest + 1)):
        if rng.random() < oddness:
            pieces.append(str(rng.choice(ODD)))
        else:
            pieces.append(word(rng) if rng.random() < 0.75 else str(rng.choice(SIGNS)))
    glue = " " if rng.random() < 0.9 else ""
    return glue.join(pieces)


def lines(rng: np.random.Generator, count: int, *, oddness: float = 0.2, long: int = 0) -> list[str]:
    """Draw lines, some of them empty or of white space; long: pieces of one very long line among them, 0 for none."""
    drawn = [line(rng, oddness=oddness) for _ in range(count)]
    if count > 2:
        drawn[int(rng.integers(count))] = ""
        drawn[int(rng.integers(count))] = " \t "
    if long and count:
        drawn[int(rng.integers(count))] = " ".join(line(rng, oddness=oddness, longest=1) or "to" for _ in range(long))
    return drawn


def field(rng: np.random.Generator, *, oddness: float = 0.1) -> str:
    """Draw a text that can stand in a column: not empty, without a tab."""
    return line(rng, oddness=oddness).replace("\t", " ") or "ra"

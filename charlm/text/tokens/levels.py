"""The rule of each token unit. A new one is a splitter in a file of its own and an entry in `SPLITTERS`."""

from __future__ import annotations

from collections.abc import Mapping

from charlm.config import TextConfig
from charlm.text.tokens.normalization import Normalization
from charlm.text.tokens.splitter import (
    CharacterSplitter,
    Level,
    PunctuationSplitter,
    Split,
    Splitter,
    WhitespaceSplitter,
)

# By level, and for words by --split.
SPLITTERS: Mapping[str, type[Splitter]] = {
    "char": CharacterSplitter,
    "word punct": PunctuationSplitter,
    "word whitespace": WhitespaceSplitter,
}


def make_splitter(level: Level, split: Split, lowercase: bool, normalize: Normalization = "none") -> Splitter:
    """Return a splitter.

    level: the token unit; split: the rule for words, without effect on other units
    Raises ValueError for other names.
    """
    kind = SPLITTERS.get(level) or SPLITTERS.get(f"{level} {split}")
    if kind is None:
        raise ValueError(f"no splitter for level {level!r} and split {split!r}")
    return kind(lowercase=lowercase, normalize=normalize)


def splitter_of(text: TextConfig) -> Splitter:
    """Return the splitter that a model's configuration names."""
    return make_splitter(text.level, text.split, text.lowercase, text.normalize)  # type: ignore[arg-type]

"""The rule of each token unit. A new one is a splitter in a file of its own and an entry in `SPLITTERS`."""

from __future__ import annotations

from collections.abc import Mapping

from charlm.config import TextConfig
from charlm.text.tokens.closed import ByteSplitter
from charlm.text.tokens.normalization import Normalization
from charlm.text.tokens.splitter import (
    CharacterSplitter,
    Level,
    PunctuationSplitter,
    Split,
    Splitter,
    WhitespaceSplitter,
)
from charlm.text.tokens.subword import SubwordSplitter

# By level, and for words by --split. Pieces have a model besides.
SPLITTERS: Mapping[str, type[Splitter]] = {
    "char": CharacterSplitter,
    "byte": ByteSplitter,
    "subword": SubwordSplitter,
    "word punct": PunctuationSplitter,
    "word whitespace": WhitespaceSplitter,
}


def make_splitter(
    level: Level, split: Split, lowercase: bool, normalize: Normalization = "none", piece_model: str = ""
) -> Splitter:
    """Return a splitter.

    level: the token unit; split: the rule for words, without effect on other units
    piece_model: of pieces, as `learn_pieces` returns it
    Raises ValueError for other names and other models, ResourceError for pieces without SentencePiece.
    """
    kind = SPLITTERS.get(level) or SPLITTERS.get(f"{level} {split}")
    if kind is None:
        raise ValueError(f"no splitter for level {level!r} and split {split!r}")
    if issubclass(kind, SubwordSplitter):
        return kind(lowercase=lowercase, normalize=normalize, piece_model=piece_model)
    return kind(lowercase=lowercase, normalize=normalize)


def splitter_of(text: TextConfig) -> Splitter:
    """Return the splitter that a model's configuration names."""
    names = (text.level, text.split, text.lowercase, text.normalize, text.piece_model)
    return make_splitter(*names)  # type: ignore[arg-type]


def gathering_splitter(text: TextConfig) -> Splitter:
    """Return `Splitter.gathered_by` of a configuration, whose pieces may be unknown still."""
    if SPLITTERS.get(text.level) is SubwordSplitter:
        return CharacterSplitter(lowercase=text.lowercase, normalize=text.normalize)  # type: ignore[arg-type]
    return splitter_of(text)

"""Strings to ids and back: files, lines, tokens and the vocabulary."""

from charlm.text.ids.held_out import split_lines
from charlm.text.lines.reading import read_lines
from charlm.text.tokens.splitter import Splitter, make_splitter, splitter_of
from charlm.text.tokens.tokenizer import Tokenizer
from charlm.text.tokens.vocabulary import EOS, EOS_ID, NOTHING, UNK, UNK_ID, Vocabulary

__all__ = [
    "EOS",
    "EOS_ID",
    "NOTHING",
    "UNK",
    "UNK_ID",
    "Splitter",
    "Tokenizer",
    "Vocabulary",
    "make_splitter",
    "read_lines",
    "split_lines",
    "splitter_of",
]

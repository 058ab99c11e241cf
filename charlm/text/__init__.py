"""Strings to ids and back.

Each room imports only those before it:

| room | content |
|---|---|
| `lines` | bytes to lines |
| `tokens` | lines to tokens, the vocabulary |
| `ids` | a corpus as ids, in memory or on the disk |
| `batches` | ids to mini-batches |
| `dataset` | corpora that are cut into batches |
| `columns` | texts in a column of a table |
| `arpa` | n-gram models in files of other programs |
| `learning` | a corpus encoded, a vocabulary learned, a part held out |
| `reader`, `records`, `doubts`, `music_text`, `tasks` | the corpus of each task |
"""

from charlm.text.ids.held_out import split_lines
from charlm.text.lines.reading import read_lines
from charlm.text.tokens.levels import make_splitter, splitter_of
from charlm.text.tokens.splitter import Splitter
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

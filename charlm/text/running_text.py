"""Whether the lines of a text belong together, as in a book, a play or a program, or are records of their own."""

from __future__ import annotations

import numpy as np

from charlm.text.ids.store import Store
from charlm.text.tokens.vocabulary import EOS_ID

_LOOKED_AT = 200_000  # tokens
_LONG = 1_000  # tokens: a line of a list is shorter
_FEWEST_BLANK, _BLANK = 3, 0.02  # blank lines that separate parts, and their share
_CONTINUED, _WRAPPED = 0.2, 0.8  # shares: of lines that continue the one before, and of full lines before them
_FULL, _LONGEST = 0.6, 90  # a full line has this share of the length that so many lines in a hundred do not exceed
_OTHERS = 0.02  # share of lines that end a sentence, and of lines that begin with a capital letter
_ENDS = frozenset(".!?\"'\u2026\u201d\u2019\u00bb\u3002\uff01\uff1f")


def is_running_text(corpus: Store) -> bool:
    """Return whether a text should be learned as one sequence instead of line by line.

    The beginning of the text decides. A text of one line, or of very long lines, is running text. So is a text with
    blank lines between its parts. So is a wrapped text, in which many lines begin with a small letter, after a full
    line that does not end a sentence.
    """
    ids = corpus.slice(0, min(_LOOKED_AT, corpus.size))
    ends = np.flatnonzero(ids == EOS_ID)
    if corpus.lines < 2 or ends.size < 2:
        return True
    lengths = np.diff(ends, prepend=-1) - 1
    is_visible = np.array([not token.isspace() for token in corpus.tokens])
    is_visible[EOS_ID] = False
    visible = np.add.reduceat(is_visible[ids[: ends[-1] + 1]], ends - lengths, dtype=np.int64)
    blank = np.count_nonzero(visible[:-1] == 0)
    if (blank >= _FEWEST_BLANK and blank >= _BLANK * lengths.size) or lengths.mean() >= _LONG:
        return True
    ends, lengths = ends[lengths > 0], lengths[lengths > 0]
    if ends.size < 2:
        return False
    firsts, lasts = (map(corpus.tokens.__getitem__, ids[at].tolist()) for at in (ends - lengths, ends - 1))
    is_small = np.array([token[0].islower() for token in firsts])
    ends_sentence = np.array([token[-1] in _ENDS for token in lasts])
    continued = is_small[1:] & ~ends_sentence[:-1]
    if min(ends_sentence.mean(), 1 - is_small.mean()) < _OTHERS or continued.mean() < _CONTINUED:
        return False
    is_full = lengths[:-1] >= _FULL * np.percentile(lengths, _LONGEST)
    return bool(is_full[continued].mean() >= _WRAPPED)

"""An even sample of a corpus, to judge a network by while it learns."""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch

import numpy as np

from charlm.text.batches.lanes import Batches, runs
from charlm.text.batches.stream import StretchBatches
from charlm.text.dataset import Dataset, Encoded, Pairs, Pieces, Sequences, offsets_of
from charlm.text.tokens.vocabulary import NOTHING

_STRETCHES = 32  # of a stream
_FEWEST_WINDOWS = 16  # of a store that are read


def sample_batches(corpus: Encoded, lanes: int, seq_length: int, context: int, tokens: int) -> Batches:
    """Return the batches of about so many tokens that are evenly spread over a corpus; all of it if it has no more.

    The same arguments choose the same tokens. Sequences stay whole; of a stream, stretches are read.

    lanes, seq_length: sizes of a batch, shrunk to what the sample can fill
    context: tokens of a stream that a lane reads before its own; a stretch reads at most as many as it predicts
    """
    if tokens >= corpus.size:
        return corpus.batches(*corpus.fit(lanes, seq_length), context=context)
    if isinstance(corpus, Dataset) and corpus.unit == "stream":
        count = max(1, min(_STRETCHES, tokens))
        length = tokens // count
        read_first = min(context, length // 2)
        return StretchBatches(
            corpus.size,
            corpus.read,
            stretches=count,
            own=length - read_first,
            context=read_first,
            seq_length=seq_length,
        )
    part = _some(corpus, tokens)
    return part.batches(*part.fit(lanes, seq_length), context=context)


@singledispatch
def _some(corpus: Encoded, tokens: int) -> Encoded:
    """Return a corpus of some of the sequences, with about so many tokens."""
    raise TypeError(type(corpus).__name__)


@_some.register
def _(corpus: Sequences, tokens: int) -> Encoded:
    chosen = _evenly(corpus.sequences, tokens / corpus.size)
    at, offsets = _places(corpus.offsets, chosen)
    return replace(corpus, ids=corpus.ids[at], targets=corpus.targets[at], offsets=offsets)


@_some.register
def _(corpus: Pairs, tokens: int) -> Encoded:
    chosen = _evenly(corpus.sequences, tokens / corpus.size)
    sides = []
    for ids, offsets in (corpus.sources, corpus.targets):
        at, new_offsets = _places(offsets, chosen)
        sides.append((ids[at], new_offsets))
    return Pairs(*sides)


@_some.register
def _(corpus: Pieces, tokens: int) -> Encoded:
    chosen = _evenly(corpus.sequences, tokens / corpus.size)
    at, offsets = _places(corpus.offsets, chosen)
    labels = None if corpus.labels is None else corpus.labels[chosen]
    return replace(corpus, roll=corpus.roll[at], offsets=offsets, labels=labels)


@_some.register
def _(corpus: Dataset, tokens: int) -> Encoded:
    """Of a large store only some windows are read."""
    sizes = corpus.sizes[1]
    filled = np.flatnonzero(sizes)
    count = max(_FEWEST_WINDOWS, int(np.ceil(filled.size * tokens / corpus.size)))
    windows = filled[_evenly(filled.size, count / filled.size)]
    share = tokens / int(sizes[windows].sum())
    ids, lengths, first = [], [], []
    for window in map(corpus.window, windows.tolist()):
        chosen = _evenly(window.lengths.size, share)
        at, _ = _places(offsets_of(window.lengths.tolist()), chosen)
        ids.append(window.ids[at])
        lengths.append(window.lengths[chosen])
        first.append(window.first[chosen])
    starts = np.concatenate(first)
    return Dataset.of(
        np.concatenate(ids),
        offsets_of(np.concatenate(lengths).tolist()),
        "line",
        starts if (starts != NOTHING).any() else None,
    )


def _evenly(count: int, share: float) -> np.ndarray:
    """Return a share of the numbers 0 ... count - 1, at least one, evenly spread, rising."""
    chosen = min(count, max(1, round(count * share)))
    return (np.arange(chosen) * 2 + 1) * count // (2 * chosen)


def _places(offsets: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the tokens of some sequences, and the offsets of these sequences laid end to end."""
    lengths = np.diff(offsets)[chosen]
    return runs(offsets[chosen], lengths), offsets_of(lengths.tolist())

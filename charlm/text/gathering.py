"""A whole corpus into provisional ids, in one pass: in memory where it is small, else on the disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from charlm.text.dataset import Dataset
from charlm.text.ids.cache import Entry, evict
from charlm.text.ids.encoder import Encoder, make_encoder
from charlm.text.ids.store import Store
from charlm.text.ids.store_writer import StoreWriter
from charlm.text.lines.reading import Lines, blocks_of
from charlm.text.stored import StoredLines, StoredStream
from charlm.text.tokens.splitter import Splitter
from charlm.text.tokens.vocabulary import EOS_ID, UNK_ID, Vocabulary

MOST_IN_MEMORY = 1 << 24  # tokens


@dataclass(frozen=True)
class Gathered:
    """A corpus that is read, its tokens numbered as they first occurred.

    tokens: by number, `<EOS>` and `<UNK>` first; encoded: their numbers [n], or where these are on the disk
    """

    tokens: Sequence[str]
    encoded: np.ndarray | Store

    def whole(self, unit: str) -> Dataset | StoredLines | StoredStream:
        """Give all of it, still so numbered, in the unit that it is learned in."""
        if isinstance(self.encoded, Store):
            return StoredStream.whole(self.encoded) if unit == "stream" else StoredLines.whole(self.encoded)
        ends = np.flatnonzero(self.encoded == EOS_ID) + 1
        return Dataset(self.encoded, np.concatenate([[0], ends]).astype(np.int64), unit)

    def ids_of(self, vocabulary: Vocabulary) -> np.ndarray:
        """Give the id that each number has in a vocabulary, int32."""
        return np.array([EOS_ID, UNK_ID, *map(vocabulary.id_of, self.tokens[2:])], np.int32)


def gather(lines: Iterable[str] | Gathered, splitter: Splitter) -> Gathered:
    """Read a corpus, unless it is read already, or its like was by an earlier run that has kept it.

    Lines of files are read in blocks, others one by one; only their beginning, where it is a small part, the block at
    hand and the tokens are in memory. Raises CorpusError for what cannot be read, ResourceError where there is no room
    for it: neither in the cache, nor in the folder for temporary files, nor in memory.
    """
    if isinstance(lines, Gathered):
        return lines
    entry = Entry(lines, splitter) if isinstance(lines, Lines) else None
    store = entry.find() if entry else None
    if store:
        return Gathered(store.tokens, store)
    encoder = make_encoder(splitter)
    blocks = blocks_of(lines, words=splitter.level == "word")
    encoded = map(encoder, blocks)
    begun, size = [np.empty(0, np.int32)], 0
    for ids in encoded:
        begun.append(ids)
        size += ids.size
        if size >= MOST_IN_MEMORY:
            return _stored(encoder, chain(begun[1:], encoded), entry)
    return Gathered(encoder.tokens, np.concatenate(begun, dtype=np.int32))


def _stored(encoder: Encoder, encoded: Iterator[np.ndarray], entry: Entry | None) -> Gathered:
    evict()
    with StoreWriter(keep=entry is not None and entry.is_kept) as writer:
        for ids in encoded:
            writer.add(ids)
        store = writer.finish(encoder.tokens, entry.name if entry else None)
    return Gathered(encoder.tokens, store)

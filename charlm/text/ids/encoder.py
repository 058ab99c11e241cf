"""Text to provisional ids: tokens are numbered in the order in which they occur first.

The ids of a vocabulary go by frequency and are known at the end of a corpus only. Provisional ids take one pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np

from charlm.text.lines.reading import blocks_of
from charlm.text.tokens.closed import ClosedSplitter
from charlm.text.tokens.splitter import RESERVED, Splitter
from charlm.text.tokens.vocabulary import EOS, EOS_ID, UNK, UNK_ID

_PIECE = 4096  # characters: if a text is almost all ASCII, most of its pieces are all ASCII
_MOST_CHUNKS = 1 << 18  # whose tokens are remembered, about 60 MB
_PAIRS = 256 * 256  # of bytes
_LINE_END = b"\xff"  # never occurs in UTF-8


class Encoder(ABC):
    """Blocks of lines to provisional ids, which agree with `splitter.split` line by line."""

    @property
    @abstractmethod
    def tokens(self) -> Sequence[str]:
        """The tokens by provisional id: `<EOS>`, `<UNK>`, then all that occurred, and possibly others."""

    @abstractmethod
    def __call__(self, block: str) -> np.ndarray:
        r"""Return the ids [n] of the tokens of a block, of any integer type; `\n` has `EOS_ID`.

        Each line ends with `\n`, except a last line that continues with a space in the next block.
        """


def make_encoder(splitter: Splitter) -> Encoder:
    """Return the encoder that agrees with a splitter."""
    if isinstance(splitter, ClosedSplitter):
        return ClosedEncoder(splitter)
    return WordEncoder(splitter) if splitter.joins_with_spaces else CharacterEncoder(splitter)


def count_tokens(lines: Iterable[str], splitter: Splitter) -> dict[str, int]:
    """Return how often each token occurs, special tokens left out; the lines are read once and not kept."""
    encoder = make_encoder(splitter)
    counts = Counts()
    for block in blocks_of(lines, words=splitter.joins_with_spaces):
        counts.add(encoder(block))
    tokens = encoder.tokens
    found = zip(tokens, counts.of(len(tokens)).tolist(), strict=True)
    return {token: count for token, count in islice(found, 2, None) if count}


class Counts:
    """How often each id occurs."""

    def __init__(self) -> None:
        self._counts = np.zeros(256, np.int64)

    def add(self, ids: np.ndarray) -> None:
        """Count more ids [n]."""
        above = int(ids.max(initial=0)) + 1
        if above > self._counts.size:
            self._counts = np.concatenate([self._counts, np.zeros(above, np.int64)])
        if ids.dtype == np.uint8 and ids.size >= _PAIRS:
            self._count_bytes(ids)
        elif above <= ids.size:
            self._counts[:above] += np.bincount(ids, minlength=above)
        else:
            # For few ids of very many, this touches their counts alone.
            np.add.at(self._counts, ids, 1)

    def _count_bytes(self, ids: np.ndarray) -> None:
        """Count pairs of bytes, which takes half of the time."""
        even = ids[: ids.size // 2 * 2]
        pairs = np.bincount(even.view(np.uint16), minlength=_PAIRS).reshape(256, 256)
        self._counts[:256] += pairs.sum(axis=0) + pairs.sum(axis=1)
        self._counts[ids[even.size :]] += 1

    def of(self, count: int) -> np.ndarray:
        """Return the counts of the ids below `count`, int64."""
        return np.concatenate([self._counts, np.zeros(count, np.int64)])[:count]


class CharacterEncoder(Encoder):
    """Ids from tables: one of bytes for ASCII, which has ids from the start, and one of all code points."""

    def __init__(self, splitter: Splitter) -> None:
        self._spelled = splitter.spelled
        self._tokens = [EOS, UNK, *map(chr, range(128))]
        self._table = np.full(0x110000, -1, np.int32)
        self._table[:128] = np.arange(2, 130)
        self._table[ord("\n")] = EOS_ID
        self._ascii = self._table[:128].astype(np.uint8).tobytes() + bytes(128)

    @property
    def tokens(self) -> Sequence[str]:
        return self._tokens

    def __call__(self, block: str) -> np.ndarray:
        block = self._spelled(block)
        if block.isascii():
            return self._encoded(block)
        return np.concatenate([self._encoded(block[at : at + _PIECE]) for at in range(0, len(block), _PIECE)])

    def _encoded(self, piece: str) -> np.ndarray:
        if piece.isascii():
            return np.frombuffer(piece.encode().translate(self._ascii), np.uint8)
        points = np.frombuffer(piece.encode("utf-32-le", "surrogatepass"), "<u4")
        ids = self._table.take(points)
        new = points[ids < 0]
        if new.size:
            for point in dict.fromkeys(new.tolist()):
                self._table[point] = len(self._tokens)
                self._tokens.append(chr(point))
            ids = self._table.take(points)
        return ids.astype(np.uint8) if len(self._tokens) <= 256 else ids


class ClosedEncoder(Encoder):
    """The ids of a rule with a vocabulary of its own."""

    def __init__(self, splitter: ClosedSplitter) -> None:
        self._splitter = splitter

    @property
    def tokens(self) -> Sequence[str]:
        return self._splitter.vocabulary.tokens

    def __call__(self, block: str) -> np.ndarray:
        ids = self._splitter.encode_lines(block.removesuffix("\n").split("\n"))
        return ids if block.endswith("\n") else ids[:-1]


class WordEncoder(Encoder):
    """Ids from a dictionary of the chunks between ASCII white space, which no token contains."""

    def __init__(self, splitter: Splitter) -> None:
        self._words: dict[str, int] = {EOS: EOS_ID, UNK: UNK_ID}
        self._chunks = _Chunks(splitter, self._words)

    @property
    def tokens(self) -> Sequence[str]:
        return list(self._words)

    def __call__(self, block: str) -> np.ndarray:
        # Bytes, because `str.split` also splits at U+00A0 and other white space.
        chunks = block.encode("utf-8", "surrogatepass").replace(b"\n", b" %b " % _LINE_END).split()
        ids = np.fromiter(map(self._chunks.__getitem__, chunks), np.int32, len(chunks))
        several = np.flatnonzero(ids < 0)
        if several.size:
            ids = self._spread(ids, several)
        if len(self._chunks) > _MOST_CHUNKS:
            self._chunks.forget()
        return ids

    def _spread(self, ids: np.ndarray, several: np.ndarray) -> np.ndarray:
        """Return ids with the tokens of those chunks, at `several`, that are not one token."""
        groups = [self._chunks.groups[-1 - number] for number in ids[several].tolist()]
        lengths = np.ones(ids.size, np.int64)
        lengths[several] = list(map(len, groups))
        spread = np.repeat(ids, lengths)
        spread[spread < 0] = [word for group in groups for word in group]
        return spread


class _Chunks(dict[bytes, int]):
    """The token of each chunk; -1 - i for a chunk of several tokens, or of none, which are `groups[i]`."""

    def __init__(self, splitter: Splitter, words: dict[str, int]) -> None:
        self._split, self._words = splitter.split, words
        self.forget()

    def forget(self) -> None:
        """Forget all chunks."""
        self.clear()
        self.groups: list[list[int]] = []
        self[_LINE_END] = EOS_ID

    def __missing__(self, chunk: bytes) -> int:
        tokens = self._split(chunk.decode("utf-8", "surrogatepass"))
        group = [UNK_ID if token in RESERVED else self._words.setdefault(token, len(self._words)) for token in tokens]
        if len(group) == 1:
            self[chunk] = group[0]
        else:
            self.groups.append(group)
            self[chunk] = -len(self.groups)
        return self[chunk]

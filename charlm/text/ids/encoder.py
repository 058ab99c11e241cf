"""Text into provisional ids, many lines at once and before any vocabulary: tokens are numbered as they first occur.

Ids by frequency, as a vocabulary gives them, are known only at the end of a corpus; this is what takes one pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np

from charlm.text.lines.reading import blocks_of
from charlm.text.tokens.splitter import RESERVED, Splitter
from charlm.text.tokens.vocabulary import EOS, EOS_ID, UNK, UNK_ID

_PIECE = 4096  # characters: in text that is hardly anything but ASCII, most pieces are nothing but ASCII
_MOST_CHUNKS = 1 << 18  # whose tokens are remembered: some 60 MB
_PAIRS = 256 * 256  # of bytes
_LINE_END = b"\xff"  # occurs in no UTF-8


class Encoder(ABC):
    """Blocks of lines into provisional ids, which agree with `splitter.split` line by line."""

    @property
    @abstractmethod
    def tokens(self) -> Sequence[str]:
        """The tokens by provisional id: `<EOS>`, `<UNK>`, then what occurred, and perhaps what did not."""

    @abstractmethod
    def __call__(self, block: str) -> np.ndarray:
        r"""Give the ids [n] of the tokens of lines that each end in `\n`, which has `EOS_ID`, of any integer type.

        The last one may lack its end, where it goes on with a space in the next block.
        """


def make_encoder(splitter: Splitter) -> Encoder:
    """Make the encoder that agrees with a splitter."""
    return CharacterEncoder(splitter) if splitter.level == "char" else WordEncoder(splitter)


def count_tokens(lines: Iterable[str], splitter: Splitter) -> dict[str, int]:
    """Return how often each token occurs; the lines are read once and not kept. Those of `RESERVED` are left out."""
    encoder = make_encoder(splitter)
    counts = Counts()
    for block in blocks_of(lines, words=splitter.level == "word"):
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
        else:  # few of very many: their counts alone are touched
            np.add.at(self._counts, ids, 1)

    def _count_bytes(self, ids: np.ndarray) -> None:
        """Count two at a time, which takes half of the time."""
        even = ids[: ids.size // 2 * 2]
        pairs = np.bincount(even.view(np.uint16), minlength=_PAIRS).reshape(256, 256)
        self._counts[:256] += pairs.sum(axis=0) + pairs.sum(axis=1)
        self._counts[ids[even.size :]] += 1

    def of(self, count: int) -> np.ndarray:
        """Give the counts of the ids below `count`, int64."""
        return np.concatenate([self._counts, np.zeros(count, np.int64)])[:count]


class CharacterEncoder(Encoder):
    """Ids by tables: of bytes for ASCII, whose characters have ids from the start, and of code points for the rest."""

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


class WordEncoder(Encoder):
    """Ids by a dictionary of what stands between ASCII white space, over which no token and no rule reaches."""

    def __init__(self, splitter: Splitter) -> None:
        self._words: dict[str, int] = {EOS: EOS_ID, UNK: UNK_ID}
        self._chunks = _Chunks(splitter, self._words)

    @property
    def tokens(self) -> Sequence[str]:
        return list(self._words)

    def __call__(self, block: str) -> np.ndarray:
        # Bytes, because of strings `split` would take U+00A0 and its like for white space too.
        chunks = block.encode("utf-8", "surrogatepass").replace(b"\n", b" %b " % _LINE_END).split()
        ids = np.fromiter(map(self._chunks.__getitem__, chunks), np.int32, len(chunks))
        several = np.flatnonzero(ids < 0)
        if several.size:
            ids = self._spread(ids, several)
        if len(self._chunks) > _MOST_CHUNKS:
            self._chunks.forget()
        return ids

    def _spread(self, ids: np.ndarray, several: np.ndarray) -> np.ndarray:
        """Put the tokens of chunks that are not one token in their place."""
        groups = [self._chunks.groups[-1 - number] for number in ids[several].tolist()]
        lengths = np.ones(ids.size, np.int64)
        lengths[several] = list(map(len, groups))
        spread = np.repeat(ids, lengths)
        spread[spread < 0] = [word for group in groups for word in group]
        return spread


class _Chunks(dict[bytes, int]):
    """Of each chunk its token; of one that is several, or none, -1 less the number of its group of tokens."""

    def __init__(self, splitter: Splitter, words: dict[str, int]) -> None:
        self._split, self._words = splitter.split, words
        self.forget()

    def forget(self) -> None:
        """Make room for others."""
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

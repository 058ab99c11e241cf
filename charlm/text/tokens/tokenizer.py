"""Text into ids: a splitter and the vocabulary of its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

import numpy as np
import numpy.typing as npt

from charlm.text.tokens.splitter import RESERVED, Level, Splitter
from charlm.text.tokens.unknown_words import shapes_of
from charlm.text.tokens.vocabulary import EOS_ID, UNK_ID, Vocabulary

# Enough to make the cost of a call vanish, few enough for a block to stay in the cache.
_LINES_PER_BLOCK = 4096
_LOOKED_UP_TOGETHER = 1 << 18  # characters: code points take four bytes each, and a line may be long


class Tokenizer:
    """Lines into ids, and tokens into text.

    A token the vocabulary lacks gets `UNK_ID`; at word level so do the literal `<unk>`, `<UNK>` and `<EOS>`,
    because text must not be able to end a sentence. At character level they are characters like any other.

    splitter: how lines become tokens; vocabulary: the ids of those tokens.
    """

    def __init__(self, splitter: Splitter, vocabulary: Vocabulary) -> None:
        self.splitter = splitter
        self.vocabulary = vocabulary
        self._lookup: _CharacterLookup | _WordLookup
        if splitter.level == "char":
            self._lookup = _CharacterLookup(vocabulary, splitter)
        else:
            self._lookup = _WordLookup(vocabulary, splitter)

    @property
    def level(self) -> Level:
        """The token unit."""
        return self.splitter.level

    def split(self, line: str) -> list[str]:
        """The tokens of a line, as they are written there, without `<EOS>`."""
        return self.splitter.split(line)

    def join(self, tokens: Iterable[str]) -> str:
        """The text of the tokens of one line."""
        return self.splitter.join(tokens)

    def stream(self, tokens: Iterable[str]) -> Iterator[str]:
        """The text of the tokens of one line, one piece for each token as soon as it is known."""
        return self.splitter.stream(tokens)

    def encode(self, line: str) -> npt.NDArray[np.int32]:
        """The ids [n] of the tokens of a line, without `EOS_ID`; raises ValueError if it holds a newline."""
        return self.encode_lines([line])[0][:-1]

    def encode_tokens(self, tokens: Iterable[str]) -> npt.NDArray[np.int32]:
        """The ids [n] of tokens that are apart already, as a corpus of tags has them; of the word level alone.

        A token that the vocabulary lacks is read as its shape, see `shapes_of`, where the vocabulary has that.
        """
        if not isinstance(self._lookup, _WordLookup):
            raise ValueError("tokens that are apart already are words")
        return self._lookup.of_tokens(tokens)

    def encode_lines(self, lines: Sequence[str]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """The ids of all lines, one after the other, each line followed by `EOS_ID`.

        Returns ids [n] and offsets [lines + 1]: line i with its `EOS_ID` is `ids[offsets[i]:offsets[i + 1]]`.
        Raises ValueError if a line holds a newline.
        """
        blocks = [
            self._lookup(lines[start : start + _LINES_PER_BLOCK]) for start in range(0, len(lines), _LINES_PER_BLOCK)
        ]
        ids = blocks[0] if len(blocks) == 1 else np.concatenate([np.empty(0, np.int32), *blocks])
        # Nothing but the end of a line has this id, so the ids tell the offsets.
        ends = np.flatnonzero(ids == EOS_ID) + 1
        if len(ends) != len(lines):
            raise ValueError("a line holds a newline")
        return ids, np.concatenate([[0], ends]).astype(np.int64, copy=False)


class _CharacterLookup:
    """Ids by one table over all code points up to the highest one known."""

    def __init__(self, vocabulary: Vocabulary, splitter: Splitter) -> None:
        ids = {ord(token): token_id for token, token_id in vocabulary.ids.items() if len(token) == 1}
        ids[ord("\n")] = EOS_ID
        # One entry more than needed: `take` clips all higher code points to that last one.
        self._table = np.full(max(ids) + 2, UNK_ID, np.int32)
        self._table[list(ids.keys())] = list(ids.values())
        self._spelled = splitter.spelled

    def __call__(self, lines: Sequence[str]) -> npt.NDArray[np.int32]:
        text = self._spelled("\n".join([*lines, ""]))
        ids = np.empty(len(text), np.int32)
        for start in range(0, len(text), _LOOKED_UP_TOGETHER):
            part = slice(start, start + _LOOKED_UP_TOGETHER)
            code_points = np.frombuffer(text[part].encode("utf-32-le", "surrogatepass"), "<u4")
            self._table.take(code_points, mode="clip", out=ids[part])
        return ids


class _WordLookup:
    """Ids by a dictionary."""

    def __init__(self, vocabulary: Vocabulary, splitter: Splitter) -> None:
        # A newline is white space, so no token of a line can be one.
        self._ids = {**vocabulary.ids, **dict.fromkeys(RESERVED, UNK_ID), "\n": EOS_ID}
        self._split, self._splitter = splitter.split, splitter

    def of_tokens(self, tokens: Iterable[str]) -> npt.NDArray[np.int32]:
        return np.fromiter(map(self._of_token, tokens), np.int32)

    def _of_token(self, token: str) -> int:
        known = self._ids.get(self._splitter.spelled(token))
        if known is None:
            shapes = shapes_of(self._splitter.normalized(token))
            known = next((self._ids[shape] for shape in shapes if shape in self._ids), UNK_ID)
        return known

    def __call__(self, lines: Sequence[str]) -> npt.NDArray[np.int32]:
        tokens: list[str] = []
        for line in lines:
            tokens += self._split(line)
            tokens.append("\n")
        return np.fromiter(map(self._ids.get, tokens, repeat(UNK_ID)), np.int32, len(tokens))

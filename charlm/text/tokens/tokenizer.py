"""Text to ids: a splitter and the vocabulary of its tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat

import numpy as np
import numpy.typing as npt

from charlm.text.tokens.closed import ClosedSplitter
from charlm.text.tokens.splitter import RESERVED, Level, Splitter
from charlm.text.tokens.unknown_words import shapes_of
from charlm.text.tokens.vocabulary import EOS_ID, UNK_ID, Vocabulary

# Enough to make the cost of a call small, few enough for a block to stay in the cache.
_LINES_PER_BLOCK = 4096
_LOOKED_UP_TOGETHER = 1 << 18  # characters: code points take four bytes each, and a line may be long


class Tokenizer:
    """Lines to ids, and tokens to text.

    A token that is out of vocabulary has `UNK_ID`. So have the literal words `<unk>`, `<UNK>` and `<EOS>`: no text can
    end a sentence by spelling it.

    splitter: the rule that splits lines; vocabulary: the ids of the tokens
    """

    def __init__(self, splitter: Splitter, vocabulary: Vocabulary) -> None:
        self.splitter = splitter
        self.vocabulary = vocabulary
        self._lookup: Callable[[Sequence[str]], npt.NDArray[np.int32]]
        if isinstance(splitter, ClosedSplitter):
            self._lookup = splitter.encode_lines
        elif splitter.joins_with_spaces:
            self._lookup = _WordLookup(vocabulary, splitter)
        else:
            self._lookup = _CharacterLookup(vocabulary, splitter)

    @property
    def level(self) -> Level:
        """The token unit."""
        return self.splitter.level

    def split(self, line: str) -> list[str]:
        """Return the tokens of a line, as they are spelled there, without `<EOS>`."""
        return self.splitter.split(line)

    def join(self, tokens: Iterable[str]) -> str:
        """Return the text of the tokens of one line."""
        return self.splitter.join(tokens)

    def stream(self, tokens: Iterable[str]) -> Iterator[str]:
        """Yield the text of the tokens of one line, a piece for each token as soon as it is known."""
        return self.splitter.stream(tokens)

    def encode(self, line: str) -> npt.NDArray[np.int32]:
        """Return the ids [n] of a line without `EOS_ID`; raise ValueError if it contains a newline."""
        return self.encode_lines([line])[0][:-1]

    def encode_tokens(self, tokens: Iterable[str]) -> npt.NDArray[np.int32]:
        """Return the ids [n] of words that are split already, as in a corpus of tags.

        A word that is out of vocabulary is read as its shape, see `shapes_of`, if the vocabulary has that.
        Raises ValueError unless the tokens are words.
        """
        if not isinstance(self._lookup, _WordLookup):
            raise ValueError(f"the tokens at {self.level} level are not words")
        return self._lookup.of_tokens(tokens)

    def encode_lines(self, lines: Sequence[str]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Return the ids of all lines, end to end, each line followed by `EOS_ID`.

        Returns ids [n] and offsets [lines + 1]: line i with its `EOS_ID` is `ids[offsets[i]:offsets[i + 1]]`.
        Raises ValueError if a line contains a newline.
        """
        blocks = [
            self._lookup(lines[start : start + _LINES_PER_BLOCK]) for start in range(0, len(lines), _LINES_PER_BLOCK)
        ]
        ids = blocks[0] if len(blocks) == 1 else np.concatenate([np.empty(0, np.int32), *blocks])
        # This id occurs at the end of a line only.
        ends = np.flatnonzero(ids == EOS_ID) + 1
        if len(ends) != len(lines):
            raise ValueError("a line contains a newline")
        return ids, np.concatenate([[0], ends]).astype(np.int64, copy=False)


class _CharacterLookup:
    """Ids from a table of all code points up to the highest known one."""

    def __init__(self, vocabulary: Vocabulary, splitter: Splitter) -> None:
        ids = {ord(token): token_id for token, token_id in vocabulary.ids.items() if len(token) == 1}
        ids[ord("\n")] = EOS_ID
        # The last entry is for all higher code points: `take` clips them to it.
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
    """Ids from a dictionary."""

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

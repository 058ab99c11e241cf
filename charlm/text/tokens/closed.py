"""Rules with a vocabulary of their own, whose tokens are strings of bytes: no text is unknown, and none is lost."""

from __future__ import annotations

import codecs
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from charlm.text.tokens.joining import Spacing
from charlm.text.tokens.splitter import Splitter
from charlm.text.tokens.utf8 import BYTE_NAMES, byte_text, bytes_of
from charlm.text.tokens.vocabulary import EOS, EOS_ID, UNK, UNK_ID, Vocabulary

_NEWLINE = ord("\n")


class ClosedSplitter(Splitter):
    """A rule whose tokens do not depend on a corpus.

    vocabulary: all tokens; a byte that is not ASCII is named as in `BYTE_NAMES`
    token_bytes: the bytes of each token, by its id
    """

    vocabulary: Vocabulary
    token_bytes: Sequence[bytes]

    @property
    def never_drawn(self) -> Collection[int]:
        """The ids of tokens that occur in no line: `<UNK>`, and a newline that is not `<EOS>`."""
        return [UNK_ID, *(one for one, data in enumerate(self.token_bytes) if data == b"\n" and one != EOS_ID)]

    @abstractmethod
    def encode_lines(self, lines: Sequence[str]) -> npt.NDArray[np.int32]:
        """Return the ids of lines, end to end, each line followed by `EOS_ID`."""

    def spelling_as(self, spacing: Spacing | None) -> Self:
        return self

    def split(self, line: str) -> list[str]:
        tokens = self.vocabulary.tokens
        return [tokens[token_id] for token_id in self.encode_lines([line])[:-1].tolist()]

    def stream(self, tokens: Iterable[str]) -> Iterator[str]:
        """Yield the text of tokens; bytes of a character wait for its last one, or for the end of the line."""
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        for token in tokens:
            yield decoder.decode(self.bytes_by_token[token])
        if rest := decoder.decode(b"", final=True):
            yield rest

    def raw_stream(self, tokens: Iterable[str]) -> Iterator[str]:
        """Yield the bytes of each token at once, see `byte_text`."""
        return (byte_text(self.bytes_by_token[token]) for token in tokens)

    @cached_property
    def bytes_by_token(self) -> Mapping[str, bytes]:
        """The bytes of each token, by its name."""
        return dict(zip(self.vocabulary.tokens, self.token_bytes, strict=True))

    def spans(self, line: str) -> list[tuple[int, int]]:
        spelled = self.spelled(line)
        ends = np.cumsum([len(self.token_bytes[one]) for one in self.encode_lines([line])[:-1].tolist()], dtype=int)
        starts = np.concatenate([[0], ends])[:-1]
        if not spelled.isascii():
            # The character that each byte belongs to.
            of_byte = np.repeat(np.arange(len(spelled)), [len(bytes_of(one)) for one in spelled])
            starts, ends = of_byte[starts], of_byte[ends - 1] + 1
        return list(zip(starts.tolist(), ends.tolist(), strict=True))


class ByteSplitter(ClosedSplitter):
    """The rule by which every byte of a line in UTF-8 is a token; the byte of a newline is `<EOS>`."""

    level = "byte"
    vocabulary = Vocabulary((EOS, UNK, *(name for byte, name in enumerate(BYTE_NAMES) if byte != _NEWLINE)))
    token_bytes = (b"\n", UNK.encode(), *(bytes([byte]) for byte in range(256) if byte != _NEWLINE))

    # The id of each byte.
    _IDS = np.array([byte + 2 - (byte > _NEWLINE) for byte in range(256)], np.int32)
    _IDS[_NEWLINE] = EOS_ID

    def encode_lines(self, lines: Sequence[str]) -> npt.NDArray[np.int32]:
        data = bytes_of(self.spelled("\n".join([*lines, ""])))
        ids: npt.NDArray[np.int32] = self._IDS[np.frombuffer(data, np.uint8)]
        return ids

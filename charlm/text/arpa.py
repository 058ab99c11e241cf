r"""N-gram models in the ARPA format, as SRILM and KenLM write them.

The format is that of SRILM's manual page ngram-format(5). A header counts the n-grams of each length. A section for
each length follows. Its lines are `log10p TAB words TAB log10 of the back-off weight`; the last field may be missing:

    \data\
    ngram 1=3
    ngram 2=1

    \1-grams:
    -0.5	cat	-0.3
    ...
    \end\
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from typing import NoReturn

import numpy as np

from charlm.errors import CorpusError, ModelFileError
from charlm.text.lines.open_text import open_text, read_errors
from charlm.text.lines.reading import line_place
from charlm.text.tokens.closed import ClosedSplitter
from charlm.text.tokens.splitter import UNK_SPELLINGS, Splitter
from charlm.text.tokens.vocabulary import EOS, EOS_ID, UNK, UNK_ID, Vocabulary

SPACE = "\u2581"  # how a space is spelled as a token, as in SentencePiece and in `score --format kenlm`

_BEGIN, _END = b"<s>", b"</s>"
_UNKNOWN = [one.encode() for one in UNK_SPELLINGS]
# log10 of the probability 0, also of <unk> in a file without it, as in KenLM.
_ZERO = -100.0
_LINES = 1 << 12  # read together
_COUNT = re.compile(rb"ngram\s+(\d+)\s*=\s*(\d+)")
_LONGEST_SHOWN = 60  # bytes of a line in a message


@dataclass(frozen=True)
class NGrams:
    """All n-grams of one length.

    words [N, n] int32: their ids
    log10p [N] float32: log10 P(last word | words before), at least -100
    backoff [N] float32: log10 of the back-off weight, at least -100; 0 where the file has none
    """

    words: np.ndarray
    log10p: np.ndarray
    backoff: np.ndarray


@dataclass(frozen=True)
class Arpa:
    """The contents of an ARPA file.

    vocabulary: the tokens as a splitter spells them; `</s>` is `<EOS>`, `<unk>` is `<UNK>`
    ngrams: those of each length, from 1 on; `<s>` has the first id that is not in the vocabulary
    """

    vocabulary: Vocabulary
    ngrams: Sequence[NGrams]


def is_arpa(name: str) -> bool:
    """Return whether a file is named as an ARPA file."""
    return name.endswith((".arpa", ".arpa.gz"))


def read_arpa(path: str, splitter: Splitter) -> Arpa:
    """Read an ARPA file, compressed by gzip or not.

    Every word must be one token of the splitter, in the same spelling. Among characters and bytes, U+2581 is a space.

    Raises ModelFileError, with the line, for a file that cannot be read, is malformed, or has other tokens.
    """
    try:
        with open_text(path) as file, read_errors(path):
            return _Reader(path, file, splitter).read()
    except CorpusError as error:
        raise ModelFileError(error.message, hint=error.hint) from error


class _Reader:
    """Reads a file from its start to its end; `_number` is the line that it has read."""

    def __init__(self, path: str, lines: Iterable[bytes], splitter: Splitter) -> None:
        self._path, self._lines, self._splitter = path, iter(lines), splitter
        self._number = 0
        self._tokens = [EOS, UNK]
        self._ids = {_END: EOS_ID, **dict.fromkeys(_UNKNOWN, UNK_ID)}

    def read(self) -> Arpa:
        ngrams = []
        for length, count in enumerate(self._counts(), start=1):
            self._expect(b"\\%d-grams:" % length)
            ngrams.append(self._unigrams(count) if length == 1 else _joined(length, self._parts(length, count)))
        self._expect(b"\\end\\")
        return Arpa(Vocabulary(tuple(self._tokens)), ngrams)

    def _counts(self) -> list[int]:
        """Return the number of n-grams of each length, as the header has them."""
        # What comes before is a comment.
        if b"\\data\\" not in self._stripped():
            self._fail(
                "not an ARPA file, it has no line \\data\\", "name a file that SRILM or KenLM's lmplz has written"
            )
        counts: list[int] = []
        for line in self._stripped():
            found = _COUNT.fullmatch(line)
            if found and int(found[1]) == len(counts) + 1:
                counts.append(int(found[2]))
            elif line:
                self._fail(f"malformed header, {_shown(line)}", f"expected: ngram {len(counts) + 1}=COUNT")
            elif counts:
                return counts
        return self._fail("the file ends in its header", "copy it again")

    def _expect(self, wanted: bytes) -> None:
        """Read a line with a given content, after empty ones; raise ModelFileError for another."""
        line = next(filter(None, self._stripped()), None)
        if line is None:
            self._fail(f"the file ends before {wanted.decode()}", "copy it again")
        if line != wanted:
            self._fail(f"{_shown(line)} instead of {wanted.decode()}", "compare with the counts in the header")

    def _stripped(self) -> Iterator[bytes]:
        for line in self._lines:
            self._number += 1
            yield line.strip()

    def _unigrams(self, count: int) -> NGrams:
        """Read the 1-grams, which name all tokens; add `<unk>` if it is missing."""
        found = _joined(1, self._parts(1, count))
        begin, ids = len(self._tokens), found.words[:, 0]
        ids[ids < 0] = self._ids[_BEGIN] = begin
        if EOS_ID not in ids:
            self._fail("</s> is missing among the 1-grams", "make it of whole sentences, each with its end")
        if UNK_ID in ids:
            return found
        missing = NGrams(np.array([[UNK_ID]], np.int32), np.array([_ZERO], np.float32), np.zeros(1, np.float32))
        return _joined(1, [found, missing])

    def _parts(self, length: int, count: int) -> Iterator[NGrams]:
        """Yield the n-grams of a section, some thousands together."""
        for start in range(0, count, _LINES):
            wanted = min(_LINES, count - start)
            lines = list(islice(self._lines, wanted))
            columns, log10p, backoff = self._numbers(lines, length)
            if length == 1:
                words = np.array([[self._added(word, at)] for at, word in enumerate(columns[0], start=1)], np.int32)
            else:
                known = (np.fromiter(map(self._ids.get, column, repeat(-1)), np.int32) for column in columns)
                words = np.stack(list(known), axis=1)
                if (words < 0).any():
                    row, place = np.argwhere(words < 0)[0].tolist()
                    self._number += row + 1
                    self._fail(f"{_shown(columns[place][row])} is not among the 1-grams", "compare with the 1-grams")
            self._number += len(lines)
            if len(lines) < wanted:
                self._fail(f"the file ends in its {length}-grams", "copy it again")
            yield NGrams(words, log10p, backoff)

    def _numbers(self, lines: Sequence[bytes], length: int) -> tuple[list[list[bytes]], np.ndarray, np.ndarray]:
        """Return what `_parsed` does; raise ModelFileError with the place of a malformed line."""
        try:
            return _parsed(lines, length)
        except ValueError:
            # Parsed alone, the malformed one is found.
            for line in lines:
                self._number += 1
                try:
                    _parsed([line], length)
                except ValueError as error:
                    self._fail(f"{error}, {_shown(line.strip())}", "expected: LOG10P TAB WORDS TAB BACKOFF")
            raise

    def _added(self, word: bytes, at: int) -> int:
        """Return the id of a new token, -1 for `<s>`; at: its line among those that are read together."""
        if word == _BEGIN:
            return -1
        if word in self._ids:
            if word not in (_END, *_UNKNOWN):
                self._number += at
                self._fail(f"the 1-gram {_shown(word)} occurs twice", "leave one of them out")
            return self._ids[word]
        token = word.decode("utf-8", "surrogateescape")
        if self._splitter.level in ("char", "byte") and token == SPACE:
            token = " "
        if not self._is_token(token):
            self._number += at
            self._fail(
                f"{_shown(word)} is not a token of the model that it is mixed with",
                "make it of text that is split as the model splits it: charlm guide mixing",
            )
        self._ids[word] = len(self._tokens)
        self._tokens.append(token)
        return self._ids[word]

    def _is_token(self, token: str) -> bool:
        if isinstance(self._splitter, ClosedSplitter):
            return token in self._splitter.vocabulary.ids and token != EOS
        return self._splitter.split(token) == [token] and token != EOS

    def _fail(self, what: str, hint: str) -> NoReturn:
        raise ModelFileError(f"{what}, {line_place(self._path, self._number)}", hint=hint)


def _parsed(lines: Sequence[bytes], length: int) -> tuple[list[list[bytes]], np.ndarray, np.ndarray]:
    """Return the words of n-grams, by their place, and both logarithms; raise ValueError with what is wrong."""
    width = length + 2
    with_backoff = (line if line.count(b"\t") > 1 else line.rstrip() + b"\t0\n" for line in lines)
    # If a field were missing on one line and too many on another, some words would be where numbers are expected.
    fields = b"".join(with_backoff).split()
    if len(fields) != width * len(lines):
        raise ValueError(f"malformed {length}-gram")
    columns = [fields[at::width] for at in range(width)]
    try:
        log10p, backoff = (np.fromiter(map(float, columns[at]), np.float32, len(lines)) for at in (0, -1))
    except ValueError:
        raise ValueError("malformed logarithm") from None
    if not (log10p <= 0.0).all():
        raise ValueError("log10 of a probability above 0")
    if not (backoff < np.inf).all():
        raise ValueError("the back-off weight is NaN or infinite")
    return columns[1:-1], np.maximum(log10p, _ZERO), np.maximum(backoff, _ZERO)


def _joined(length: int, parts: Iterable[NGrams]) -> NGrams:
    words, log10p, backoff = [np.empty((0, length), np.int32)], [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    for part in parts:
        words.append(part.words)
        log10p.append(part.log10p)
        backoff.append(part.backoff)
    return NGrams(np.concatenate(words), np.concatenate(log10p), np.concatenate(backoff))


def _shown(line: bytes) -> str:
    """Return a line, or the beginning of a long one, for a message."""
    return repr(line[:_LONGEST_SHOWN].decode("utf-8", "replace") + ("..." if len(line) > _LONGEST_SHOWN else ""))

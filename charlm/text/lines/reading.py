"""Files read as lines, one by one or in blocks."""

from __future__ import annotations

import hashlib
import os
import stat
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol, Self, TypeVar

from charlm.errors import CharlmError
from charlm.storage.files import display_name
from charlm.text.lines.lines_of_bytes import BLOCK_BYTES, Block, Errors, file_blocks
from charlm.text.lines.open_text import STANDARD_INPUT

Item = TypeVar("Item")

WINDOW_SIZE = 1 << 22  # characters of lines that are processed together


class Digest(Protocol):
    """A hash object, as `hashlib.sha256()` returns it, of the lines that are read; it identifies a corpus."""

    def update(self, data: bytes, /) -> None:
        """Hash more bytes."""

    def copy(self) -> Self:
        """Return a digest of the same bytes that can be updated on its own."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""


class Located(Iterator[str], ABC):
    """An iterator over texts that knows where the last one was read."""

    @property
    @abstractmethod
    def place(self) -> str:
        """The place of the last text, for messages."""


class Lines(Located):
    """Lines of files as they are read, and the place of the last one.

    The arguments are those of `read_lines`. `digest` may be replaced by that of `hash_all`.
    """

    def __init__(
        self, paths: Sequence[str], errors: Errors, digest: Digest | None, watch: Callable[[str], None] | None
    ) -> None:
        self.paths, self.errors, self.digest, self._watch = paths, errors, digest, watch
        self._lines = self._located()
        self._path, self._number = "", 0

    def __next__(self) -> str:
        line, self._path, self._number = next(self._lines)
        return line

    @property
    def place(self) -> str:
        """The file and the line's number in it."""
        return line_place(self._path, self._number)

    @property
    def size(self) -> int | None:
        """The size of the files on the disk in bytes; None if one of them cannot be read twice."""
        return size_of(self.paths)

    def blocks(self) -> Iterator[str]:
        r"""Yield all lines in blocks, each line ended by `\n`; a caller reads either blocks or lines.

        A line longer than a block may continue, from a space on, in the next one. Raises what reading lines raises.
        """
        blocks = (block for path in self.paths for block in file_blocks(path, errors=self.errors))
        # Small files are joined; the blocks of large files stay as they are.
        return _joined(((self._decoded(block), len(block.data)) for block in blocks), BLOCK_BYTES // 2)

    def hash_all(self) -> Digest:
        """Return what `digest` will be when all lines are read; this is faster, as nothing is decoded.

        Raises CorpusError for a file that cannot be read.
        """
        digest = hashlib.sha256() if self.digest is None else self.digest.copy()
        for path in self.paths:
            for block in file_blocks(path, errors=self.errors):
                digest.update(block.data)
        return digest

    def _located(self) -> Iterator[tuple[str, str, int]]:
        for path in self.paths:
            for number, block in enumerate(file_blocks(path, by_line=True, errors=self.errors), start=1):
                yield self._decoded(block)[:-1], path, number

    def _decoded(self, block: Block) -> str:
        text = block.decoded(self.errors)
        if self.digest is not None:
            self.digest.update(block.data)
        if self._watch is not None:
            for line in text.removesuffix("\n").split("\n"):
                self._watch(line)
        return text


class Placed(Located):
    """Texts as they are read, and their places.

    places: of the texts that were read, in order; the caller takes them from the left
    """

    def __init__(self, lines: Located) -> None:
        self._lines = lines
        self.places: deque[str] = deque()

    def __next__(self) -> str:
        line = next(self._lines)
        self.places.append(self._lines.place)
        return line

    @property
    def place(self) -> str:
        return self._lines.place


class HeldOutDigest:
    """The digest of a corpus and its held-out lines; it changes if a line moves from one to the other.

    corpus: with a digest; it is read to its end before the first held-out line
    """

    def __init__(self, corpus: Lines) -> None:
        self._corpus = corpus
        self._own: Digest | None = None

    @property
    def _digest(self) -> Digest:
        digest = self._own or self._corpus.digest
        assert digest is not None
        return digest

    def update(self, data: bytes, /) -> None:
        """Hash more bytes of the held-out lines."""
        if self._own is None:
            self._own = self._digest.copy()
            self._own.update(b"\0held out\0")  # lines contain no zero bytes
        self._own.update(data)

    def copy(self) -> HeldOutDigest:
        other = HeldOutDigest(self._corpus)
        other._own = self._own and self._own.copy()
        return other

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far; without held-out lines, that of the corpus."""
        return self._digest.hexdigest()


def line_place(path: str, number: int) -> str:
    """Return the place of a line for a message."""
    return f"{display_name(path)} line {number}"


def file_and_number(place: str) -> tuple[str, int]:
    """Return the file's name and the line's number of a place that `line_place` returned."""
    name, _, number = place.rpartition(" line ")
    return name, int(number)


def size_of(paths: Sequence[str]) -> int | None:
    """Return the size of files on the disk in bytes; None if one of them cannot be read twice."""
    try:
        found = [os.stat(path) for path in paths if path != STANDARD_INPUT]
    except (OSError, ValueError):
        return None
    are_regular = len(found) == len(paths) and all(stat.S_ISREG(one.st_mode) for one in found)
    return sum(one.st_size for one in found) if are_regular else None


def numbered(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each line with its place: the file and the line's number, or the number alone if it is from no file."""
    for number, line in enumerate(lines, start=1):
        yield line, lines.place if isinstance(lines, Located) else f"line {number}"


def windows(items: Iterable[Item], count: int, *, size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Yield items in groups that are processed together: at most `count`, fewer if they are large.

    If an item cannot be read, the items before it are yielded and then the error is raised. So the output before an
    error does not depend on the size of the groups.
    """
    remaining = iter(items)
    mistake: CharlmError | None = None
    while mistake is None:
        window: list[Item] = []
        total = 0
        try:
            for item in islice(remaining, count):
                window.append(item)
                total += size(item)
                if total >= WINDOW_SIZE:
                    break
        except CharlmError as error:
            mistake = error
        if window:
            yield window
        elif mistake is None:
            return
    raise mistake


def read_lines(
    paths: Sequence[str],
    *,
    errors: Errors = "strict",
    digest: Digest | None = None,
    watch: Callable[[str], None] | None = None,
) -> Lines:
    r"""Read the lines of several UTF-8 files as one text, each as soon as it has arrived.

    A line ends with `\n` or `\r\n` or with its file, and nowhere else. A byte order mark at the start of a file is
    skipped. One line and one block are in memory at a time.

    paths: file names; `-` is standard input; a file compressed by gzip, whatever its name, is decompressed
    errors: "strict" refuses bytes that are not UTF-8 and zero bytes; "keep" decodes each byte that is not UTF-8 to a
        lone surrogate, so that `line.encode("utf-8", "surrogateescape")` restores the bytes; "bytes" does so
        too, and reads files of any kind and encoding; "raw" reads them as they are, with byte order mark and `\r`, and
        without decompressing them
    digest: updated with the bytes of each line, without its end, and `\n`
    watch: called with each line

    While lines are read, raises CorpusError for a file that cannot be read, is truncated or damaged, or contains other
    text. Offsets in messages count bytes from 0, after decompression.
    """
    return Lines(paths, errors, digest, watch)


def blocks_of(lines: Iterable[str], *, words: bool) -> Iterator[str]:
    r"""Yield lines in blocks, each line ended by `\n`.

    words: whether a newline inside a line counts as white space; else it raises ValueError
    """
    if isinstance(lines, Lines):
        return lines.blocks()
    return _joined(_ended(lines, words=words), BLOCK_BYTES - 1)


def _ended(lines: Iterable[str], *, words: bool) -> Iterator[tuple[str, int]]:
    r"""Yield lines ended by `\n`, and their lengths."""
    for line in lines:
        if "\n" in line and not words:
            raise ValueError("a line contains a newline")
        ended = line.replace("\n", " ") + "\n"
        yield ended, len(ended)


def _joined(texts: Iterable[tuple[str, int]], most: int) -> Iterator[str]:
    """Join texts, given with their sizes, until a block is larger than `most`; yield the blocks."""
    pending: list[str] = []
    size = 0
    for text, its_size in texts:
        pending.append(text)
        size += its_size
        if size > most:
            yield "".join(pending)
            pending, size = [], 0
    if pending:
        yield "".join(pending)

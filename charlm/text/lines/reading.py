"""Files into lines, one by one or in blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from charlm.errors import CharlmError
from charlm.storage.files import display_name
from charlm.text.lines.digests import Digest
from charlm.text.lines.lines_of_bytes import BLOCK_BYTES, Errors, file_blocks, file_lines
from charlm.text.lines.open_text import open_text, size_of

Item = TypeVar("Item")

WINDOW_SIZE = 1 << 22  # characters of lines that are read ahead


class Lines(Iterator[str]):
    """Lines as they are read, and where the last one stood.

    digest: of what was read, see `read_lines`; of blocks it is another object after `hash_all` than before
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

    def close(self) -> None:
        """Close the file that is open."""
        self._lines.close()

    @property
    def place(self) -> str:
        """The file and the line's number in it."""
        return f"{display_name(self._path)} line {self._number}"

    @property
    def size(self) -> int | None:
        """The bytes of the files, as they lie on the disk; None where they cannot be read twice."""
        return size_of(self.paths)

    def blocks(self) -> Iterator[str]:
        r"""Yield all lines, many at once, each ended by `\n`; instead of them, not after them.

        A line longer than a block may go on, from a space on, in the next one. Raises CorpusError as lines do.
        """
        for block in self._gathered():
            if self._watch is not None:
                for line in block.removesuffix("\n").split("\n"):
                    self._watch(line)
            yield block

    def hash_all(self) -> Digest:
        """Give what `digest` will be when all is read: faster than reading, as nothing is decoded.

        Raises CorpusError for a file that cannot be read.
        """
        digest = hashlib.sha256() if self.digest is None else self.digest.copy()
        for path in self.paths:
            for block in file_blocks(path):
                digest.update(block.data)
        return digest

    def _located(self) -> Generator[tuple[str, str, int], None, None]:
        for path in self.paths:
            with open_text(path) as file:
                for number, line in enumerate(file_lines(file, path, self.errors, self.digest), start=1):
                    if self._watch is not None:
                        self._watch(line)
                    yield line, path, number

    def _gathered(self) -> Iterator[str]:
        pending: list[str] = []
        size = 0
        for path in self.paths:
            for block in file_blocks(path):
                pending.append(block.decoded(self.errors))
                if self.digest is not None:
                    self.digest.update(block.data)
                size += len(block.data)
                if size > BLOCK_BYTES // 2:  # small files go together, blocks of large ones as they are
                    yield pending[0] if len(pending) == 1 else "".join(pending)
                    pending, size = [], 0
        if pending:
            yield "".join(pending)


def numbered(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each line with its place: of what `read_lines` gave, the file and the line, else the line alone."""
    for number, line in enumerate(lines, start=1):
        yield line, lines.place if isinstance(lines, Lines) else f"line {number}"


def windows(items: Iterable[Item], count: int, *, size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Yield items in groups to be worked on together: at most `count`, fewer where they are large.

    Where the next item cannot be read, the group that has begun comes first, and then the error: what is worked on
    before a mistake does not depend on the size of the groups.
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

    A line ends in `\n` or `\r\n` and nowhere else, or with its file. A byte order mark at the start of a file
    is no text. Only one line and one block are in memory at a time.

    paths: file names; `-` is standard input; a file compressed by gzip, whatever its name, is decompressed.
    errors: "strict" refuses what is not UTF-8 and what holds a zero byte; "keep" decodes each byte that is
        not UTF-8 to one lone surrogate: `line.encode("utf-8", "surrogateescape")` has the bytes as they came.
    digest: updated with the bytes of each line, without its end, and `\n`.
    watch: called with each line.

    Raises CorpusError, once iteration gets there, for a file that cannot be read, that is cut off or damaged,
    or whose text is not as above. Offsets in messages count bytes from 0, after decompression.
    """

    return Lines(paths, errors, digest, watch)


def blocks_of(lines: Iterable[str], *, words: bool) -> Iterator[str]:
    r"""Yield lines, many at once, each ended by `\n`.

    words: a newline within a line is the white space that it is to words, and else raises ValueError
    """
    if isinstance(lines, Lines):
        yield from lines.blocks()
        return
    pending: list[str] = []
    size = 0
    for line in lines:
        if "\n" in line and not words:
            raise ValueError("a line holds a newline")
        pending += (line.replace("\n", " "), "\n")
        size += len(line) + 1
        if size >= BLOCK_BYTES:
            yield "".join(pending)
            pending, size = [], 0
    if pending:
        yield "".join(pending)

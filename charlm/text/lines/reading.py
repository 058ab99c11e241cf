"""Files read as lines, one by one or in blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from charlm.errors import CharlmError
from charlm.storage.files import display_name
from charlm.text.lines.digests import Digest
from charlm.text.lines.lines_of_bytes import BLOCK_BYTES, Block, Errors, file_blocks
from charlm.text.lines.open_text import size_of

Item = TypeVar("Item")

WINDOW_SIZE = 1 << 22  # characters of lines that are processed together


class Lines(Iterator[str]):
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

    def close(self) -> None:
        """Close the file that is open."""
        self._lines.close()

    @property
    def place(self) -> str:
        """The file and the line's number in it."""
        return f"{display_name(self._path)} line {self._number}"

    @property
    def size(self) -> int | None:
        """The size of the files on the disk in bytes; None if they cannot be read twice."""
        return size_of(self.paths)

    def blocks(self) -> Iterator[str]:
        r"""Yield all lines in blocks, each line ended by `\n`; a caller reads either blocks or lines.

        A line longer than a block may continue, from a space on, in the next one. Raises what reading lines raises.
        """
        for block in self._gathered():
            if self._watch is not None:
                for line in block.removesuffix("\n").split("\n"):
                    self._watch(line)
            yield block

    def hash_all(self) -> Digest:
        """Return what `digest` will be when all lines are read; this is faster, as nothing is decoded.

        Raises CorpusError for a file that cannot be read.
        """
        digest = hashlib.sha256() if self.digest is None else self.digest.copy()
        for path in self.paths:
            for block in file_blocks(path):
                digest.update(block.data)
        return digest

    def _located(self) -> Generator[tuple[str, str, int], None, None]:
        for path in self.paths:
            for number, block in enumerate(file_blocks(path, by_line=True), start=1):
                line = self._decoded(block)[:-1]
                if self._watch is not None:
                    self._watch(line)
                yield line, path, number

    def _decoded(self, block: Block) -> str:
        text = block.decoded(self.errors)
        if self.digest is not None:
            self.digest.update(block.data)
        return text

    def _gathered(self) -> Iterator[str]:
        pending: list[str] = []
        size = 0
        for path in self.paths:
            for block in file_blocks(path):
                pending.append(self._decoded(block))
                size += len(block.data)
                # Small files are joined; the blocks of large files stay as they are.
                if size > BLOCK_BYTES // 2:
                    yield pending[0] if len(pending) == 1 else "".join(pending)
                    pending, size = [], 0
        if pending:
            yield "".join(pending)


def numbered(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each line with its place: the file and the line's number, or the number alone if it is from no file."""
    for number, line in enumerate(lines, start=1):
        yield line, lines.place if isinstance(lines, Lines) else f"line {number}"


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
        lone surrogate, so that `line.encode("utf-8", "surrogateescape")` restores the bytes
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
        yield from lines.blocks()
        return
    pending: list[str] = []
    size = 0
    for line in lines:
        if "\n" in line and not words:
            raise ValueError("a line contains a newline")
        pending += (line.replace("\n", " "), "\n")
        size += len(line) + 1
        if size >= BLOCK_BYTES:
            yield "".join(pending)
            pending, size = [], 0
    if pending:
        yield "".join(pending)

"""Bytes of a file to lines, one by one or in blocks."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import BinaryIO, Literal

import numpy as np

from charlm.text.lines.digests import Digest
from charlm.text.lines.open_text import (
    LONGEST_LINE,
    binary,
    check_unchanged,
    not_utf8,
    open_text,
    read_errors,
    snapshot_of,
    too_long,
    without_mark,
)

Errors = Literal["strict", "keep"]

BLOCK_BYTES = 1 << 18  # of whole lines that are processed together: a block stays in the processor's cache


class Block:
    r"""Lines of one file.

    data: their bytes, each line ended by `\n`
    raw: their bytes as they are in the file
    number, offset: of the first line in its file
    is_cut: whether the last line continues, with a space, in the next block, so that `data` does not end it
    """

    def __init__(self, raw: bytes, path: str, number: int, offset: int, *, is_cut: bool) -> None:
        self._raw, self._path, self._number, self._offset = raw, path, number, offset
        self.data = raw.replace(b"\r\n", b"\n") if b"\r" in raw else raw
        if raw[-1:] != b"\n" and not is_cut:
            self.data += b"\n"

    def decoded(self, errors: Errors) -> str:
        """Return the lines as text; raise CorpusError, which names the place, for what `read_lines` refuses."""
        if errors == "keep":
            return self.data.decode("utf-8", "surrogateescape")
        if b"\0" not in self.data:
            try:
                return self.data.decode()
            except UnicodeDecodeError:
                pass
        one_by_one = _decoded(io.BytesIO(self._raw), self._path, errors, None, self._number, self._offset)
        # This raises and names the line.
        return "".join(f"{line}\n" for line in one_by_one)


def file_lines(file: io.BufferedReader | BinaryIO, path: str, errors: Errors, digest: Digest | None) -> Iterator[str]:
    """Yield the lines of an open file, each as soon as it has arrived, as `read_lines` does."""
    check = partial(check_unchanged, file, snapshot_of(file), path)
    number, offset = 1, 0
    arriving = _raw_lines(file, path)
    for first in arriving:
        begin = without_mark(first, path)
        # A file that contains the byte order mark alone has no line.
        if begin:
            lines = chain([begin], arriving)
            number, offset = yield from _decoded(lines, path, errors, digest, 1, len(first) - len(begin), check)
    check(number, offset)


def _raw_lines(file: io.BufferedReader | BinaryIO, path: str) -> Iterator[bytes]:
    with read_errors(path):
        # Binary files split at b"\n" alone, and return a line without waiting for a full buffer.
        yield from iter(partial(file.readline, LONGEST_LINE + 1), b"")


def _decoded(
    arriving: Iterable[bytes],
    path: str,
    errors: Errors,
    digest: Digest | None,
    number: int,
    offset: int,
    check: Callable[[int, int], None] = lambda number, offset: None,
) -> Generator[str, None, tuple[int, int]]:
    """Yield lines as text; return the number and the offset of the line that would follow them.

    number, offset: of the first line
    check: called with the number and offset of a line without an end, before it is yielded
    """
    strict = errors == "strict"
    handler = "strict" if strict else "surrogateescape"
    for data in arriving:
        line = data
        if data[-1:] == b"\n":
            line = data[:-2] if data[-2:] == b"\r\n" else data[:-1]
        elif len(data) > LONGEST_LINE:
            raise too_long(path, number, offset)
        else:
            check(number, offset)
        try:
            text = line.decode("utf-8", handler)
        except UnicodeDecodeError as error:
            # No other encoding would make this line text, so the zero byte is the error to report.
            if b"\0" in line:
                raise binary(line, path, number, offset) from None
            raise not_utf8(error, path, number, offset) from None
        if strict and "\0" in text:
            raise binary(line, path, number, offset)
        number += 1
        offset += len(data)
        if digest is not None:
            digest.update(line + b"\n")
        yield text
    return number, offset


def file_blocks(path: str) -> Iterator[Block]:
    """Yield the lines of a file in blocks; raise CorpusError if it cannot be read."""
    with open_text(path) as file:
        number, offset = 1, 0
        check = partial(check_unchanged, file, snapshot_of(file), path)
        for arrived, is_cut in _cut(file, path):
            raw = without_mark(arrived, path) if offset == 0 else arrived
            offset += len(arrived) - len(raw)
            if len(raw) > LONGEST_LINE and raw.find(b"\n", 0, LONGEST_LINE + 1) < 0:
                raise too_long(path, number, offset)
            if raw:
                if raw[-1:] != b"\n" and not is_cut:
                    check(number, offset)
                block = Block(raw, path, number, offset, is_cut=is_cut)
                yield block
                number += int(np.count_nonzero(np.frombuffer(block.data, np.uint8) == ord("\n")))  # faster than count()
                offset += len(raw)
        check(number, offset)


def _cut(file: io.BufferedReader | BinaryIO, path: str) -> Iterator[tuple[bytes, bool]]:
    """Yield the bytes of a file, cut after newlines, and whether they were cut before a space instead.

    A line longer than a block is cut before a space, as no token of words contains one. Reading stops after a line
    longer than `LONGEST_LINE`.
    """
    begun: list[bytes] = []
    size = 0
    while size <= LONGEST_LINE:
        with read_errors(path):
            arrived = file.read(BLOCK_BYTES)
        end = arrived.rfind(b"\n") + 1
        is_cut = not end
        if is_cut:
            end = max(arrived.rfind(b" "), 0)
        if end:
            yield b"".join([*begun, arrived[:end]]), is_cut
            begun, size = [], 0
        if end < len(arrived):
            begun.append(arrived[end:])
            size += len(begun[-1])
        if not arrived:
            break
    if begun:
        yield b"".join(begun), False

"""Bytes of a file to lines, one by one or in blocks."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from itertools import repeat
from typing import BinaryIO, Literal

import numpy as np

from charlm.errors import CorpusError
from charlm.text.lines.open_text import (
    LONGEST_LINE,
    check_unchanged,
    iconv,
    open_text,
    place,
    read_errors,
    snapshot_of,
    without_mark,
)

# How bytes are read that are not text: see `read_lines`.
Errors = Literal["strict", "keep", "bytes", "raw"]

BLOCK_BYTES = 1 << 18  # of whole lines that are processed together: a block stays in the processor's cache


class Block:
    r"""Lines of one file.

    data: their bytes, each line ended by `\n`
    raw: their bytes as they are in the file
    number, offset: of the first line in its file
    is_cut: whether the last line continues, with a space, in the next block, so that `data` does not end it
    """

    def __init__(
        self, raw: bytes, path: str, number: int, offset: int, *, is_cut: bool, keeps_returns: bool = False
    ) -> None:
        self.raw, self._path, self._number, self._offset = raw, path, number, offset
        self.data = raw.replace(b"\r\n", b"\n") if b"\r" in raw and not keeps_returns else raw
        if raw[-1:] != b"\n" and not is_cut:
            self.data += b"\n"

    def decoded(self, errors: Errors) -> str:
        """Return the lines as text; raise CorpusError, which names the place, for what `read_lines` refuses."""
        if errors != "strict":
            return self.data.decode("utf-8", "surrogateescape")
        if b"\0" in self.data:
            raise self._error()
        try:
            return self.data.decode()
        except UnicodeDecodeError:
            raise self._error() from None

    def _error(self) -> CorpusError:
        """Return the error that names the first line that is not text."""
        offset = self._offset
        for number, line in enumerate(self.raw.split(b"\n"), start=self._number):
            # A line with a zero byte is not text in any encoding.
            if (zero := line.find(b"\0")) >= 0:
                where = place(self._path, number, offset + zero)
                return CorpusError(f"looks like a binary file (zero byte), {where}", hint="name a text file in UTF-8")
            try:
                line.decode()
            except UnicodeDecodeError as error:
                where = place(self._path, number, offset + error.start)
                what = f"byte 0x{line[error.start]:02x} is not UTF-8, {where}"
                return CorpusError(what, hint=iconv("LATIN1", self._path))
            offset += len(line) + 1
        raise AssertionError("all lines are text")


def file_blocks(path: str, *, by_line: bool = False, errors: Errors = "keep") -> Iterator[Block]:
    """Yield the lines of a file in blocks; raise CorpusError if it cannot be read.

    by_line: whether each line is a block, which is yielded as soon as it has arrived
    errors: as for `read_lines`
    """
    is_raw = errors == "raw"
    with open_text(path, any_kind=errors in ("bytes", "raw"), unpack=not is_raw) as file:
        number, offset = 1, 0
        check = partial(check_unchanged, file, snapshot_of(file), path)
        for arrived, is_cut in _lines(file, path) if by_line else _cut(file, path):
            raw = arrived
            if offset == 0 and not is_raw:
                raw = without_mark(arrived, path, any_encoding=errors == "bytes")
            offset += len(arrived) - len(raw)
            if len(raw) > LONGEST_LINE and raw.find(b"\n", 0, LONGEST_LINE + 1) < 0:
                raise CorpusError(
                    f"line longer than {LONGEST_LINE:,} bytes, {place(path, number, offset)}",
                    hint="break it into several, for example with: fold -s",
                )
            if raw:
                if raw[-1:] != b"\n" and not is_cut:
                    check(number, offset)
                block = Block(raw, path, number, offset, is_cut=is_cut, keeps_returns=is_raw)
                yield block
                # For a block this is faster than bytes.count().
                number += 1 if by_line else int(np.count_nonzero(np.frombuffer(block.data, np.uint8) == ord("\n")))
                offset += len(raw)
        check(number, offset)


def _lines(file: io.BufferedReader | BinaryIO, path: str) -> Iterator[tuple[bytes, bool]]:
    with read_errors(path):
        # Binary files split at b"\n" alone, and return a line without waiting for a full buffer.
        yield from zip(iter(partial(file.readline, LONGEST_LINE + 1), b""), repeat(False))


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

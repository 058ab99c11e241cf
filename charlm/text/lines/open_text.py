"""Text files opened for reading, and the errors that name a file that cannot be read as text."""

from __future__ import annotations

import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

from charlm.errors import CorpusError
from charlm.quoting import shell_argument
from charlm.storage.files import display_name
from charlm.text.lines.file_kinds import LOOKED_AT, kind_of

STANDARD_INPUT = "-"
LONGEST_LINE = 1 << 28  # bytes: a small .gz may decompress to a line larger than the memory

_BUFFER_BYTES = 1 << 20
# Nanoseconds: file systems round times, FAT to two seconds, so an unchanged time may be read a little earlier.
_COARSEST = 2_000_000_000
_GZIP_MARK = b"\x1f\x8b"
_UTF8_MARK = b"\xef\xbb\xbf"
# UTF-32 first: its little-endian mark begins with that of UTF-16.
_FOREIGN_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_UNREADABLE: dict[type[Exception], tuple[str, str]] = {
    IsADirectoryError: ("is a directory", "name the files in it"),
    FileNotFoundError: ("no such file", "check the name; - is standard input"),
    PermissionError: ("no permission to read", "check its mode with ls -l"),
}


@contextmanager
def open_text(path: str, *, any_kind: bool = False, unpack: bool = True) -> Iterator[io.BufferedReader | BinaryIO]:
    """Open a file inside the block and decompress it if it is compressed by gzip; `-` is standard input.

    any_kind: whether it may be of another kind than text
    unpack: whether it is decompressed
    Raises CorpusError if it cannot be opened, or if it is of another kind than text, see `kind_of`.
    """
    if path == STANDARD_INPUT:
        # It is None if the shell closed it (`<&-`).
        if sys.stdin is None or sys.stdin.closed:
            raise CorpusError("nothing to read, standard input is closed", hint="name a file")
        source = sys.stdin.buffer
        # At a terminal, a second read after the end would wait for a second end of file to be typed.
        yield source if _is_text(source, path, any_kind=any_kind) else io.BytesIO()
        return
    with ExitStack() as opened:
        with read_errors(path):
            file = opened.enter_context(io.BufferedReader(io.FileIO(path), _BUFFER_BYTES))
            is_gzip = unpack and file.peek(len(_GZIP_MARK)).startswith(_GZIP_MARK)
        # This buffer finds lines in C; GzipFile.readline runs Python code for each line.
        unpacked = io.BufferedReader(gzip.GzipFile(fileobj=file), _BUFFER_BYTES) if is_gzip else file
        opened.enter_context(unpacked)
        _is_text(unpacked, path, any_kind=any_kind)
        yield unpacked


def _is_text(file: io.BufferedReader | BinaryIO, path: str, *, any_kind: bool) -> bool:
    """Return whether a file that was just opened contains anything; raise CorpusError for other kinds than text."""
    with read_errors(path):
        if isinstance(file, io.BufferedReader):
            # From a pipe these are the bytes of its first write, so this does not wait for a full buffer.
            start = file.peek(LOOKED_AT)
        else:
            start = file.read(LOOKED_AT)
            file.seek(-len(start), os.SEEK_CUR)
    if (kind := kind_of(start)) and not any_kind:
        (name, hint), argument = kind, _argument(path)
        raise CorpusError(f"{name}, {display_name(path)}", hint=hint.format(input=argument, file=argument or " FILE"))
    return bool(start)


def snapshot_of(file: io.BufferedReader | BinaryIO) -> tuple[int, int]:
    """Return the present size of an open file in bytes and the time of its last change in nanoseconds.

    Both are 0 if it is not a file on a disk.
    """
    try:
        found = os.fstat(file.fileno())
    except (OSError, ValueError):
        return 0, 0
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else (0, 0)


def check_unchanged(
    file: io.BufferedReader | BinaryIO, before: tuple[int, int], path: str, number: int, line_offset: int
) -> None:
    """Raise CorpusError if a file that was read to its end was truncated or rewritten since `before`.

    A file that has grown is accepted: it was read to its new end.

    before: what `snapshot_of` returned; number, line_offset: of the line at which the file ended
    """
    (old_size, old_time), (size, time) = before, snapshot_of(file)
    # Files of the kernel, as in /sys, report a size that they do not fill.
    if size < old_size and os.lseek(file.fileno(), 0, os.SEEK_CUR) < old_size:
        raise CorpusError(
            f"was cut off while it was read, {place(path, number, line_offset)}",
            hint="run the command again when no other program writes to the file",
        )
    # Not st_ctime: renaming a file, changing its mode or linking it changes that too.
    if size == old_size > 0 and (time > old_time or time <= old_time - _COARSEST):
        raise CorpusError(
            f"was written to while it was read, {display_name(path)}",
            hint="run the command again when no other program writes to the file",
        )


@contextmanager
def read_errors(path: str) -> Iterator[None]:
    """Raise CorpusError for the errors of opening and reading a file inside the block."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(
            f"broken gzip file ({error}), {display_name(path)}", hint=f"test it: gzip -t{_argument(path)}"
        ) from error
    except (OSError, ValueError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason, hint = _UNREADABLE.get(type(error), (f"cannot read ({text})", "check the file"))
        raise CorpusError(f"{reason}, {display_name(path)}", hint=hint) from error


def without_mark(data: bytes, path: str, *, any_encoding: bool = False) -> bytes:
    """Return the first bytes of a file without the byte order mark of UTF-8.

    any_encoding: whether the mark of another encoding stays; otherwise it raises CorpusError
    """
    for mark, encoding in _FOREIGN_MARKS.items():
        if not any_encoding and data.startswith(mark):
            raise CorpusError(f"{encoding} is not UTF-8, {place(path, 1, 0)}", hint=iconv(encoding, path))
    return data.removeprefix(_UTF8_MARK)


def iconv(encoding: str, path: str) -> str:
    """Return the hint for a file in another encoding."""
    return f"convert it, for example: iconv -f {encoding} -t UTF-8{_argument(path)}"


def _argument(path: str) -> str:
    """Return a space and a file's name as a shell reads it; the empty string for standard input."""
    return "" if path == STANDARD_INPUT else f" {shell_argument(path)}"


def place(path: str, number: int, offset: int) -> str:
    """Return the place of a byte for a message: the line that it is in, and its offset in the file."""
    return f"{display_name(path)} line {number}, offset {offset}"

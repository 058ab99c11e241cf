"""Text files opened for reading, and the errors that name a file that cannot be read as text."""

from __future__ import annotations

import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
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


def open_text(path: str) -> AbstractContextManager[io.BufferedReader | BinaryIO]:
    """Open a file and decompress it if it is compressed by gzip; `-` is standard input.

    Raises CorpusError if it cannot be opened, or if it is of another kind than text, see `kind_of`.
    """
    name = display_name(path)
    if path == STANDARD_INPUT:
        # It is None if the shell closed it (`<&-`).
        if sys.stdin is None or sys.stdin.closed:
            raise CorpusError("nothing to read, standard input is closed", hint="name a file")
        source = sys.stdin.buffer
        # At a terminal, a second read after the end would wait for a second end of file to be typed.
        return nullcontext(source if _is_text(source, path) else io.BytesIO())
    try:
        file = io.BufferedReader(io.FileIO(path), _BUFFER_BYTES)
    except IsADirectoryError:
        raise CorpusError(f"is a directory, {name}", hint="name the files in it") from None
    except FileNotFoundError:
        raise CorpusError(f"no such file, {name}", hint="check the name; - is standard input") from None
    except PermissionError:
        raise CorpusError(f"no permission to read, {name}", hint="check its mode with ls -l") from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    try:
        is_gzip = file.peek(len(_GZIP_MARK)).startswith(_GZIP_MARK)
    except OSError as error:
        file.close()
        raise _unreadable(path, error) from error
    opened = _GzipReader(file) if is_gzip else file
    try:
        _is_text(opened, path)
    except CorpusError:
        opened.close()
        raise
    return opened


def _is_text(file: io.BufferedReader | BinaryIO, path: str) -> bool:
    """Return whether a file that was just opened contains anything; raise CorpusError if it is not text."""
    with read_errors(path):
        if isinstance(file, io.BufferedReader):
            # From a pipe these are the bytes of its first write, so this does not wait for a full buffer.
            start = file.peek(LOOKED_AT)
        else:
            start = file.read(LOOKED_AT)
            file.seek(-len(start), os.SEEK_CUR)
    if kind := kind_of(start):
        argument = _argument(path)
        hint = kind.hint.format(input=argument, file=argument or " FILE")
        raise CorpusError(f"{kind.name}, {display_name(path)}", hint=hint)
    return bool(start)


class _GzipReader(io.BufferedReader):
    """The decompressed bytes of a file; closing the reader closes the file."""

    def __init__(self, file: io.BufferedReader[io.FileIO]) -> None:
        self._file = file
        # This buffer finds lines in C; GzipFile.readline runs Python code for each line.
        super().__init__(gzip.GzipFile(fileobj=file, mode="rb"), _BUFFER_BYTES)

    def close(self) -> None:
        super().close()
        self._file.close()


def size_of(paths: Sequence[str]) -> int | None:
    """Return the size of several files on the disk in bytes; None if one of them cannot be read twice."""
    total = 0
    for path in paths:
        try:
            found = os.stat(path) if path != STANDARD_INPUT else None
        except (OSError, ValueError):
            return None
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        total += found.st_size
    return total


@dataclass(frozen=True)
class Snapshot:
    """The size of a file in bytes, 0 if it is not on a disk, and the time of its last change in nanoseconds."""

    size: int = 0
    modified: int = 0


def snapshot_of(file: io.BufferedReader | BinaryIO) -> Snapshot:
    """Return the present size and time of an open file."""
    try:
        found = os.fstat(file.fileno())
    except (OSError, ValueError):
        return Snapshot()
    return Snapshot(found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else Snapshot()


def check_unchanged(
    file: io.BufferedReader | BinaryIO, before: Snapshot, path: str, number: int, line_offset: int
) -> None:
    """Raise CorpusError if a file that was read to its end was truncated or rewritten since `before`.

    A file that has grown is accepted: it was read to its new end.

    number, line_offset: of the line at which the file ended
    """
    now = snapshot_of(file)
    # Files of the kernel, as in /sys, report a size that they do not fill.
    if now.size < before.size and os.lseek(file.fileno(), 0, os.SEEK_CUR) < before.size:
        raise CorpusError(
            f"was cut off while it was read, {display_name(path)} line {number}, offset {line_offset}",
            hint="run the command again when no other program writes to the file",
        )
    # Not st_ctime: renaming a file, changing its mode or linking it changes that too.
    later = now.modified - before.modified
    if now.size == before.size > 0 and (later > 0 or later <= -_COARSEST):
        raise CorpusError(
            f"was written to while it was read, {display_name(path)}",
            hint="run the command again when no other program writes to the file",
        )


@contextmanager
def read_errors(path: str) -> Iterator[None]:
    """Raise CorpusError for the errors of reading an open file inside the block."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(
            f"broken gzip file ({error}), {display_name(path)}", hint=f"test it: gzip -t{_argument(path)}"
        ) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def without_mark(data: bytes, path: str) -> bytes:
    """Return the first bytes of a file without the byte order mark; raise CorpusError if the mark is not UTF-8's."""
    for mark, encoding in _FOREIGN_MARKS.items():
        if data.startswith(mark):
            raise CorpusError(
                f"{encoding} is not UTF-8, {display_name(path)} line 1, offset 0", hint=_iconv(encoding, path)
            )
    return data.removeprefix(_UTF8_MARK)


def not_utf8(error: UnicodeDecodeError, path: str, number: int, line_offset: int) -> CorpusError:
    """Return the error that names a byte of line `number`, which begins `line_offset` bytes into the file."""
    bad, offset = error.object[error.start], line_offset + error.start
    return CorpusError(
        f"byte 0x{bad:02x} is not UTF-8, {display_name(path)} line {number}, offset {offset}",
        hint=_iconv("LATIN1", path),
    )


def binary(line: bytes, path: str, number: int, line_offset: int) -> CorpusError:
    """Return the error that names the first zero byte of a line, as `not_utf8` does."""
    offset = line_offset + line.index(b"\0")
    return CorpusError(
        f"looks like a binary file (zero byte), {display_name(path)} line {number}, offset {offset}",
        hint="name a text file in UTF-8",
    )


def too_long(path: str, number: int, line_offset: int) -> CorpusError:
    """Return the error of a line longer than `LONGEST_LINE`, as `not_utf8` does."""
    return CorpusError(
        f"line longer than {LONGEST_LINE:,} bytes, {display_name(path)} line {number}, offset {line_offset}",
        hint="break it into several, for example with: fold -s",
    )


def _iconv(encoding: str, path: str) -> str:
    return f"convert it, for example: iconv -f {encoding} -t UTF-8{_argument(path)}"


def _argument(path: str) -> str:
    """Return a space and a file's name as a shell reads it; the empty string for standard input."""
    return "" if path == STANDARD_INPUT else f" {shell_argument(path)}"


def _unreadable(path: str, error: Exception) -> CorpusError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return CorpusError(f"cannot read ({reason}), {display_name(path)}", hint="check the file")

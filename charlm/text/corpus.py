"""Files into lines, and lines into a training and a held-out part."""

from __future__ import annotations

import gzip
import io
import shlex
import sys
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import BinaryIO, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from charlm.errors import CorpusError
from charlm.files import display_name

STANDARD_INPUT = "-"

Errors = Literal["strict", "keep"]

Item = TypeVar("Item")

_BLOCK_BYTES = 1 << 20
WINDOW_SIZE = 1 << 22  # characters of lines that are read ahead
_GZIP_MARK = b"\x1f\x8b"
_UTF8_MARK = b"\xef\xbb\xbf"
# UTF-32 first: its little-endian mark starts with the one of UTF-16.
_FOREIGN_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
# Second key word of the generator: apart from `charlm.randomness`, whose keys are hashes.
_SPLIT_STREAM = 2**64 - 1


class Digest(Protocol):
    """What `hashlib.sha256()` returns."""

    def update(self, data: bytes, /) -> None:
        """Take in more bytes."""


class Lines(Iterator[str]):
    """Lines as they are read, and where the last one stood."""

    def __init__(self, lines: Generator[tuple[str, str, int], None, None]) -> None:
        self._lines = lines
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


def numbered(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each line with its place: of what `read_lines` gave, the file and the line, else the line alone."""
    for number, line in enumerate(lines, start=1):
        yield line, lines.place if isinstance(lines, Lines) else f"line {number}"


def windows(items: Iterable[Item], count: int, *, size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Yield items in groups to be worked on together: at most `count`, fewer where they are large."""
    remaining = iter(items)
    while window := list(islice(remaining, 1)):
        total = size(window[0])
        while len(window) < count and total < WINDOW_SIZE:
            item = next(remaining, None)
            if item is None:
                break
            window.append(item)
            total += size(item)
        yield window


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

    def located() -> Generator[tuple[str, str, int], None, None]:
        for path in paths:
            with _open(path) as file:
                for number, line in enumerate(_lines_of(file, path, errors, digest), start=1):
                    if watch is not None:
                        watch(line)
                    yield line, path, number

    return Lines(located())


def split_lines(count: int, fraction: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Draw the lines that are held out for validation.

    count: number of lines; fraction: share to hold out, 0 <= fraction < 1; seed: 0 <= seed < 2**64.
    Returns the rising indices [training lines] and [held-out lines]. Neither is empty if fraction > 0 and
    count >= 2; nothing is held out otherwise. The same arguments give the same lines everywhere.
    Raises ValueError for arguments out of range.
    """
    if count < 0 or not 0 <= fraction < 1 or not 0 <= seed < 2**64:
        raise ValueError(f"cannot split {count} lines by the fraction {fraction} and the seed {seed}")
    held_count = 0
    if fraction > 0 and count >= 2:
        held_count = min(max(round(count * fraction), 1), count - 1)
    # Raw bits, because NumPy promises to keep those from version to version, but not `permutation`.
    bits = np.random.Philox(key=np.array([seed, _SPLIT_STREAM], np.uint64)).random_raw(count)
    order = np.argsort(bits, kind="stable").astype(np.int64, copy=False)
    return np.sort(order[held_count:]), np.sort(order[:held_count])


def _open(path: str) -> AbstractContextManager[io.BufferedReader | BinaryIO]:
    name = display_name(path)
    if path == STANDARD_INPUT:
        # Python sets None where the shell closed it (`<&-`).
        if sys.stdin is None or sys.stdin.closed:
            raise CorpusError("nothing to read, standard input is closed", hint="name a file")
        return nullcontext(sys.stdin.buffer)
    try:
        file = io.BufferedReader(io.FileIO(path), _BLOCK_BYTES)
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
    return _GzipReader(file) if is_gzip else file


class _GzipReader(io.BufferedReader):
    """The decompressed bytes of a file, which it closes with itself."""

    def __init__(self, file: io.BufferedReader[io.FileIO]) -> None:
        self._file = file
        # A buffer of our own finds lines in C; GzipFile.readline goes through Python for each.
        super().__init__(gzip.GzipFile(fileobj=file, mode="rb"), _BLOCK_BYTES)

    def close(self) -> None:
        super().close()
        self._file.close()


def _lines_of(file: io.BufferedReader | BinaryIO, path: str, errors: Errors, digest: Digest | None) -> Iterator[str]:
    strict = errors == "strict"
    handler = "strict" if strict else "surrogateescape"
    offset = 0
    for number, arrived in enumerate(_raw_lines(file, path), start=1):
        data = arrived
        if number == 1:
            _refuse_foreign_text(data, path, errors)
            if data.startswith(_UTF8_MARK):
                data = data.removeprefix(_UTF8_MARK)
                offset = len(_UTF8_MARK)
                # A file of nothing but the mark has no line.
                if not data:
                    return
        line = data
        if data[-1:] == b"\n":
            line = data[:-2] if data[-2:] == b"\r\n" else data[:-1]
        try:
            text = line.decode("utf-8", handler)
        except UnicodeDecodeError as error:
            # No encoding would make text of a zero byte, so it is what to speak of.
            if b"\0" in line:
                raise _binary(line, path, number, offset) from None
            raise _not_utf8(error, path, number, offset) from None
        if strict and "\0" in text:
            raise _binary(line, path, number, offset)
        offset += len(data)
        if digest is not None:
            digest.update(line + b"\n")
        yield text


def _raw_lines(file: io.BufferedReader | BinaryIO, path: str) -> Iterator[bytes]:
    try:
        # Binary files split at b"\n" alone, and hand over a line without waiting for a full buffer.
        yield from file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(
            f"broken gzip file ({error}), {display_name(path)}", hint=f"test it: gzip -t{_argument(path)}"
        ) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _not_utf8(error: UnicodeDecodeError, path: str, number: int, line_offset: int) -> CorpusError:
    bad, offset = error.object[error.start], line_offset + error.start
    return CorpusError(
        f"byte 0x{bad:02x} is not UTF-8, {display_name(path)} line {number}, offset {offset}",
        hint=_iconv("LATIN1", path),
    )


def _binary(line: bytes, path: str, number: int, line_offset: int) -> CorpusError:
    offset = line_offset + line.index(b"\0")
    return CorpusError(
        f"looks like a binary file (zero byte), {display_name(path)} line {number}, offset {offset}",
        hint="name a text file in UTF-8",
    )


def _refuse_foreign_text(data: bytes, path: str, errors: Errors) -> None:
    for mark, encoding in _FOREIGN_MARKS.items():
        if data.startswith(mark):
            raise CorpusError(f"{encoding} is not UTF-8, {display_name(path)}", hint=_iconv(encoding, path))
    # Files are decompressed before they get here; standard input is not.
    if data.startswith(_GZIP_MARK):
        raise CorpusError(f"compressed by gzip, {display_name(path)}", hint="decompress it first: gzip -dc")


def _iconv(encoding: str, path: str) -> str:
    return f"convert it, for example: iconv -f {encoding} -t UTF-8{_argument(path)}"


def _argument(path: str) -> str:
    return "" if path == STANDARD_INPUT else " " + shlex.quote(display_name(path))


def _unreadable(path: str, error: Exception) -> CorpusError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return CorpusError(f"cannot read ({reason}), {display_name(path)}", hint="check the file")

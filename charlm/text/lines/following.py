"""Growing files, and standard input, read as `tail -F` reads them: whatever whole lines have arrived."""

from __future__ import annotations

import io
import os
import stat
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from charlm.errors import CorpusError
from charlm.storage.files import display_name
from charlm.text.lines.file_kinds import LOOKED_AT, kind_of
from charlm.text.lines.lines_of_bytes import Errors
from charlm.text.lines.open_text import LONGEST_LINE, STANDARD_INPUT, open_text, read_errors, without_mark
from charlm.text.lines.reading import Located, line_place

_SECONDS = 0.1  # between two looks at files that had nothing new
_BYTES = 1 << 20  # read at a time


@dataclass(frozen=True)
class Arrived:
    """A line that has arrived: its text, and its number in its file, from 1."""

    path: str
    number: int
    text: str

    @property
    def place(self) -> str:
        """The file and the line's number in it."""
        return line_place(self.path, self.number)


class Texts(Located):
    """Texts, each given with its place."""

    def __init__(self, placed: Iterable[tuple[str, str]]) -> None:
        self._placed = iter(placed)
        self._place = ""

    def __next__(self) -> str:
        text, self._place = next(self._placed)
        return text

    @property
    def place(self) -> str:
        return self._place


def is_pipe(path: str) -> bool:
    """Return whether a path ends when its writer does: standard input, and what exists and is not a regular file."""
    try:
        return path == STANDARD_INPUT or not stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def arrivals(files: Sequence[FollowedFile]) -> Iterator[list[Arrived]]:
    """Yield the lines that have arrived in some files, without end; no line waits longer than a fraction of a second.

    The files are closed at the end. Raises CorpusError for a file that can no longer be read.
    """
    try:
        while True:
            found = [line for file in files for line in file.read()]
            if found:
                yield found
            else:
                time.sleep(_SECONDS)
    finally:
        for file in files:
            file.close()


def arrivals_of_pipe(path: str, errors: Errors = "keep") -> Iterator[list[Arrived]]:
    """Yield the lines of a pipe as they arrive, until its writer closes it.

    path: of a pipe or a device; `-` is standard input
    errors: as for `read_lines`, except "strict"
    Raises CorpusError if it cannot be read.
    """
    with open_text(path, any_kind=errors in ("bytes", "raw"), unpack=errors != "raw") as file:
        lines = _Lines(path, errors)
        # A raw file reads what is there already; so does `read1`, after what the buffer has.
        read = file.read1 if isinstance(file, io.BufferedReader) else file.read
        while True:
            with read_errors(path):
                data = read(_BYTES)
            if not data:
                break
            if found := lines.of(data):
                yield found
        if found := lines.of(b"", is_end=True):
            yield found


class FollowedFile:
    """A regular file that other programs append to, truncate, or replace by a new one of the same name.

    `read` returns what was appended since the last call. After a truncation it begins anew, also in counting lines. A
    file that was replaced (rotated) is read to its end first. While there is no file of that name, the old one is read.

    errors: as for `read_lines`, except "strict"; only "raw" reads files of other kinds than text
    Raises CorpusError if there is no such file, or if it is not text.
    """

    def __init__(self, path: str, errors: Errors = "keep") -> None:
        self.path, self._errors = path, errors
        self._file = self._opened()

    def read(self) -> list[Arrived]:
        """Return the whole lines that have arrived."""
        found = self._new_lines()
        if found:
            return found
        try:
            with read_errors(self.path):
                now = os.stat(self.path)
        except CorpusError:
            # It was moved away, and the next one is not there yet.
            return found
        mine = os.fstat(self._file.fileno())
        if (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino):
            found = self._last_of_old()
            old, self._file = self._file, self._opened()
            old.close()
        elif mine.st_size < self._file.tell():
            self._file.seek(0)
            self._lines = _Lines(self.path, self._errors)
        return found

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def last_lines(self, count: int) -> list[Arrived]:
        """Return the last of the lines that are there now, so that `read` begins after them."""
        recent: deque[Arrived] = deque(maxlen=count)
        for _ in range(0, os.fstat(self._file.fileno()).st_size, _BYTES):
            recent.extend(self._new_lines())
        return list(recent)

    def _opened(self) -> io.FileIO:
        with read_errors(self.path):
            file = io.FileIO(self.path)
            start = file.read(LOOKED_AT)
            file.seek(0)
        kind = kind_of(start)
        if kind is not None and self._errors != "raw":
            file.close()
            raise CorpusError(f"{kind[0]}, {display_name(self.path)}", hint="name a text file that grows")
        self._lines = _Lines(self.path, self._errors)
        return file

    def _new_lines(self) -> list[Arrived]:
        with read_errors(self.path):
            return self._lines.of(self._file.read(_BYTES))

    def _last_of_old(self) -> list[Arrived]:
        """Return what was written before a new file took the place of this one, an unfinished line included."""
        found = []
        with read_errors(self.path):
            while data := self._file.read(_BYTES):
                found += self._lines.of(data)
        return found + self._lines.of(b"", is_end=True)


class _Lines:
    """Bytes to lines; a line that has no end yet waits for it."""

    def __init__(self, path: str, errors: Errors) -> None:
        self._path, self._errors = path, errors
        self._begun: list[bytes] = []
        self._waiting = 0
        self._number = 0

    def of(self, data: bytes, *, is_end: bool = False) -> list[Arrived]:
        r"""Return the lines that are complete with these bytes; at the end, also one without `\n`."""
        *whole, rest = data.split(b"\n")
        if whole:
            whole[0] = b"".join([*self._begun, whole[0]])
            self._begun, self._waiting = [], 0
        self._begun.append(rest)
        self._waiting += len(rest)
        if self._waiting > LONGEST_LINE:
            raise CorpusError(
                f"line longer than {LONGEST_LINE:,} bytes, {line_place(self._path, self._number + 1)}",
                hint="break it into several, for example with: fold -s",
            )
        if is_end and self._waiting:
            whole.append(b"".join(self._begun))
            self._begun, self._waiting = [], 0
        return [self._line(one) for one in whole]

    def _line(self, data: bytes) -> Arrived:
        self._number += 1
        if self._errors != "raw":
            data = data.removesuffix(b"\r")
            if self._number == 1:
                data = without_mark(data, self._path, any_encoding=self._errors == "bytes")
        return Arrived(self._path, self._number, data.decode("utf-8", "surrogateescape"))

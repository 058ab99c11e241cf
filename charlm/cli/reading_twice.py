"""Rows that are read by the library first, and printed when all were read."""

from __future__ import annotations

import contextlib
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Self, TypeVar

from charlm.cli.tables_in import Source
from charlm.errors import CorpusError, ResourceError

Value = TypeVar("Value")

_SIZE = struct.Struct("<Q")  # before each row in the temporary file


class ReadTwice:
    """The rows of a source, twice, within a `with` block. Regular files are read twice.

    What cannot be read twice, as a pipe, is copied to a temporary file. It has no name, so it is gone when the process
    ends, however that happens. Memory holds one row.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._opened = contextlib.ExitStack()
        self._copy: IO[bytes] | None = None
        self._rows = self._digest = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def first(self, values: Iterable[Value]) -> Iterator[Value]:
        """Yield the values that the library yields for the rows; afterwards `again` yields the rows.

        Raises ResourceError if they cannot be copied.
        """
        if self._source.lines.size is None:
            with _disk():
                self._copy = self._opened.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed by __exit__
        for value in values:
            raw = self._source.taken().raw.encode("utf-8", "surrogateescape")
            self._rows += 1
            if self._copy is None:
                self._digest = zlib.crc32(raw, self._digest)
            else:
                with _disk():
                    self._copy.write(_SIZE.pack(len(raw)))
                    self._copy.write(raw)
            yield value

    def again(self) -> Iterator[str]:
        """Yield the rows, as they are in the file; raise CorpusError if a file has changed since."""
        if self._copy is not None:
            with _disk():
                self._copy.seek(0)
            while size := self._copy.read(_SIZE.size):
                yield self._copy.read(*_SIZE.unpack(size)).decode("utf-8", "surrogateescape")
            return
        digest = 0
        for number, row in enumerate(self._source.again(), start=1):
            digest = zlib.crc32(row.raw.encode("utf-8", "surrogateescape"), digest)
            if number == self._rows and digest != self._digest:
                break
            yield row.raw
            if number == self._rows:
                return  # what was added since is left out
        if self._rows:
            raise CorpusError(
                "the input was written to while it was read twice",
                hint="run the command again when no other program writes to the file",
            )


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    """Raise ResourceError for an error of the temporary file inside the block."""
    try:
        yield
    except OSError as error:
        raise ResourceError(
            f"cannot copy standard input to a temporary file: {error.strerror or error}",
            hint="set TMPDIR to a folder with more room, or name a file instead",
        ) from error

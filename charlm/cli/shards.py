"""`charlm score --shard K/N`: one part of the lines, such that the outputs of all parts are that of the whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Annotated, Any

import typer

from charlm.cli.tables_in import Source
from charlm.errors import UsageError
from charlm.text.lines.reading import Located

ShardOption = Annotated[
    str | None,
    typer.Option(metavar="PART", help="Score one part alone, for array jobs: 1/8 is the first of eight."),
]


def shard_of(text: str | None) -> tuple[int, int] | None:
    """Return the number of a part, from 1, and the number of parts; raise UsageError for an invalid option."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    part, parts = map(int, found.groups()) if found else (0, 0)
    if not 1 <= part <= parts:
        raise UsageError(f"--shard is {text!r}", hint="give a part, from 1, and the number of parts: --shard 1/8")
    return part, parts


def take_part(source: Source, shard: tuple[int, int], windows: Callable[[Iterable[str]], Iterator[list[Any]]]) -> None:
    """Limit the lines of a source to one part; its files are read once beforehand.

    The lines that are batched together in the whole are together in one part: in other batches, the last digits of
    their figures may differ.

    windows: returns an iterator over the lines that are batched together
    Raises UsageError for an input that cannot be read twice.
    """
    if source.lines.size is None:
        raise UsageError("--shard with standard input or a pipe", hint="name files: they are read twice")
    edges = [0, *accumulate(len(window) for window in windows(source.read_anew()))]
    (part, parts), count = shard, len(edges) - 1
    first, last = edges[count * (part - 1) // parts], edges[count * part // parts]
    source.lines, source.before = _Part(source, first, last), first


class _Part(Located):
    """Some lines of a source, from number `first`, counted from 0, to the one before `last`."""

    def __init__(self, source: Source, first: int, last: int) -> None:
        self._source, self._lines, self._first, self._last = source, source.lines, first, last
        self._number = 0

    def __next__(self) -> str:
        while self._number < self._first:
            next(self._lines)
            self._source.taken()
            self._number += 1
        if self._number >= self._last:
            raise StopIteration
        self._number += 1
        return str(next(self._lines))

    @property
    def place(self) -> str:
        return str(self._lines.place)

    @property
    def size(self) -> int | None:
        """The size of the files on the disk in bytes."""
        size: int | None = self._lines.size
        return size

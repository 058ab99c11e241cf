"""A part of the lines of a text."""

from __future__ import annotations

from collections.abc import Callable

from charlm.text.lines.reading import Located


class Part(Located):
    """Some lines, from number `first`, counted from 0, to the one before `last`.

    size: bytes of the whole text on the disk
    skipped: called after each line before the first one
    """

    def __init__(self, lines: Located, first: int, last: int, *, size: int, skipped: Callable[[], object]) -> None:
        self._lines, self._first, self._last, self._skipped = lines, first, last, skipped
        self.size = size
        self._number = 0

    def __next__(self) -> str:
        while self._number < self._first:
            next(self._lines)
            self._skipped()
            self._number += 1
        if self._number >= self._last:
            raise StopIteration
        self._number += 1
        return next(self._lines)

    @property
    def place(self) -> str:
        return self._lines.place

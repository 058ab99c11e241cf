"""The lines that functions are given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def plain_lines(lines: Iterable[str]) -> Iterator[str]:
    """Return the lines without their newlines, which open files have; raise TypeError for a single string."""
    if isinstance(lines, str):
        raise TypeError("lines must be an iterable of strings, not one string: use text.splitlines()")
    return (line.removesuffix("\n") for line in lines)

"""`charlm score --shard K/N`: one part of the lines, such that the outputs of all parts are that of the whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Annotated, Any

import typer

from charlm.cli.tables_in import Source
from charlm.errors import UsageError

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
    from charlm.text.lines.part import Part

    size = source.lines.size
    if size is None:
        raise UsageError("--shard with standard input or a pipe", hint="name files: they are read twice")
    edges = [0, *accumulate(len(window) for window in windows(source.read_anew()))]
    (part, parts), count = shard, len(edges) - 1
    first, last = edges[count * (part - 1) // parts], edges[count * part // parts]
    source.lines, source.before = Part(source.lines, first, last, size=size, skipped=source.taken), first

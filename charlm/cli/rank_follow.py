"""`charlm rank --follow`: print odd lines as soon as they are written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from charlm.cli import ui
from charlm.cli.options import kept, note_standard_input, refuse_same_file, watch_encoding
from charlm.cli.rank_records import Look
from charlm.cli.tables_in import Source
from charlm.cli.tables_out import Records
from charlm.config import TextConfig

# Lines with their rows, which are None for lines that are texts, and their places.
Batch = list[tuple[str, Any, str]]


class Following:
    """What is followed: files that grow, a pipe, or a column of a table from a pipe.

    source: the rows of a table; None for lines that are texts
    """

    def __init__(
        self, files: list[str] | None, look: Look, *, field: str | None, input_format: str | None, text: TextConfig
    ) -> None:
        """Open the inputs; raise UsageError for several of which one is a pipe, or for a column of a growing file.

        text: of the model that reads the lines
        """
        from charlm.errors import UsageError
        from charlm.text.lines.following import FollowedFile, is_pipe

        paths = files or ["-"]
        self._path, self._files, self.source = paths[0], list[FollowedFile](), None
        self._errors, self._watch = kept(text), watch_encoding(text)
        grows = [not is_pipe(path) for path in paths]
        if not all(grows) and len(paths) > 1:
            raise UsageError("--follow with a pipe and other inputs", hint="name one of them")
        if field is not None and grows[0]:
            raise UsageError(
                "--follow with --field and a file",
                hint="pipe it: tail -n +1 -F FILE | charlm rank MODEL --follow --field COLUMN",
            )
        refuse_same_file(paths, sys.stdout, hint="write to another file: > OUTPUT")
        if field is not None or input_format not in (None, "text"):
            self.source = Source(
                files, field=field, input_format=input_format, own=look.names, unbuffered=True, text=text
            )
        elif grows[0]:
            self._files = [FollowedFile(path, self._errors) for path in paths]
        else:
            note_standard_input(paths)

    @property
    def columns(self) -> list[str]:
        """The columns that go through."""
        return self.source.columns if self.source is not None else []

    def earlier(self, count: int) -> Batch:
        """Return the last lines of what the files have already, so that `batches` begins after them."""
        return [(line.text, None, line.place) for file in self._files for line in file.last_lines(count)]

    def batches(self) -> Iterator[Batch]:
        """Yield the lines that have arrived."""
        from charlm.text.lines.following import arrivals, arrivals_of_pipe

        if self.source is not None:
            for line in self.source.lines:
                yield [(line, self.source.taken(), self.source.lines.place)]
            return
        for batch in arrivals(self._files) if self._files else arrivals_of_pipe(self._path, self._errors):
            for line in batch:
                self._watch(line.text)
            yield [(line.text, None, line.place) for line in batch]


def print_odd_lines(measurer: Any, look: Look, following: Following, *, above: float | None, has_header: bool) -> None:
    """Print the lines above a threshold as they arrive, until the input ends or a signal does.

    measurer: a `Measurer`
    above: the threshold; None: learned from the lines before, those of a file included
    """
    from charlm.inference.rank import REMEMBERED, FixedThreshold, LearnedThreshold
    from charlm.text.lines.following import Texts

    threshold = LearnedThreshold() if above is None else FixedThreshold(above)
    earlier = following.earlier(REMEMBERED if above is None else 0)
    for line in measurer.measure(Texts((text, place) for text, _, place in earlier)):
        threshold.add(line.value)
    if above is None:
        _note(threshold, look)
    output = ui.Output(unbuffered=True)
    columns = [*following.columns, *look.columns]
    with Records(output, look.table, columns, has_header=has_header, at_once=True) as records:
        for batch in following.batches():
            found = measurer.measure(Texts((text, place) for text, _, place in batch))
            for line, (_, row, place) in zip(found, batch, strict=True):
                if threshold.add(line.value):
                    records.write(look.joined(following.source, measurer, line, row, place))
    output.close()


def _note(threshold: Any, look: Look) -> None:
    """Print what lines will be printed."""
    if threshold.value < float("inf"):
        what = f"{threshold.value:.2f} {look.measure.unit}, as learned from {threshold.lines:,} lines"
    else:
        ui.note("the first 100 lines teach what is ordinary and are not printed; --above X prints from the first on")
        return
    ui.note(f"printing lines above {what}; --above X sets another limit")

r"""Records as TSV, CSV, JSON Lines, or an aligned table at a terminal.

A command makes a `Records` and writes mappings to it. The formats:

- tsv: a header line, then a line for each record. A tab, newline, carriage return or backslash in a field is `\t`,
  `\n`, `\r` or `\\`.
- csv: RFC 4180 with `\n` at the end of each record. Every field is in quotes that some reader would change otherwise.
- jsonl: strict JSON, with all values of the record.
- table: columns of equal width, with colours. It is what a terminal shows if no format is named.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Annotated, Any, Self

import typer

from charlm.cli import ui
from charlm.cli.shading import Shaded

_HELD = 100  # records from which the widths of a table's columns are found
_WIDEST = 40  # cells; a longer field moves the columns after it
_AT_ONCE = 10  # cells of a column whose width cannot be found, because each record is shown at once

NoHeader = Annotated[bool, typer.Option("--no-header", help="tsv, csv: leave the header line out.")]


class Verbatim(str):
    """A field that was read from TSV, and is written to TSV as it is."""


def format_of(chosen: str | None, default: str) -> str:
    """Return the format of a command's records: the chosen one, a table at a terminal, or the default in a pipe."""
    return chosen or ("table" if ui.is_terminal(sys.stdout) else default)


class Records:
    """Writes records to standard output, within a `with` block, at whose end the last ones are written.

    output: where to; it is not closed
    format: tsv, csv, jsonl or table
    columns: the header, and the values of a record that are written, except for jsonl, which has all values; empty: the
        names in the first record
    has_header: write the header line
    at_once: show each record of a table at once
    """

    def __init__(
        self,
        output: ui.Output,
        format: str,
        columns: Sequence[str] = (),
        *,
        has_header: bool = True,
        at_once: bool = False,
    ) -> None:
        self._output, self._columns = output, tuple(columns)
        self._field = {"tsv": tsv_field, "csv": csv_field}.get(format, _shown)
        self._between = "," if format == "csv" else "\t"
        self._format, self._header_due = format, has_header and format != "jsonl"
        self._at_once = at_once
        self._held: list[tuple[list[str], list[bool]]] = []
        self._widths: list[int] = []

    def __enter__(self) -> Self:
        if self._columns:
            self._header()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: TracebackType | BaseException | None) -> None:
        if kind is None or issubclass(kind, Exception):
            self._release()

    @property
    def is_table(self) -> bool:
        """Whether a record becomes a row of fields, rather than JSON."""
        return self._format != "jsonl"

    def write(self, record: Mapping[str, Any]) -> None:
        """Write a record, which has a value for each column."""
        if not self.is_table:
            self._output.line(ui.strict_json(record))
            return
        if not self._columns:
            self._columns = tuple(record)
            self._header()
        values = [record[name] for name in self._columns]
        fields = list(map(self._field, values))
        if self._format == "table":
            self._row(fields, [isinstance(value, int | float) for value in values])
        else:
            self._output.line(self._between.join(fields))

    def _header(self) -> None:
        if not self._header_due:
            return
        self._header_due = False
        if self._format == "table":
            self._row(list(map(_shown, self._columns)), [])
        else:
            self._output.line(self._between.join(map(self._field, self._columns)))

    def _row(self, fields: list[str], are_numbers: list[bool]) -> None:
        """Show a row of a table, or hold it until there are enough to find the widths."""
        self._held.append((fields, are_numbers))
        # The header waits for the first record, which shows what columns are numbers.
        if self._widths or (self._at_once and are_numbers) or len(self._held) >= _HELD:
            self._release()

    def _release(self) -> None:
        from rich.cells import cell_len

        if not self._held:
            return
        if not self._widths:
            least = _AT_ONCE if self._at_once else 0
            wide = zip(*([min(cell_len(one), _WIDEST) for one in fields] for fields, _ in self._held), strict=True)
            self._widths = [max(least, *column) for column in wide]
        numbers = next((numbers for _, numbers in self._held if numbers), [False] * len(self._widths))
        for fields, are_numbers in self._held:
            cells = []
            for at, (field, width) in enumerate(zip(fields, self._widths, strict=True)):
                gap = " " * (width - cell_len(field))
                if isinstance(field, Shaded):
                    cells.append((field.styled() + gap if ui.has_color(sys.stdout) else field + gap, ""))
                    continue
                is_number = (are_numbers or numbers)[at]
                cells.append((gap + field if is_number else field + gap, "cyan" if is_number else ""))
            # What pads the last column is left out, but not the blanks that its text ends with.
            if not (are_numbers or numbers)[-1]:
                last, style = cells.pop()
                cells.append((last[: len(last) - len(gap)], style))
            self._output.write(_styled(cells, is_header=not are_numbers), is_styled=True)
        self._held.clear()


def _styled(cells: Sequence[tuple[str, str]], *, is_header: bool) -> str:
    """Return a line of a table; cells: text and colour."""
    from rich.color import ColorSystem
    from rich.style import Style

    system = ColorSystem.STANDARD if ui.has_color(sys.stdout) else None
    parts = (
        Style.parse("bold" if is_header else style or "default").render(text, color_system=system)
        if is_header or style
        else text
        for text, style in cells
    )
    return "  ".join(parts) + "\n"


def tsv_field(value: Any) -> str:
    """Return a field of TSV: a float as a `figure`, text with tabs, newlines, returns and backslashes escaped."""
    if isinstance(value, float):
        return ui.figure(value)
    text = str(value)
    if isinstance(value, Verbatim) or (text.isprintable() and "\\" not in text):
        return text
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def csv_field(value: Any) -> str:
    """Return a field of CSV: a float as a `figure`, text in quotes unless every reader takes it as it is.

    The csv module of Python 3.11 leaves a carriage return outside quotes, where pandas ends the line. Other readers
    strip spaces, and skip a line that is empty because its only field is.
    """
    if isinstance(value, float):
        return ui.figure(value)
    text = str(value)
    if text and text.isprintable() and text.strip() == text and not {",", ";", '"', "'", "#"} & set(text):
        return text
    return '"' + text.replace('"', '""') + '"'


def _shown(value: Any) -> str:
    """Return a field of a table at a terminal."""
    if isinstance(value, Shaded):
        return Shaded((_shown(text), style) for text, style in value.parts)
    return ui.printable(tsv_field(value))


def write_records(
    records: Iterable[Mapping[str, Any]],
    form: str,
    output: ui.Output,
    fields: Sequence[str] = (),
    *,
    has_header: bool = True,
) -> None:
    """Write all records in a format and close the output; text: a line for each value, with its name.

    fields: the columns, if they are known before the first record
    """
    if form == "text":
        for record in records:
            width = max(map(len, record))
            for key, value in record.items():
                output.line(f"{key:<{width}}  {_readable(value)}")
    else:
        with Records(output, form, fields, has_header=has_header) as written:
            for record in records:
                written.write(record)
    output.close()


def _readable(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) >= 1000.0 else ui.figure(value)
    return f"{value:,}" if isinstance(value, int) else str(value)

"""Rows of tables - lines, TSV, CSV, JSON Lines - each with its place and as it is in the file."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from charlm.errors import CorpusError
from charlm.text.lines.lines_of_bytes import Errors, file_blocks
from charlm.text.lines.open_text import LONGEST_LINE
from charlm.text.lines.reading import line_place

Watch = Callable[[str], None]

# What the csv module calls a mistake, in part, and what it is.
_CSV_MISTAKES = {
    "unexpected end of data": "a quoted field is not closed",
    "expected after": "text after a closing quote",
    "new-line character": "a carriage return outside quotes",
    "field limit": f"a field longer than {LONGEST_LINE:,} characters",
}


def whole_lines(path: str, watch: Watch | None, errors: Errors = "keep") -> Iterator[tuple[int, str, str]]:
    r"""Yield the number of each line, the line, and the line as it is in the file, with its end if it has one.

    A byte that is not UTF-8 is a lone surrogate in both. A byte order mark at the start of the file is left out.

    watch: called with each line
    errors: as for `read_lines`, except "strict"
    """
    for number, block in enumerate(file_blocks(path, by_line=True, errors=errors), start=1):
        raw = block.raw.decode("utf-8", "surrogateescape")
        line = raw[:-2] if raw.endswith("\r\n") and errors != "raw" else raw.removesuffix("\n")
        if watch is not None:
            watch(line)
        yield number, line, raw


def tsv_rows(path: str, watch: Watch | None) -> Iterator[tuple[int, list[str], str]]:
    """Yield the number of each line, its fields, and the line as it is in the file."""
    return ((number, line.split("\t"), raw) for number, line, raw in whole_lines(path, watch))


def csv_rows(path: str, watch: Watch | None) -> Iterator[tuple[int, list[str], str]]:
    """Yield the number of the first line of each record, its fields, and its lines as they are in the file.

    An empty line is one empty field. Raises CorpusError with the place of a malformed record.
    """
    # The limit is one for all readers of the process, and 131,072 by default.
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))
    lines: list[str] = []

    def watched() -> Iterator[str]:
        for _, _, raw in whole_lines(path, watch):
            lines.append(raw)
            yield raw

    reader = csv.reader(watched(), strict=True)
    while True:
        number = reader.line_num + 1
        lines.clear()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what = next((what for part, what in _CSV_MISTAKES.items() if part in str(error)), str(error))
            raise CorpusError(
                f"malformed CSV: {what}, {line_place(path, number)}",
                hint='put the field in quotes, and double the quotes in it: "say ""no"""',
            ) from error
        yield number, fields or [""], "".join(lines)


def json_rows(path: str, watch: Watch | None) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield the place of each line of JSON Lines, its object, and the line as it is in the file.

    Raises CorpusError with the place of a line that is not an object.
    """
    for number, line, raw in whole_lines(path, watch):
        place = line_place(path, number)
        yield place, _object(line, place), raw


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        what = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise CorpusError(f"malformed JSON ({what}), {place}", hint="give one JSON object a line") from error
    if not isinstance(record, dict):
        raise CorpusError(f"not a JSON object, {place}", hint="give one JSON object a line")
    return record


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")

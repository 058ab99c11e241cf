"""Texts from a column of a table - TSV, CSV or JSON Lines - row by row.

TSV is read as `cut -f` reads it: a tab separates columns, and quotes and backslashes are ordinary characters. CSV is
that of RFC 4180: a quoted field may contain commas, newlines and doubled quotes. A line of JSON Lines is an object.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from typing import Any, Literal

from charlm.errors import CorpusError, UsageError
from charlm.storage.files import display_name
from charlm.text.doubts import COLUMN_NAMES
from charlm.text.lines.lines_of_bytes import Errors
from charlm.text.lines.reading import Located, line_place, size_of
from charlm.text.table_rows import Watch, csv_rows, json_rows, tsv_rows, whole_lines

Form = Literal["tsv", "csv", "jsonl"]

_SUFFIXES: dict[str, Form] = {"tsv": "tsv", "tab": "tsv", "csv": "csv", "jsonl": "jsonl", "ndjson": "jsonl"}
_DIGITS = 10  # of a number of a column; more are a name
_SHOWN = 12  # names of columns that a message lists
_FIRST_WORD = re.compile(r"[ \t]*([^ \t]+)(?:[ \t]+|$)")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    text: the field of the text column, as it is in the file
    others: the other columns, by name, in order; strings, or values of JSON
    place: the file and the row's first line, for messages
    form: of the file
    raw: the row as it is in the file, with its end if it has one
    """

    text: str
    others: Mapping[str, Any]
    place: str
    form: Form = "tsv"
    raw: str = ""


class Rows(Located):
    """The texts of rows, each as a line for a model, and the rows themselves for the output.

    errors: how lines that are texts are read, as for `read_lines`; tables are always read as text

    A model reads lines, so a newline in a text becomes a space. `taken` returns the rows in the same order.
    Memory holds the rows that were read and not yet taken.

    columns: the names of the columns besides the text
    header: the header of the first file as it is there, with its end; empty if there is no header
    """

    columns: Sequence[str] = ()
    header: str = ""

    def __init__(self, paths: Sequence[str], *, watch: Watch | None = None, errors: Errors = "keep") -> None:
        self.paths, self._watch, self._errors = paths, watch, errors
        self._waiting: deque[Row] = deque()
        self._place = ""
        self._rows = self._read()

    def __next__(self) -> str:
        row = next(self._rows)
        self._waiting.append(row)
        self._place = row.place
        return row.text.replace("\n", " ")

    @property
    def place(self) -> str:
        return self._place

    @property
    def size(self) -> int | None:
        """The size of the files on the disk in bytes; None if one of them cannot be read twice."""
        return size_of(self.paths)

    def taken(self) -> Row:
        """Return the first row that was read and not yet taken, and forget it."""
        return self._waiting.popleft()

    @abstractmethod
    def _read(self) -> Iterator[Row]:
        """Yield all rows."""


class WholeLines(Rows):
    """Lines that are texts, for an output that repeats them as they are in the file."""

    def _read(self) -> Iterator[Row]:
        for path in self.paths:
            for number, line, raw in whole_lines(path, self._watch, self._errors):
                yield Row(line, {}, line_place(path, number), raw=raw)


class KeyedLines(Rows):
    """Lines `KEY TEXT`, as in Kaldi's text archives; the key ends at the first blank or tab.

    The other column is `key`. Raises CorpusError for a line without a key.
    """

    columns = ("key",)

    def _read(self) -> Iterator[Row]:
        for path in self.paths:
            for number, line, raw in whole_lines(path, self._watch, self._errors):
                place = line_place(path, number)
                found = _FIRST_WORD.match(line)
                if found is None:
                    raise CorpusError(f"no key, {place}", hint="begin each line with a key and a space")
                yield Row(line[found.end() :], {"key": found[1]}, place, raw=raw)


class TextColumn(Rows):
    """The texts in a column of tables; several files are read as one.

    A name needs a header, the first row of each file. A number counts columns from 1, and each line is a row, as for
    `cut -f`. The other columns are then named `column1`, `column2`, etc. In JSON Lines `field` is a key, and the first
    record names the columns.

    paths: file names; `-` is standard input; a file compressed by gzip is decompressed
    field: name or number of the column
    form: the format of all files; None: by the name of each file, TSV if that does not show it
    watch: called with each line
    keep_text: whether `columns` and the rows' `others` have the column of the text, too

    begins_with_header: whether the first row looks like a header although the column has a number

    Raises UsageError for a missing column, and CorpusError with file and line for a malformed row. The first row is
    read at once.
    """

    flag = "--field"  # the option that names the column

    def __init__(
        self,
        paths: Sequence[str],
        field: str,
        *,
        form: Form | None = None,
        watch: Watch | None = None,
        keep_text: bool = False,
    ) -> None:
        super().__init__(paths, watch=watch)
        self._field, self._form, self._keep_text = field, form, keep_text
        self._names: list[str] = []
        self._text = ""
        first = next(self._rows, None)
        is_name = first is not None and first.text.strip().casefold() in COLUMN_NAMES
        self.begins_with_header = is_name and _number(field) is not None and self._names[0] == "column1"
        self._rows = chain([] if first is None else [first], self._rows)
        self.columns = [name for name in self._names if keep_text or name != self._text]

    def column(self, field: str, flag: str) -> str:
        """Return the name of another column, by name or number; raise UsageError if it is missing.

        flag: the option that names it, for the message
        """
        if not self._names:
            return field
        name = _found(field, self._names, flag, display_name(self.paths[0]))
        if name == self._text:
            raise UsageError(f"{flag} {field} is the column of the text", hint=f"name another column with {flag}")
        return name

    def _read(self) -> Iterator[Row]:
        for path in self.paths:
            form = self._form or form_of(path)
            yield from self._objects(path) if form == "jsonl" else self._table(path, form)

    def _table(self, path: str, form: Form) -> Iterator[Row]:
        """Yield the rows of a TSV or CSV file, all with the same number of fields."""
        rows = (tsv_rows if form == "tsv" else csv_rows)(path, self._watch)
        number, first, raw = next(rows, (1, [], ""))
        if _number(self._field) is not None:
            if not first:
                return
            rows = chain([(number, first, raw)], rows)
            self._take_names([f"column{at}" for at in range(1, len(first) + 1)], path, number)
        elif first:
            self.header = self.header or raw
            self._take_names(first, path, number)
        else:
            raise CorpusError(f"no header line, {display_name(path)} is empty", hint="name a file with a header line")
        for number, fields, raw in rows:
            if len(fields) != len(self._names):
                found = "1 column" if len(fields) == 1 else f"{len(fields)} columns"
                raise CorpusError(
                    f"{found} instead of {len(self._names)}, {line_place(path, number)}",
                    hint="give all rows the same columns; --input-format names another format",
                )
            others = dict(zip(self._names, fields, strict=True))
            text = others[self._text] if self._keep_text else others.pop(self._text)
            yield Row(text, others, line_place(path, number), form, raw)

    def _objects(self, path: str) -> Iterator[Row]:
        """Yield the records of JSON Lines."""
        for place, record, raw in json_rows(path, self._watch):
            if not self._names:
                self._names, self._text = list(record), _found_name(self._field, list(record), place, self.flag)
            text = record.get(self._field) if self._keep_text else record.pop(self._field, None)
            if not isinstance(text, str):
                what = "no" if text is None else "not a string as"
                raise CorpusError(
                    f"{what} {self._field!r} in the record, {place}",
                    hint="give each record a text under that key",
                )
            yield Row(text, record, place, "jsonl", raw)

    def _take_names(self, names: list[str], path: str, number: int) -> None:
        """Take the names of a file's columns; raise CorpusError if they differ from those of the file before."""
        where = line_place(path, number)
        if self._names and names != self._names:
            raise CorpusError(
                f"the columns differ from those of {display_name(self.paths[0])}, {where}",
                hint="give several files the same columns in the same order",
            )
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise CorpusError(f"two columns are named {twice!r}, {where}", hint=f"rename one, or use {self.flag} N")
        self._names, self._text = names, _found(self._field, names, self.flag, where)


def form_of(path: str) -> Form:
    """Return the form of a table by its file's name, with or without `.gz`; TSV if the name does not show it."""
    return _SUFFIXES.get(path.lower().removesuffix(".gz").rpartition(".")[2], "tsv")


def _number(field: str) -> int | None:
    """Return the number of a column; None for a name."""
    return int(field) if field.isdecimal() and len(field) < _DIGITS else None


def _found(field: str, names: Sequence[str], flag: str, where: str) -> str:
    """Return the name of a column, given its name or number; raise UsageError if it is missing."""
    number = _number(field)
    if number is None:
        return _found_name(field, names, where, flag)
    if not 1 <= number <= len(names):
        columns = "1 column" if len(names) == 1 else f"{len(names)} columns"
        raise UsageError(f"{flag} {field} with {columns}, {where}", hint=f"name a column from 1 to {len(names)}")
    return names[number - 1]


def _found_name(field: str, names: Sequence[str], where: str, flag: str) -> str:
    if field in names:
        return field
    close = get_close_matches(field, names, n=1)
    listed = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    hint = f"did you mean {close[0]}?" if close else f"the columns are: {listed}"
    raise UsageError(f"{flag}: no column is named {field!r}, {where}", hint=hint)

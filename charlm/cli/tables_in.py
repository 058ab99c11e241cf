"""What a command reads: the lines of texts, or a column of tables whose other columns go through to the output."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal

import typer

from charlm.cli import ui
from charlm.cli.options import input_lines, kept, note_standard_input, refuse_same_file, texts, watch_encoding
from charlm.cli.tables_out import Verbatim
from charlm.config import TextConfig

Field = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Read the text from column N or NAME of a table; the others go through."),
]
InputFormat = Annotated[
    Literal["text", "tsv", "csv", "jsonl"] | None,
    typer.Option(help="--field: format of the input.", show_default="by the file's name; else tsv"),
]


class Source:
    """The texts that a command reads.

    lines: one text for each line or row, for the library
    columns: the columns that go through, by the names that they have in the output
    at_once: whether each line is answered before the next one is read, because a person types them or asked for it
    before: number of lines of the input before the first of `lines`
    """

    def __init__(
        self,
        files: list[str] | None,
        *,
        field: str | None = None,
        input_format: str | None = None,
        key: str | None = None,
        own: Collection[str] = (),
        unbuffered: bool = False,
        keeps_raw: bool = False,
        keeps_text: bool = False,
        text: TextConfig | None = None,
    ) -> None:
        """Open the input.

        field, input_format: of the command line
        key: the column of the keys; without `field`, the text is what follows the first word of a line, its key
        own: names in the command's output; a column of the input with such a name is renamed
        keeps_raw: whether `taken` returns a row for lines that are texts, too
        keeps_text: whether the column of the text goes through, too
        text: of the model that reads the lines, if one does
        Raises UsageError for options that do not fit each other.
        """
        paths = files or ["-"]
        self.at_once = unbuffered or ("-" in paths and ui.is_terminal(sys.stdin))
        self._key, self._keeps_text, self._text = key, keeps_text, text
        self._update: Callable[[int], Any] | None = None
        self._open: Callable[..., Any] = partial(texts, paths, errors=kept(text))
        self.before = 0
        self._watch_encoding = watch_encoding(text)
        self._rows = self._opened(paths, field, input_format, key, keeps_raw=keeps_raw)
        self.lines: Any = self._rows
        if self._rows is None:
            self.lines = input_lines(files, watch=self._watch, text=text)
        self._own = own
        self._names: dict[str, str] = {}
        through = self._rows.columns if self._rows is not None and key is None else []
        self.columns = [self._name(column) for column in through]

    def _opened(
        self, paths: list[str], field: str | None, input_format: str | None, key: str | None, *, keeps_raw: bool
    ) -> Any:
        """Return the rows of tables, or of lines with a key; None for lines that are texts."""
        from charlm.errors import UsageError
        from charlm.text.columns import KeyedLines, TextColumn, WholeLines

        if field is None and input_format not in (None, "text"):
            raise UsageError(
                f"--input-format {input_format} without --field", hint="name the column of the text: --field N or NAME"
            )
        if field is not None and input_format == "text":
            raise UsageError("--field with --input-format text", hint="use --input-format tsv, csv or jsonl")
        if field is None and key is None and not keeps_raw:
            return None
        refuse_same_file(paths, sys.stdout, hint="write to another file: > OUTPUT")
        note_standard_input(paths)
        if field is None and key is None:
            self._open = partial(WholeLines, paths, errors=kept(self._text))
            return self._open(watch=self._watch)
        if field is None:
            if key != "1":
                raise UsageError(f"--key {key} without --field", hint="use --key 1, or name the column of the text")
            self._key = "key"
            self._open = partial(KeyedLines, paths, errors=kept(self._text))
            return self._open(watch=self._watch)
        self._open = partial(
            TextColumn,
            paths,
            field,
            form=input_format,  # type: ignore[arg-type]
            keep_text=self._keeps_text,
        )
        rows = self._open(watch=self._watch)
        if rows.begins_with_header:
            ui.warn(f"the first row looks like a header, and --field {field} reads it as a text: name the column if so")
        if key is not None:
            self._key = rows.column(key, "--key")
        return rows

    def taken(self) -> Any:
        """Return the row of the next line; None for lines that are texts. Call it once for each line, in order."""
        return None if self._rows is None else self._rows.taken()

    @property
    def header(self) -> str:
        """The header of the first table as it is there; empty if there is no header."""
        return "" if self._rows is None else str(self._rows.header)

    def again(self) -> Iterator[Any]:
        """Yield all rows once more, from the first one; the files are read anew."""
        rows = self._open()
        for _ in rows:
            yield rows.taken()

    def read_anew(self) -> Any:
        """Return the lines from the first one; the files are read once more, without warnings."""
        return self._open()

    def joined(self, row: Any, record: dict[str, Any], format: str) -> dict[str, Any]:
        """Return a record with the columns of a row in front, and its text as it is in the input.

        row: what `taken` returned
        format: of the output; JSON Lines keeps values of JSON, which become text for the others
        """
        if row is None:
            return record
        text = {"text": row.text} if "text" in record else {}
        if format == "jsonl":
            return {**{self._name(name): value for name, value in row.others.items()}, **record, **text}
        return {**_as_text(row, self._names, format), **record, **text}

    def _name(self, column: str) -> str:
        """Return the name of a column in the output; warn about one that changes, once."""
        if column not in self._names:
            name = column
            while name in self._own or name in self._names.values() or (name != column and name in self._rows.columns):
                name = f"input_{name}"
            if name != column:
                ui.warn(f"the input has a column {column!r}, as the output has: it is printed as {name!r}")
            self._names[column] = name
        return self._names[column]

    def key(self) -> str:
        """Return the key of the next line; raise CorpusError if it is empty or contains white space."""
        from charlm.errors import CorpusError

        row = self._rows.taken()
        found = str(row.others.get(self._key, ""))
        if found.split() != [found]:
            what = f"the key {found!r} contains white space" if found else "the key is empty"
            raise CorpusError(f"{what}, {row.place}", hint="give each text a key without blanks")
        return found

    @contextlib.contextmanager
    def progress(self) -> Iterator[None]:
        """Show how much of the input was read, if standard error is a terminal and standard output is not."""
        with ui.progress_of("B", self.lines.size) as self._update:
            yield

    def _watch(self, line: str) -> None:
        self._watch_encoding(line)
        if self._update is not None:
            self._update(1 + len(line if line.isascii() else line.encode("utf-8", "surrogateescape")))


def _as_text(row: Any, names: Mapping[str, str], format: str) -> dict[str, str]:
    """Return the values of a row's columns as text: strings as they are, null as "", other values as JSON."""
    from charlm.errors import CorpusError

    if unexpected := next((name for name in row.others if name not in names), None):
        raise CorpusError(
            f"unexpected key {unexpected!r}, {row.place}",
            hint="the first record names the columns of a table: use --format jsonl",
        )
    # A field of TSV contains nothing that needs an escape, so it goes through as it is.
    kind = Verbatim if row.form == format == "tsv" else str
    return {names[name]: kind(_text_of(row.others.get(name))) for name in names}


def _text_of(value: Any) -> str:
    import json

    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

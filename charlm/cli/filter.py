"""`charlm filter`: print the lines that a model finds likely."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from charlm.cli import ui
from charlm.cli.completion import complete_model
from charlm.cli.options import BatchSize, By, Device, FilesArgument, ModelArgument, Threads, Unbuffered, open_model
from charlm.cli.reading_twice import ReadTwice
from charlm.cli.tables_in import InputFormat, Source
from charlm.inference.measures import DEFAULT, measure_of


def filter(
    model: ModelArgument,
    files: FilesArgument = None,
    top: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE", help="Keep 20% of all lines, those with the lowest figures; without %, so many lines."
        ),
    ] = None,
    below: Annotated[float | None, typer.Option(metavar="X", help="Keep lines whose figure is below X.")] = None,
    above: Annotated[float | None, typer.Option(metavar="X", help="Keep lines whose figure is above X.")] = None,
    percentile: Annotated[
        float | None,
        typer.Option(metavar="P", help="Keep lines whose figure is at most the Pth percentile of --of."),
    ] = None,
    of: Annotated[
        list[str] | None,
        typer.Option(metavar="CLEAN", help="--percentile: clean text, read as FILE is; repeatable."),
    ] = None,
    minus: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Subtract the figure that this model gives the line.",
            readable=False,
            autocompletion=complete_model,
        ),
    ] = None,
    by: By = DEFAULT,
    reverse: Annotated[bool, typer.Option("--reverse", help="Print the lines that would be dropped.")] = False,
    field: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Read the text from column N or NAME of a table; rows are kept whole."),
    ] = None,
    input_format: InputFormat = None,
    batch_size: BatchSize = 64,
    unbuffered: Unbuffered = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Print the lines that a model finds likely.

    They come out unchanged and in order; the header of a table stays. The figure is bits a character, see --by. A line
    without a figure, as an empty one is to a cloze model, never stays. The exit code is 1 if nothing is printed.

    \b
    charlm filter clean web.txt --top 20% > kept.txt
    charlm filter clean web.txt --below 2.5 > kept.txt
    charlm filter clean web.txt --percentile 95 --of clean_test.txt > kept.txt
    charlm filter clean web.txt --below 2.5 --reverse | less    what is dropped
    charlm filter medical web.txt --minus general --top 10% > medical.txt
    charlm filter clean reviews.csv --field text --top 1000 > kept.csv
    """
    from charlm.errors import UsageError
    from charlm.inference.filtering import Filter, Rule, differing_words, values_of

    rule = Rule(below, above, top, percentile, has_clean=bool(of))
    _refuse(files or ["-"], of or [], field, input_format)
    language_model = open_model(model, device, "filter")
    other = open_model(minus, device, "filter") if minus is not None else None
    if field is not None and language_model.is_conditioned:
        raise UsageError(
            "--field with a model trained with --condition", hint="give lines LABEL TAB TEXT: cut -f2,3 FILE"
        )
    opened = partial(Source, field=field, input_format=input_format, keeps_raw=True, text=language_model.text)
    source = opened(files, unbuffered=unbuffered)
    window = 1 if source.at_once and rule.top is None else None
    values = partial(values_of, language_model, minus=other, by=by, batch_size=batch_size)
    found = values(source.lines, window=window)
    if other is not None and differing_words(language_model, other):
        ui.warn("the vocabularies differ: the model that knows fewer words pays less for its <UNK>")
    output = ui.Output(unbuffered=source.at_once)
    with language_model.model.ops.workers.limit(threads):
        limit = rule.limit(_values_of_clean(of, opened, values))
        chosen = Filter(rule, limit)
        with source.progress(), ReadTwice(source) as twice:
            if limit is None:
                decisions, rows = chosen.decisions(twice.first(found)), twice.again()
            else:
                decisions, rows = chosen.decisions(found), _taken(source)
            printed = _print(output, source.header, zip(decisions, rows, strict=False), reverse=reverse)
    output.close()
    unit = ("pseudo-" if language_model.facts.is_cloze else "") + measure_of(by).unit
    _report(chosen, printed, unit, has_other=other is not None, reverse=reverse)
    if not printed:
        raise typer.Exit(1)


def _refuse(paths: list[str], clean: list[str], field: str | None, input_format: str | None) -> None:
    """Raise UsageError for inputs that cannot be read together."""
    from charlm.errors import UsageError
    from charlm.text.columns import form_of

    if "-" in paths and "-" in clean:
        raise UsageError("--of - with FILE -", hint="standard input is read once: name a file")
    if field is not None and input_format is None and len({form_of(path) for path in paths}) > 1:
        raise UsageError("tables of several formats", hint="give files of one format: their rows are printed together")


def _values_of_clean(
    paths: list[str] | None, opened: Callable[..., Source], values: Callable[..., Iterator[float]]
) -> Iterator[float]:
    """Yield the values of the clean text."""
    if paths:
        clean = opened(paths)
        with clean.progress():
            for value in values(clean.lines):
                clean.taken()
                yield value


def _taken(source: Source) -> Iterator[str]:
    """Yield each row as it is in the file, when its value is known."""
    while True:
        yield source.taken().raw


def _print(
    output: ui.Output, header: str, decisions: Iterable[tuple[tuple[float, bool], str]], *, reverse: bool
) -> int:
    """Print the header and the rows that stay; return their number.

    A row without a newline is the last one of its file: it gets one if another row follows.
    """
    output.write(header)
    printed, is_ended = 0, header.endswith("\n") or not header
    for (_, stays), row in decisions:
        if stays == reverse:
            continue
        output.write(row if is_ended else f"\n{row}")
        printed, is_ended = printed + 1, row.endswith("\n")
    return printed


def _report(chosen: Any, printed: int, unit: str, *, has_other: bool, reverse: bool) -> None:
    """Print what was kept, in one line on standard error."""
    done = "dropped and printed" if reverse else "kept"
    said = f"{done} {printed:,} of {chosen.lines:,} lines"
    limit = chosen.limit
    # The top of no lines has no limit.
    if limit is not None and not math.isnan(limit.value):
        value = ui.figure(limit.value) if limit.kind == "at most" else f"{limit.value:g}"
        what = f"difference in {unit}" if has_other else unit
        said += f": {what} {'not ' if reverse else ''}{limit.kind} {value}"
    if not printed and chosen.lowest <= chosen.highest:
        said += f"; they have {ui.figure(chosen.lowest)} to {ui.figure(chosen.highest)}"
    ui.note(said)

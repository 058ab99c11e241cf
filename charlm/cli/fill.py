"""`charlm fill`: fill the gaps of lines from both sides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

import typer

from charlm.cli import ui
from charlm.cli.options import (
    BatchSize,
    Device,
    FilesArgument,
    ModelArgument,
    Threads,
    Unbuffered,
    open_model,
)
from charlm.cli.tables_in import Field, InputFormat, Source
from charlm.cli.tables_out import NoHeader, Records, tsv_field

_COLUMNS = ("text", "filled", "candidates")

_GAP = {
    "char": "three underscores for each character, up to eight characters side by side",
    "word": "three underscores or more, apart from letters and digits",
}


def fill(
    model: ModelArgument,
    files: FilesArgument = None,
    num_candidates: Annotated[
        int | None,
        typer.Option("-n", "--num-candidates", min=1, help="List the N best for each gap in a second column."),
    ] = None,
    format: Annotated[
        Literal["text", "tsv", "csv", "jsonl"],
        typer.Option(help="text: the filled line; tsv, csv: with the candidates; jsonl: JSON Lines."),
    ] = "text",
    no_header: NoHeader = False,
    field: Field = None,
    input_format: InputFormat = None,
    batch_size: BatchSize = 64,
    unbuffered: Unbuffered = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Fill each ___ with the likeliest token.

    The model reads both sides of a gap. At word level a gap is three or more underscores; at character level, three
    underscores for each character.

    \b
    echo 'the apple and ___ salad' | charlm fill cloze
    echo 'the ___ and ___ salad' | charlm fill cloze -n 5
    charlm fill cloze gaps.txt --format jsonl | jq .gaps
    charlm fill cloze items.csv --field item --format csv
    """
    language_model = open_model(model, device, "fill")

    from charlm.inference.cloze import Filler

    source = Source(files, field=field, input_format=input_format, own={*_COLUMNS, "gaps"}, unbuffered=unbuffered)
    filler = Filler(
        language_model, candidates=num_candidates or 1, batch_size=batch_size, window=1 if source.at_once else None
    )
    output = ui.Output(unbuffered=source.at_once)
    lines = lines_without = 0

    def filled() -> Iterator[Any]:
        nonlocal lines, lines_without
        for one in filler.fill(source.lines):
            lines += 1
            lines_without += not one.gaps
            yield one

    with language_model.model.ops.workers.limit(threads), source.progress():
        if format == "text":
            for one in filled():
                source.taken()
                output.line(_line(one, listed=num_candidates is not None))
        else:
            columns = [*source.columns, *_COLUMNS]
            with Records(output, format, columns, has_header=not no_header) as records:
                for record in _records(filled(), source, format):
                    records.write(record)
    output.close()
    if lines_without:
        gap = _GAP[language_model.tokenizer.level]
        ui.warn(f"lines without a gap, printed as they are: {lines_without:,} of {lines:,}; a gap is {gap}")


def _line(one: Any, *, listed: bool) -> str:
    """Return the filled line; listed: with a second column, the candidates of all gaps, and escapes as in TSV."""
    return "\t".join(map(tsv_field, (one.filled, _candidates(one)))) if listed else str(one.filled)


def _records(found: Iterable[Any], source: Source, format: str) -> Iterator[dict[str, Any]]:
    for one in found:
        record = {"text": one.text, "filled": one.filled}
        if format == "jsonl":
            record["gaps"] = [[{"token": c.token, "prob": c.prob} for c in gap] for gap in one.gaps]
        else:
            record["candidates"] = _candidates(one)
        yield source.joined(source.taken(), record, format)


def _candidates(one: Any) -> str:
    return " | ".join(" ".join(f"{c.token} {ui.figure(c.prob)}" for c in gap) for gap in one.gaps)

"""`charlm predict`: print tags, classes or translations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

import typer

from charlm.cli import ui
from charlm.cli.options import (
    BatchSize,
    Beam,
    Device,
    FilesArgument,
    ModelArgument,
    Threads,
    Unbuffered,
    open_model,
)
from charlm.cli.tables_in import Field, InputFormat, Source
from charlm.cli.tables_out import NoHeader, Records
from charlm.cli.tag_columns import TokenColumn, with_token_column

_COLUMNS = ("prediction", "prob", "text")
_OF_TOKENS = ("text", "prediction", "prob")
# Further keys of JSON Lines, of some task.
_OTHERS = ("tokens", "probs", "log10p")


def predict(
    model: ModelArgument,
    files: FilesArgument = None,
    format: Annotated[
        Literal["text", "tsv", "csv", "jsonl"],
        typer.Option(help="text: the prediction; tsv, csv: with probability and text; jsonl: JSON Lines."),
    ] = "text",
    no_header: NoHeader = False,
    field: Field = None,
    input_format: InputFormat = None,
    columns: Annotated[
        bool,
        typer.Option(
            "--columns",
            help="tag: read one token per line, a blank line after each sentence. Comments (# ...) are kept.",
        ),
    ] = False,
    token_column: TokenColumn = None,
    beam: Beam = 1,
    batch_size: BatchSize = 64,
    unbuffered: Unbuffered = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Tag, classify or translate each line.

    \b
    echo 'they can fish' | charlm predict tags
    cut -f2 reviews.tsv | charlm predict reviews --format tsv
    charlm predict reviews shop.csv --field review --format csv
    charlm predict spanish english.txt --beam 5
    charlm predict tags tokens.txt --columns            as in the corpus
    charlm predict tags test.conllu --token-column 2    a CoNLL file
    """
    language_model = with_token_column(open_model(model, device, "predict"), token_column)
    columns = columns or token_column is not None

    from charlm.errors import UsageError
    from charlm.inference.prediction import predict as predictions_of
    from charlm.inference.prediction import tag_columns
    from charlm.text.doubts import watched

    task, facts = language_model.task, language_model.facts
    if columns and facts.answers != "tags":
        raise UsageError(f"--columns with a --task {task} model", hint="leave it out: it is for --task tag")
    if beam > 1 and not facts.translates:
        raise UsageError(f"--beam with a --task {task} model", hint="leave it out: it is for --task translate")
    if columns and field is not None:
        raise UsageError("--columns with --field", hint="leave one of them out: --columns reads token TAB tag")
    source = Source(
        files,
        field=field,
        input_format=input_format,
        own={*_COLUMNS, *_OTHERS},
        unbuffered=unbuffered,
        text=language_model.text,
    )
    options: dict[str, Any] = {"batch_size": batch_size, "window": 1 if source.at_once else None}
    if facts.translates:
        options["beam"] = beam
    output = ui.Output(unbuffered=source.at_once)
    with language_model.model.ops.workers.limit(threads), source.progress():
        if columns:
            rows = tag_columns(language_model, source.lines, **options)
            if format == "text":
                for row in rows:
                    output.line(row if isinstance(row, str) else f"{row[0]}\t{row[1]}")
            else:
                _write(_of_tokens(rows, format), output, format, _OF_TOKENS, has_header=not no_header)
        else:
            texts = watched(source.lines, language_model.reader, language_model.labels, ui.warn)
            found = predictions_of(language_model, texts, **options)
            if format == "text":
                for one in found:
                    source.taken()
                    output.line(_in_words(one.prediction))
            else:
                shown = [*source.columns, *_COLUMNS]
                _write(_of_lines(found, source, format), output, format, shown, has_header=not no_header)
    output.close()


def _write(
    records: Iterable[dict[str, Any]], output: ui.Output, format: str, columns: Iterable[str], *, has_header: bool
) -> None:
    with Records(output, format, list(columns), has_header=has_header) as written:
        for record in records:
            written.write(record)


def _of_tokens(rows: Iterable[tuple[str, str, float] | str], format: str) -> Iterator[dict[str, Any]]:
    """Yield a record for each token, comment, and end of a sentence; the last two have no prediction."""
    absent = None if format == "jsonl" else ""
    for row in rows:
        token, tag, prob = (row, absent, absent) if isinstance(row, str) else row
        yield {"text": token, "prediction": tag, "prob": prob}


def _of_lines(predictions: Iterable[Any], source: Source, format: str) -> Iterator[dict[str, Any]]:
    for one in predictions:
        record = {"text": one.text, "prediction": one.prediction, "prob": one.prob, **one.others}
        if format != "jsonl":
            record |= {"prediction": _in_words(one.prediction), "prob": _figures(one.prob)}
        yield source.joined(source.taken(), record, format)


def _in_words(prediction: str | list[str]) -> str:
    """Return a class, a translation, or the tags of a line."""
    return " ".join(prediction) if isinstance(prediction, list) else prediction


def _figures(prob: float | list[float]) -> str:
    """Return the probability of a prediction, or that of each tag."""
    return " ".join(map(ui.figure, prob)) if isinstance(prob, list) else f"{prob:.4g}"

"""`charlm predict`: print tags, classes or translations."""

from __future__ import annotations

from collections.abc import Iterator
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
    input_lines,
    open_model,
)


def predict(
    model: ModelArgument,
    files: FilesArgument = None,
    format: Annotated[
        Literal["text", "tsv", "jsonl"],
        typer.Option(help="text: the prediction; tsv: with probability and text; jsonl: JSON Lines."),
    ] = "text",
    columns: Annotated[
        bool,
        typer.Option(
            "--columns",
            help="tag: read one token per line, a blank line after each sentence. Comments (# ...) are kept.",
        ),
    ] = False,
    beam: Beam = 1,
    batch_size: BatchSize = 64,
    unbuffered: Unbuffered = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Tag, classify or translate each line.

    \b
    echo 'they can fish' | charlm predict tags.safetensors
    cut -f2 reviews.tsv | charlm predict reviews.safetensors --format tsv
    charlm predict spanish.safetensors english.txt --beam 5
    charlm predict tags.safetensors tokens.txt --columns            as in the corpus
    """
    language_model = open_model(model, device, "predict")

    from charlm.errors import UsageError
    from charlm.inference.prediction import predict as predictions_of
    from charlm.inference.prediction import tag_columns
    from charlm.text.doubts import watched

    task, facts = language_model.task, language_model.facts
    if columns and facts.answers != "tags":
        raise UsageError(f"--columns with a --task {task} model", hint="leave it out: it is for --task tag")
    if beam > 1 and not facts.translates:
        raise UsageError(f"--beam with a --task {task} model", hint="leave it out: it is for --task translate")
    options: dict[str, Any] = {"batch_size": batch_size, "window": 1 if unbuffered else None}
    if facts.translates:
        options["beam"] = beam
    output = ui.Output(unbuffered=unbuffered)
    with language_model.model.ops.workers.limit(threads):
        if columns:
            if format == "tsv":
                output.line("text\tprediction\tprob")
            for row in tag_columns(language_model, input_lines(files), **options):
                output.line(_columns(row, format))
        else:
            texts = watched(input_lines(files), language_model.reader, language_model.labels, ui.warn)
            for line in _lines(predictions_of(language_model, texts, **options), format):
                output.line(line)
    output.close()


def _columns(row: tuple[str, str, float] | str, format: str) -> str:
    """Return a line of output: a token with its tag, a comment, or the end of a sentence."""
    token, tag, prob = (row, None, None) if isinstance(row, str) else row
    if format == "jsonl":
        return ui.strict_json({"text": token, "prediction": tag, "prob": prob})
    if format == "tsv":  # every row of a table has the same number of fields
        return "\t".join([ui.tsv_field(token), tag or "", "" if prob is None else ui.figure(prob)])
    return token if tag is None else f"{token}\t{tag}"


def _lines(predictions: Any, format: str) -> Iterator[str]:
    if format == "tsv":
        yield "prediction\tprob\ttext"
    for one in predictions:
        many = isinstance(one.prediction, list)
        if format == "jsonl":
            yield ui.strict_json({"text": one.text, "prediction": one.prediction, "prob": one.prob, **one.others})
            continue
        shown = " ".join(one.prediction) if many else one.prediction
        prob = " ".join(ui.figure(p) for p in one.prob) if many else f"{one.prob:.4g}"
        yield f"{shown}\t{prob}\t{one.text}" if format == "tsv" else shown

"""`charlm evaluate`: print the figures of a model on a whole corpus."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from charlm.cli import ui
from charlm.cli.evaluate_pairs import print_pairs
from charlm.cli.options import BatchSize, Beam, Device, FilesArgument, ModelArgument, Threads, input_lines, open_model


def evaluate(
    model: ModelArgument,
    files: FilesArgument = None,
    format: Annotated[Literal["text", "tsv", "jsonl"], typer.Option(help="Output format.")] = "text",
    pairs: Annotated[
        bool,
        typer.Option("--pairs", help="Minimal pairs, BLiMP's JSON Lines or good TAB bad: how often good is likelier."),
    ] = False,
    beam: Beam = 1,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Print how well a model predicts a corpus.

    The corpus has the format of the training corpus.

    \b
    charlm evaluate shakespeare.safetensors valid.txt
    tail -c 111540 tinyshakespeare.txt | charlm evaluate shakespeare.safetensors --format jsonl
    charlm evaluate tags.safetensors tagged.tsv                     accuracy, F1
    charlm evaluate spanish.safetensors pairs.tsv --beam 5          BLEU, chrF
    charlm evaluate sentences.safetensors blimp.jsonl --pairs       accuracy by set
    """
    language_model = open_model(model, device, "evaluate")

    from charlm.errors import UsageError
    from charlm.inference.figures import figures

    if beam > 1 and not language_model.facts.translates:
        raise UsageError(
            f"--beam with a --task {language_model.task} model", hint="leave it out: it is for --task translate"
        )
    if pairs:
        if language_model.facts.answers != "text":
            raise UsageError(
                f"--pairs with a --task {language_model.task} model", hint="use a model of --task lm or cloze"
            )
        print_pairs(language_model, input_lines(files), format, batch_size=batch_size, threads=threads)
        return
    output = ui.Output()
    with language_model.model.ops.workers.limit(threads):
        record = figures(language_model, input_lines(files), batch_size=batch_size, beam=beam, warn=ui.warn)
    if format == "jsonl":
        ui.write_records([record], format, output)
        return
    rows = record.pop("by_source_length", [])
    ui.write_records([{name: "-" if value is None else value for name, value in record.items()}], format, output)
    if rows and format == "text":
        for row in rows:
            bleu = "-" if row["bleu"] is None else f"{row['bleu']:.4f}"
            output.line(f"bleu, source of {row['from']}-{row['to']} tokens ({row['sentences']:,})  {bleu}")
        output.close()

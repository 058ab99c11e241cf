"""`charlm evaluate`: how well a model predicts a whole corpus."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from charlm.cli import ui
from charlm.cli.options import BatchSize, Device, FilesArgument, ModelArgument, Threads, input_lines, open_model


def evaluate(
    model: ModelArgument,
    files: FilesArgument = None,
    format: Annotated[Literal["text", "tsv", "jsonl"], typer.Option(help="Output format.")] = "text",
    batch_size: BatchSize = 64,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Print how well a model predicts a corpus.

    \b
    charlm evaluate shakespeare.safetensors valid.txt
    tail -c 111540 tinyshakespeare.txt | charlm evaluate shakespeare.safetensors --format jsonl
    """
    language_model = open_model(model, device)

    from charlm.evaluation import evaluate_text

    with language_model.model.ops.threads(threads):
        record = evaluate_text(language_model, input_lines(files), batch_size=batch_size)
    ui.write_records([record], format, ui.Output())

"""`charlm fill`: the gaps of a line, from both sides."""

from __future__ import annotations

from collections.abc import Iterator
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
    input_lines,
    open_model,
)


def fill(
    model: ModelArgument,
    files: FilesArgument = None,
    num_candidates: Annotated[
        int | None, typer.Option("-n", "--num-candidates", min=1, help="List the K best for each gap.")
    ] = None,
    format: Annotated[
        Literal["text", "tsv", "jsonl"], typer.Option(help="The filled line; with the candidates; JSON Lines.")
    ] = "text",
    batch_size: BatchSize = 64,
    unbuffered: Unbuffered = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Fill each ___ of a line with the likeliest token, given both sides.

    \b
    echo 'the apple and ___ salad' | charlm fill cloze.safetensors
    echo 'the ___ and ___ salad' | charlm fill cloze.safetensors -n 5
    charlm fill cloze.safetensors gaps.txt --format jsonl | jq .gaps
    """
    language_model = open_model(model, device, "fill")

    from charlm.cloze import Filler

    filler = Filler(
        language_model, candidates=num_candidates or 1, batch_size=batch_size, window=1 if unbuffered else None
    )
    output = ui.Output(unbuffered=unbuffered)
    with language_model.model.ops.threads(threads):
        for line in _lines(filler.fill(input_lines(files)), format, listed=num_candidates is not None):
            output.line(line)
    output.close()


def _lines(filled: Any, format: str, *, listed: bool) -> Iterator[str]:
    """Write each line; listed: as text, too, with the candidates behind it, a column a gap."""
    if format == "tsv":
        yield "text\tfilled\tcandidates"
    for one in filled:
        if format == "jsonl":
            gaps = [[{"token": c.token, "prob": c.prob} for c in gap] for gap in one.gaps]
            yield ui.strict_json({"text": one.text, "filled": one.filled, "gaps": gaps})
            continue
        candidates = [" ".join(f"{ui.tsv_field(c.token)} {ui.figure(c.prob)}" for c in gap) for gap in one.gaps]
        if format == "tsv":
            yield "\t".join([ui.tsv_field(one.text), ui.tsv_field(one.filled), " | ".join(candidates)])
        else:
            yield "\t".join([one.filled, *(candidates if listed else [])])

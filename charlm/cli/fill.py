"""`charlm fill`: fill the gaps of lines from both sides."""

from __future__ import annotations

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
        Literal["text", "tsv", "jsonl"],
        typer.Option(help="text: the filled line; tsv: with the candidates; jsonl: JSON Lines."),
    ] = "text",
    batch_size: BatchSize = 64,
    unbuffered: Unbuffered = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Fill each ___ with the likeliest token.

    The model reads both sides of a gap. At word level a gap is three or more underscores; at character level, three
    underscores for each character.

    \b
    echo 'the apple and ___ salad' | charlm fill cloze.safetensors
    echo 'the ___ and ___ salad' | charlm fill cloze.safetensors -n 5
    charlm fill cloze.safetensors gaps.txt --format jsonl | jq .gaps
    """
    language_model = open_model(model, device, "fill")

    from charlm.inference.cloze import Filler

    filler = Filler(
        language_model, candidates=num_candidates or 1, batch_size=batch_size, window=1 if unbuffered else None
    )
    output = ui.Output(unbuffered=unbuffered)
    lines = lines_without = 0
    if format == "tsv":
        output.line("text\tfilled\tcandidates")
    with language_model.model.ops.workers.limit(threads):
        for one in filler.fill(input_lines(files)):
            lines += 1
            lines_without += not one.gaps
            output.line(_line(one, format, listed=num_candidates is not None))
    output.close()
    if lines_without:
        gap = _GAP[language_model.tokenizer.level]
        ui.warn(f"lines without a gap, printed as they are: {lines_without:,} of {lines:,}; a gap is {gap}")


def _line(one: Any, format: str, *, listed: bool) -> str:
    """Return a line of output; listed: text has a second column with the candidates of all gaps."""
    if format == "jsonl":
        gaps = [[{"token": c.token, "prob": c.prob} for c in gap] for gap in one.gaps]
        return ui.strict_json({"text": one.text, "filled": one.filled, "gaps": gaps})
    if format == "text" and not listed:
        return str(one.filled)
    columns = [one.text] if format == "tsv" else []
    candidates = " | ".join(" ".join(f"{c.token} {ui.figure(c.prob)}" for c in gap) for gap in one.gaps)
    return "\t".join(map(ui.tsv_field, [*columns, one.filled, candidates]))

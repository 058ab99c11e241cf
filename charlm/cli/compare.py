"""`charlm compare`: print which of several models predicts a text best."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import typer

from charlm.cli import ui
from charlm.cli.options import BatchSize, Device, ModelsArgument, Threads, input_lines, least_lossy, open_model
from charlm.cli.tables_out import NoHeader, write_records

_HEADER = ("model", "level", "parameters", "bits/char", "s.e.", "difference to best (95 %)")


def compare(
    models: ModelsArgument,
    on: Annotated[
        list[str] | None,
        typer.Option("--on", metavar="FILE", help="Text to predict, repeatable; without it, standard input."),
    ] = None,
    format: Annotated[Literal["text", "tsv", "csv", "jsonl"], typer.Option(help="Output format.")] = "text",
    no_header: NoHeader = False,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Print which model predicts a text best.

    The figure is bits a character, which character and word models share. The standard errors and the intervals tell
    how much of a difference is the chance of the lines: their number matters more than that of the characters.

    \b
    charlm compare rnn gru lstm --on test.txt
    charlm compare chars words --on test.txt --format tsv
    """
    from charlm.inference.comparison import compare as compared
    from charlm.storage.files import display_name

    opened: dict[str, Any] = {}
    for path in models:
        name = display_name(str(path))
        same = sum(other.partition(" (")[0] == name for other in opened)
        opened[f"{name} ({same + 1})" if same else name] = open_model(path, device, "compare")
    # What a model does not know costs its spelling.
    lines = list(input_lines(on, text=least_lossy(one.text for one in opened.values())))
    workers = next(iter(opened.values())).model.ops.workers
    with workers.limit(threads):
        found = compared(opened, lines, batch_size=batch_size)
    for one in found:
        if one.oov:
            ui.note(f"{one.name}: {one.oov:,} of {one.tokens:,} tokens are <UNK>, and cost their spelling besides")
    is_cloze = next(iter(opened.values())).facts.is_cloze
    output = ui.Output()
    if format == "text":
        for line in _table(found, "pseudo-bits/char" if is_cloze else "bits/char"):
            output.line(line)
        output.close()
    else:
        key = "pseudo_bits_per_char" if is_cloze else "bits_per_char"
        write_records([_record(one, key) for one in found], format, output, has_header=not no_header)


def _record(one: Any, key: str) -> dict[str, Any]:
    return {
        "model": one.name,
        "level": one.level,
        "parameters": one.parameters,
        "tokens": one.tokens,
        "oov": one.oov,
        key: one.bits_per_char,
        "standard_error": one.standard_error,
        "difference": one.difference,
        "low": one.low,
        "high": one.high,
    }


def _table(found: Sequence[Any], unit: str) -> Iterator[str]:
    """Yield the lines of the table; the best model has a dot in place of a difference."""
    rows = [(*_HEADER[:3], unit, *_HEADER[4:])]
    for one in found:
        difference = "."
        if one is not found[0]:
            difference = f"{one.difference:+.3f}"
            if not math.isnan(one.low):
                difference += f" ({one.low:+.3f} to {one.high:+.3f})"
        error = "-" if math.isnan(one.standard_error) else f"{one.standard_error:.3f}"
        rows.append((one.name, one.level, f"{one.parameters:,}", f"{one.bits_per_char:.3f}", error, difference))
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        left = [f"{text:<{width}}" for text, width in zip(row[:2], wide[:2], strict=True)]
        right = [f"{text:>{width}}" for text, width in zip(row[2:5], wide[2:5], strict=True)]
        yield "  ".join([*left, *right, row[5]])

"""`charlm inspect`: what is in a model file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from charlm.cli import ui
from charlm.cli.options import ModelArgument, open_model


def inspect(
    model: ModelArgument,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the loss curves.")] = False,
    vocabulary: Annotated[
        bool, typer.Option("--vocabulary", help="Print the tokens instead, one a line, by id.")
    ] = False,
    format: Annotated[Literal["text", "jsonl"], typer.Option(help="Output format.")] = "text",
) -> None:
    """Print what is in a model file.

    \b
    charlm inspect names.safetensors
    charlm inspect names.safetensors --plot
    charlm inspect names.safetensors --format jsonl | jq .history
    """
    language_model = open_model(model, "cpu")
    output = ui.Output()
    if vocabulary:
        for token in language_model.tokenizer.vocabulary.tokens:
            output.line(ui.tsv_field(token) if format == "text" else ui.strict_json({"token": token}))
    elif format == "jsonl":
        output.line(ui.strict_json(_record(language_model)))
    else:
        for line in _describe(language_model):
            output.line(line)
    if plot and format == "text":
        from charlm.cli.chart import loss_chart

        for line in loss_chart(language_model.history):
            output.line(line)
    output.close()


def _record(language_model: Any) -> dict[str, Any]:
    parts = (language_model.text, language_model.model.config, language_model.train)
    shapes = language_model.model.parameters.shapes
    return {
        "task": "lm",
        "config": {name: value for part in parts for name, value in part.to_dict().items()},
        "parameters": language_model.model.parameters.count,
        "arrays": {name: list(shape) for name, shape in shapes.items()},
        "vocabulary_size": len(language_model.tokenizer.vocabulary),
        "history": language_model.history,
    }


def _describe(language_model: Any) -> list[str]:
    record = _record(language_model)
    lines = [f"task           {record['task']}"]
    for title, part in (
        ("text", language_model.text),
        ("network", language_model.model.config),
        ("training", language_model.train),
    ):
        settings = (f"{key}={value}" for key, value in part.to_dict().items() if value not in (None, [], ()))
        lines.append(f"{title:<14} {' '.join(settings)}")
    tokens = language_model.tokenizer.vocabulary.tokens
    lines.append(
        f"vocabulary     {len(tokens):,}: {' '.join(map(repr, tokens[2:12]))}{' ...' if len(tokens) > 12 else ''}"
    )
    lines.append(f"parameters     {record['parameters']:,}")
    lines += [f"  {name:<20} {' x '.join(map(str, shape))}" for name, shape in record["arrays"].items()]
    if record["history"]:
        lines.append(f"{'step':>10} {'epoch':>8} {'train':>8} {'valid':>8}   nats a token")
        lines += [
            f"{row['step']:>10,} {row['epoch']:>8.2f} {row['train_nats']:>8.4f} {_number(row['valid_nats']):>8}"
            for row in record["history"]
        ]
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"

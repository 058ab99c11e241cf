"""`charlm inspect --plot`: the losses of models over their training, in characters or as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charlm.cli import signals, ui
from charlm.cli.chart import Losses, color, loss_chart, mark_of, painted, unit_of
from charlm.cli.inspect_views import Asked
from charlm.cli.inspect_views.history import kept_step
from charlm.cli.training_lines import units_of


def draw(asked: Asked, plot: str | None) -> None:
    """Write the picture, if a file is named: before the text, whose reader may go away."""
    if plot in (None, "-"):
        return
    from charlm.cli import pictures

    with signals.undisturbed():
        pictures.losses(_losses(asked), Path(str(plot)))


def chart(asked: Asked, plot: str | None) -> None:
    """Print the chart, if it was asked for."""
    if plot == "-" and asked.format == "text":
        asked.styled(loss_chart(_losses(asked)))


def table(asked: Asked) -> None:
    """Print a line for each of several models, with its letter and its colour in the chart."""
    losses = _losses(asked)
    unit = unit_of(losses)
    rows = [["model", "parameters", "steps", "kept", "train", "valid", unit]]
    for number, (name, (_, language_model)) in enumerate(zip(losses, asked.models, strict=True)):
        one = losses[name]
        shown = [row for row in one.history if row["step"] == one.kept] or one.history[-1:]
        parameters, steps = language_model.model.parameters.count, [row["step"] for row in one.history]
        row = [f"{mark_of(number)} {ui.printable(name)}", f"{parameters:,}", f"{max(steps, default=0):,}"]
        row.append(f"{one.kept:,}" if one.kept else "-")
        row += [_figure(shown[0][key]) if shown else "-" for key in ("train_nats", "valid_nats")]
        rows.append([*row, "" if one.unit == unit else one.unit])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *figures, last in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(figures, widths[1:], strict=False)]
        lines.append("  ".join([f"{first:<{widths[0]}}", *cells, last]).rstrip())
    asked.styled([lines[0], *(painted(line, color(number)) for number, line in enumerate(lines[1:]))])


def _figure(value: float | None) -> str:
    return "-" if value is None else ui.figure(value)


def _losses(asked: Asked) -> dict[str, Losses]:
    return dict(zip(asked.short_names(), (of_model(one) for _, one in asked.models), strict=True))


def of_model(language_model: Any) -> Losses:
    """Return the losses of a model."""
    unit = f"nats/{units_of(language_model).loss}"
    return Losses(language_model.history, kept_step(language_model), unit)

"""`charlm inspect --plot`: the losses of each model over its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charlm.cli import signals
from charlm.cli.inspect_views import Asked


def draw(asked: Asked, plot: str | None) -> None:
    """Write the picture, if a file is named: before the text, whose reader may go away."""
    if plot in (None, "-"):
        return
    from charlm.cli import pictures

    histories = [one.history for _, one in asked.models]
    with signals.undisturbed():
        pictures.losses(dict(zip(asked.short_names(), histories, strict=True)), Path(str(plot)))


def chart(asked: Asked, language_model: Any, plot: str | None) -> None:
    """Print the chart of a model below its text, if it was asked for."""
    if plot != "-" or asked.format != "text":
        return
    from charlm.cli.chart import loss_chart

    for line in loss_chart(language_model.history):
        asked.output.line(line)

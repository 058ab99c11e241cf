"""Curves as pictures, SVG or PNG, by matplotlib, which is an optional extra."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from charlm.errors import ResourceError
from charlm.files import write_atomically


def losses(histories: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Draw the training and validation losses of models over their steps."""
    figure, axes = _figure()
    for name, history in histories.items():
        for key, style in (("train_nats", ":"), ("valid_nats", "-")):
            points = [(row["step"], row[key]) for row in history if row[key] is not None]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=f"{name}, {key.removesuffix('_nats')}")
    axes.set_xlabel("step")
    axes.set_ylabel("nats")
    _write(figure, axes, path)


def decays(norms: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw how gradients fall with the distance in time."""
    figure, axes = _figure()
    for name, of_model in norms.items():
        axes.semilogy(range(len(of_model)), of_model, marker="o", markersize=3, label=name)
    axes.set_xlabel("k, steps back in time")
    axes.set_ylabel("mean norm of $dL^{<t>}/da^{<t-k>}$")
    _write(figure, axes, path)


def _figure() -> tuple[Any, Any]:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ResourceError("no matplotlib, which draws pictures", hint="pip install 'charlm-rnn[plot]'") from error
    mpl.rcParams["svg.hashsalt"] = "charlm"  # the same curves, the same bytes
    figure = Figure(figsize=(7, 4), layout="constrained")
    return figure, figure.subplots()


def _write(figure: Any, axes: Any, path: Path) -> None:
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    data = io.BytesIO()
    kind = path.suffix.lower().removeprefix(".")
    figure.savefig(data, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    write_atomically(path, data.getvalue())

"""Curves as SVG or PNG, drawn by matplotlib, which is an optional dependency."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from charlm.cli.chart import Losses, unit_of
from charlm.errors import ResourceError
from charlm.storage.files import write_atomically


def losses(of_models: Mapping[str, Losses], path: Path) -> None:
    """Write a picture of the losses of models over their steps: a colour a model, training dotted, the best a star."""
    with _drawing():
        figure, axes = _figure()
        for number, (name, one) in enumerate(of_models.items()):
            train, valid = one.points["train_nats"], one.points["valid_nats"]
            # Without a validation, the dotted line names the model.
            titles = (None, _titled(name, one)) if valid else (_titled(name, one), None)
            for points, style, title in zip((train, valid, one.best), (":", "-", "*"), (*titles, None), strict=True):
                if points:
                    size = {"markersize": 11} if style == "*" else {}
                    axes.plot(*zip(*points, strict=True), style, color=_color(number), label=title, **size)
        if any(one.points["valid_nats"] for one in of_models.values()):
            for style, title in ((":", "train"), ("-", "valid"), ("*", "kept")):
                axes.plot([], [], style, color="gray", label=title)
        axes.set_xlabel("step")
        axes.set_ylabel(unit_of(of_models))
        data = _drawn(figure, axes, path)
    write_atomically(path, data)


def _titled(name: str, losses: Losses) -> str:
    """Return a model's name with its kept validation loss, for a legend."""
    return "".join([_label(name), *(f", {value:.4g} at step {step:,}" for step, value in losses.best)])


def _color(number: int) -> str:
    """Return matplotlib's name of the colour of a model."""
    return f"C{number % 10}"


def decays(norms: Mapping[str, Sequence[float]], path: Path) -> None:
    """Write a picture of the norms of gradients by the distance in time."""
    with _drawing():
        figure, axes = _figure()
        for name, of_model in norms.items():
            axes.semilogy(range(len(of_model)), of_model, marker="o", markersize=3, label=_label(name))
        axes.set_xlabel("k, steps back in time")
        axes.set_ylabel("mean norm of $dL^{<t>}/da^{<t-k>}$")
        data = _drawn(figure, axes, path)
    write_atomically(path, data)


@contextlib.contextmanager
def _drawing() -> Iterator[None]:
    """Silence matplotlib inside the block; raise ResourceError if it is missing or fails."""
    os.environ["MPLBACKEND"] = "agg"  # without a window, whatever the user has set
    logging.getLogger("matplotlib").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImportError as error:
        raise ResourceError("matplotlib is not installed", hint="pip install 'charlm-rnn[plot]'") from error
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise ResourceError(
            f"cannot draw the picture: {error}", hint="plot in characters: charlm inspect MODEL --plot"
        ) from error


def _label(name: str) -> str:
    """Return a model's name for a legend, with bytes that are not UTF-8 and `$` escaped."""
    printable = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in printable)
    # A legend omits names that begin with an underscore.
    return (" " if shown.startswith("_") else "") + shown.replace("$", r"\$")


def _figure() -> tuple[Any, Any]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcdefaults()  # the same bytes on every machine
    mpl.rcParams["svg.hashsalt"] = "charlm"
    figure = Figure(figsize=(7, 4), layout="constrained")
    return figure, figure.subplots()


def _drawn(figure: Any, axes: Any, path: Path) -> bytes:
    """Return the picture in the format of the file's suffix."""
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    data = io.BytesIO()
    kind = path.suffix.lower().removeprefix(".")
    figure.savefig(data, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    return data.getvalue()

"""Loss curves of three cells."""

from __future__ import annotations

from tests.pictures.drawing import Axis, Curve, chart
from tests.pictures.runs import CELLS, agreement


def drawn() -> str:
    """Return the training losses, dotted, and the validation losses of three cells."""
    histories = {cell: agreement(cell).history for cell in CELLS}
    last = max(row["step"] for history in histories.values() for row in history)
    curves = [
        Curve(f"{cell}, {name}", cell, [(row["step"], row[f"{name}_nats"]) for row in history], name == "train")
        for cell, history in histories.items()
        for name in ("train", "valid")
    ]
    return chart(
        "Loss of three cells over the steps of their training",
        "Training loss dotted, validation loss solid. " + ", ".join(
            f"{cell} ends at {history[-1]['valid_nats']:.3f} nats a word" for cell, history in histories.items()
        ),
        Axis("step", range(0, last + 200, 200)),
        Axis("nats a word", (1.75, 2, 2.25, 2.5, 2.75, 3)),
        curves,
    )

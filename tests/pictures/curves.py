"""Loss curves of three cells."""

from __future__ import annotations

from tests.pictures.drawing import Axis, Curve, chart
from tests.pictures.runs import CELLS, agreement


def drawn() -> str:
    """Return the training losses, dotted, and the validation losses of three cells."""
    histories = {cell: agreement(cell).history for cell in CELLS}
    last = max(row["step"] for history in histories.values() for row in history)
    curves = [
        Curve(name, cell, [(row["step"], row[key]) for row in history], is_dotted=not name)
        for cell, history in histories.items()
        for key, name in (("train_nats", ""), ("valid_nats", cell))
    ]
    return chart(
        "Loss of three cells over the steps of their training",
        "Training loss dotted, validation loss solid. "
        + ", ".join(
            f"{cell} ends at {history[-1]['valid_nats']:.3f} nats a word" for cell, history in histories.items()
        ),
        Axis("step", range(0, last + 200, 200)),
        Axis("nats a word, training dotted, validation solid", (1.8, 2, 2.2, 2.4, 2.6)),
        curves,
    )

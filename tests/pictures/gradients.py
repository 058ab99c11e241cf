"""How much of a gradient reaches the steps before."""

from __future__ import annotations

from charlm.inference.vanishing import gradient_decay
from tests.pictures.drawing import Axis, Curve, chart
from tests.pictures.runs import CELLS, agreement, lines_of


def drawn() -> str:
    """Return the norms of the gradients of three cells by the distance in time."""
    decays = {cell: gradient_decay(agreement(cell), lines_of("kitchen_heldout.txt"), longest=24) for cell in CELLS}
    return chart(
        "The gradient of a step's loss, k steps before it",
        ". ".join(f"In the {cell} the norm halves every {one.half_life:.1f} steps" for cell, one in decays.items()),
        Axis("k, steps back in time", range(0, 25, 4)),
        Axis("mean norm of dL<t>/da<t-k>", (0.0001, 0.001, 0.01, 0.1, 1), is_log=True),
        [Curve(cell, cell, list(enumerate(decay.norms.tolist()))) for cell, decay in decays.items()],
    )

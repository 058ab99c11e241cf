"""How much of a gradient reaches the steps before."""

from __future__ import annotations

import math
import re

from charlm.inference.vanishing import gradient_decay
from tests.pictures.drawing import Axis, Curve, chart
from tests.pictures.runs import CELLS, agreement, lines_of


def drawn() -> str:
    """Return the norms of the gradients of three cells by the distance in time."""
    lines = [line for line in lines_of("kitchen_heldout.txt") if re.search(r" (was|were|is|are)( |$)", line)]
    decays = {cell: gradient_decay(agreement(cell), lines, longest=24) for cell in CELLS}
    logarithms = [math.log10(norm) for decay in decays.values() for norm in decay.norms]
    powers = range(math.floor(min(logarithms)), math.ceil(max(logarithms)) + 1)
    return chart(
        "The gradient of a step's loss, k steps before it",
        ". ".join(f"In the {cell} the norm halves every {one.half_life:.1f} steps" for cell, one in decays.items()),
        Axis("k, steps back in time", range(0, 25, 4)),
        Axis("mean norm of dL<t>/da<t-k>", [10.0**power for power in powers], is_log=True),
        [Curve(cell, cell, list(enumerate(decay.norms.tolist()))) for cell, decay in decays.items()],
    )

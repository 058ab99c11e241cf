"""What a cell is: the equations of one time step, forward and backward.

All cells share the stacked form of the notes. `W = [W_a | W_x | b]` has a block of H rows for each gate, so
`W [a<t-1>; x<t>; 1]` is the pre-activation z of all gates. The layer computes W_x x + b (`nn/recurrent.py`), the scan
W_a a<t-1> (`nn/scan.py`). The cell computes what follows from both, and the way back to dL/dz.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, ClassVar

import numpy as np

from charlm.backends import Array, Backend, ScanGrads, Shape
from charlm.nn import initializers
from charlm.nn.grads import Grads
from charlm.nn.layer import Views

Arrays = Sequence[Array]

OUTPUT_RMS = 1 / 3  # typical root mean square of a recurrent layer's output before training


class Cell(ABC):
    """One time step: six facts, `step` and `step_back`.

    A cell with parameters beside W also overrides `shapes`, and `initialise` unless they begin with zeros.

    n_in: I, the number of inputs; hidden: H, the number of units
    input_rms: root mean square of the elements of x before training, which the initial W_x depends on

    blocks: the gate of each of the K blocks of dz: the first, dz_a, go with a<t-1>, the last G, dz_x, with [x<t>; 1]
    reached: the gates of dz_a: those whose block of dz_x is another one, then the first of `gates`
    p, g: the parameters and their gradients by name; W_x1 [G·H, I+1] is [W_x | b]
    """

    name: ClassVar[str]  # by which a backend finds a scan of its own
    gates: ClassVar[tuple[str, ...]]  # the row blocks of W and z in order: sigmoid gates first, the candidate last
    states: ClassVar[tuple[str, ...]] = ("a",)  # what goes from step to step, the output first
    kept: ClassVar[tuple[str, ...]] = ()  # arrays [H, B] that a step leaves for its way back
    equations: ClassVar[tuple[str, ...]] = ()  # the step in the notation of `nn.notation`, for `inspect --trace`
    rows_a: ClassVar[tuple[str, ...]] = ()  # `reached`, where it differs from `gates`

    # Adds the gradients that dz_a a<t-1>^T and dz_x [x<t>; 1]^T, the layer's two products, leave out.
    other_grads: ClassVar[Callable[[Any, ScanGrads], None] | None] = None

    def __init__(self, ops: Backend, n_in: int, hidden: int, *, input_rms: float = OUTPUT_RMS) -> None:
        self.ops = ops
        self.n_in, self.hidden, self.input_rms = n_in, hidden, input_rms
        self.rows = len(self.gates) * hidden
        self.reached = self.rows_a or self.gates
        self.blocks = (*self.reached[: self.reached.index(self.gates[0])], *self.gates)
        self.runs = self._runs()

    def shapes(self) -> dict[str, Shape]:
        """Return the shape of each parameter: W [G·H, H+I+1], and those that a cell has beside it."""
        return {"W": (self.rows, self.hidden + self.n_in + 1)}

    def bind(self, values: Views, grads: Grads) -> None:
        """Use these arrays as parameters, and add to these gradients."""
        self.p, self.g = values, grads
        self.W = values["W"]
        self.W_a, self.W_x1 = self.W[:, : self.hidden], self.W[:, self.hidden :]

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw, for each gate, an orthogonal W_a and a W_x that gives W_x x variance 1; b is 0, the candidate's random.

        With that b zero, too, the first step of the notes, x<1> = 0 and a<0> = 0, would give a<1> = 0.
        """
        H = self.hidden
        for row in range(0, self.rows, H):
            block = self.W[row : row + H]
            block[:, :H] = self.ops.array(initializers.orthogonal(H, rng), self.W.dtype)
            block[:, H:-1] = self.ops.array(
                initializers.unit_variance((H, self.n_in), self.input_rms, rng), self.W.dtype
            )
            block[:, -1] = 0
        block[:, -1] = self.ops.array(initializers.normal((H,), 0.5, rng), self.W.dtype)

    @abstractmethod
    def step(self, W_a: Array, z: Array, zx: Array, old: Arrays, new: Arrays, kept: Arrays, tmp: Array) -> None:
        """Compute the states after a step.

        W_a [G·H, H]: the recurrent weights, for a cell that needs a second product
        z [G, H, B]: W_a a<t-1> on entry, undefined for gates not in `reached`; gate values on exit
        zx [G, H, B]: W_x x<t> + b; not changed
        old: the states before the step, arrays [H, B] in the order of `states`; not changed
        new: the states after it; overwritten
        kept: arrays [H, B] in the order of the class's `kept`; overwritten
        tmp [H, B]: scratch
        """

    @abstractmethod
    def step_back(
        self, W_a: Array, z: Array, old: Arrays, kept: Arrays, d: Arrays, dz: Array, tmp: Array
    ) -> Array | None:
        """Compute dL/dz of a step, and dL/d(the states before it) as far as it does not go through the product.

        W_a, z, old, kept: as `step` left them; z and kept may be overwritten
        d: dL/d(the states after the step), arrays [H, B]. d[0], dL/da<t>, is scratch afterwards; the others hold
            dL/d(the state before the step) on exit
        dz [K, H, B]: overwritten; one block for each of `blocks`
        tmp [H, B]: scratch.
        Returns the part of dL/da<t-1> outside the product W_a^T dz_a, [H, B], which may be d[0] or tmp; None for zero.
        """

    def _runs(self) -> list[tuple[slice, slice]]:
        """Return pairs of slices: rows of dz_a, and the rows of W_a that they go with; as few as possible."""
        H = self.hidden
        pairs = [(block, self.gates.index(gate)) for block, gate in enumerate(self.reached)]
        runs = [list(run) for _, run in groupby(pairs, key=lambda pair: pair[0] - pair[1])]
        return [
            (slice(run[0][0] * H, (run[-1][0] + 1) * H), slice(run[0][1] * H, (run[-1][1] + 1) * H)) for run in runs
        ]

"""The contract between the mathematics and a device.

Letters, here and in `charlm.nn`: T time steps, B sequences side by side, I inputs, H hidden units, V tokens.
Activations are `[T, rows, B]`, of any strides. The batch is the last axis, so one step is `W @ x[t] + b`, as in the
notes.

The pointwise mathematics is written once, in NumPy ufuncs with `out=`, which other array types support as well. A
backend contains only what differs by device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from charlm.backends.workers import Workers
from charlm.errors import ResourceError

Array = Any  # of the device: numpy.ndarray, cupy.ndarray
Number = Any  # of the device: a float, or an array [] whose value `float()` waits for
Shape = tuple[int, ...]
Places = tuple[np.ndarray, np.ndarray]


@dataclass
class ScanGrads:
    """What the way back of a scan leaves for the products over all steps; the scan's until its next pass.

    dz [K·H, T·B]: dL/dz of all steps, a block of H rows for each of the K `Cell.blocks`
    a [H, T·B]: a<t-1> of all steps, with the same columns
    old: the states before each step, arrays [T, H, B], in the order of `Cell.states`
    kept: arrays [T, H, B] in the order of `Cell.kept`, as `step_back` left them
    ws: the workspace that they lie in, with room for what a cell computes from them
    """

    dz: Array
    a: Array
    old: Sequence[Array]
    kept: Sequence[Array]
    ws: Any


BETAS = 0.9, 0.999  # of Adam, Kingma and Ba 2015

# A drawn token: its id, ln P under the model before temperature and bans, and the probability of the banned tokens.
Drawn = tuple[int, float, float]


@dataclass(frozen=True)
class AffineLayer:
    """W x + b of one token, and what follows from it: a step of a cell, an activation or nothing.

    W [N, K]; b [N, 1]
    cell: the cell of a recurrent layer, whose G·H gates W and b are of; None for another layer
    activation: of another layer, "tanh", "relu" or ""
    """

    W: Array
    b: Array
    cell: Any = None
    activation: str = ""


def complement(beta: float) -> float:
    """Return 1 - beta, rounded: 1 - 0.9 is 0.1, not 0.09999999999999998."""
    return round(1.0 - beta, 15)


class Backend(ABC):
    """The arithmetic that differs by device. `workers` divides it among the cores of the host."""

    name: ClassVar[str]
    core: str  # what computes: numpy, one of `compiled.library.CORES`, amx, or cuda
    block: ClassVar[int]  # elements of a long vector that pointwise work takes at a time
    batch_first: ClassVar[bool] = False  # whether activations lie as [T, B, rows] in memory, else as [T, rows, B]
    scans: Mapping[str, type[Any]] = {}  # the device's own `nn.scan.Scan` classes, by the name of the cell
    workers: Workers

    def blocks(self, size: int) -> Iterator[slice]:
        """Yield the slices of `range(size)`, each of at most `block` elements."""
        return (slice(start, min(start + self.block, size)) for start in range(0, size, self.block))

    def in_precision(self, dtype: str) -> Backend:
        """Return the backend of the same arrays and workers whose products are computed in this precision.

        dtype: float32 or float64, the precision of the arrays; or bfloat16, with float32 arrays and sums
        Raises ResourceError if this device does not compute products in bfloat16.
        """
        if dtype == "bfloat16":
            raise ResourceError(
                f"--dtype bfloat16: core {self.core} has no bfloat16 products on this machine",
                hint="use --dtype float32; bfloat16 needs the compiled core on a processor with AVX512-BF16 or AMX",
            )
        return self

    @abstractmethod
    def array(self, values: Any, dtype: Any = None) -> Array:
        """Copy values to a new array of the device, C-contiguous."""

    @abstractmethod
    def numpy(self, array: Array) -> np.ndarray:
        """Copy an array of the device to a new host array, C-contiguous."""

    @abstractmethod
    def empty(self, shape: Shape, dtype: Any) -> Array:
        """Return a new array whose contents are undefined, C-contiguous."""

    def zeros(self, shape: Shape, dtype: Any) -> Array:
        """Return a new array of zeros, C-contiguous."""
        array = self.empty(shape, dtype)
        array[...] = 0
        return array

    def to_device(self, values: np.ndarray) -> Array:
        """Return ids or flags of the host as an array of the device; nobody may write to it.

        The device may keep its copy of a read-only array for as long as that array exists.
        """
        return values

    def row_stride(self, width: int) -> int:
        """Return the distance of the rows of a wide matrix, in elements, at which its columns are read fastest."""
        return width

    @abstractmethod
    def matmul(self, a: Array, b: Array, *, out: Array, add: bool = False) -> None:
        """Write `a @ b` to `out`, or add it to `out`.

        a [m, k]; b [k, n], or [T, k, n] for T steps
        out [m, n] or [T, m, n]: shares no memory with a and b
        """

    @abstractmethod
    def row_sums(self, x: Array, *, out: Array, add: bool = False) -> None:
        """Write the sum of each row of `x [n, N]` to `out [n, 1]`, or add it to `out`."""

    @abstractmethod
    def one_hot_product(self, W: Array, ids: np.ndarray, *, x1: Array, out: Array) -> None:
        """Write `W [x; 1]` to `out`, with the one-hot columns x of `ids`; the id -1 is the zero vector.

        W [m, V+1]; ids [T, B]; out [m, T·B]
        x1 [V+1, T·B]: scratch, which `one_hot_grad` may read again
        """

    @abstractmethod
    def one_hot_grad(self, dz: Array, ids: np.ndarray, *, x1: Array, out: Array, add: bool = False) -> None:
        """Write `dz [x; 1]^T` to `out [m, V+1]`, or add it; ids and x1 are as in `one_hot_product`, dz is [m, T·B]."""

    @abstractmethod
    def lookup(self, table: Array, ids: np.ndarray, *, out: Array) -> None:
        """Write row `ids[t, b]` of `table [V, D]` to `out[t, :, b]`, [T, D, B]; the id -1 is the zero vector."""

    @abstractmethod
    def lookup_grad(self, d_out: Array, ids: np.ndarray, *, table_grad: Array) -> None:
        """Add `d_out[t, :, b]`, [T, D, B], to row `ids[t, b]` of `table_grad [V, D]`; the id -1 has none."""

    @abstractmethod
    def move_columns(self, x: Array, origin: Places, *, out: Array, to: Places) -> None:
        """Write some columns of `x [T, rows, B]` to other places of `out`, which shares no memory with x.

        origin, to: the steps and the lanes of n columns; no place of `to` occurs twice
        """

    @abstractmethod
    def sigmoid(self, x: Array) -> None:
        """Compute sigma(x) = 1 / (1 + e^-x) in place, without overflow."""

    @abstractmethod
    def log_softmax(self, logits: Array) -> None:
        """Turn `logits [V, N]`, or `[V]`, into log-probabilities, in place."""

    @abstractmethod
    def cross_entropy(
        self, logits: Array, targets: np.ndarray, *, bias: Array | None = None, scale: float | None = None
    ) -> Array:
        """Return L = -ln softmax(logits)[target] of each column, float64 [N], of the device; 0 without a target.

        logits [V, N]: overwritten with scale dL/dlogits = scale (softmax(logits) - one-hot target), 0 without a target;
            without a scale, its contents are undefined afterwards
        targets [N]: ids of the host; -1 where a column has no target
        bias [V, 1]: if given, added to the logits first
        """

    def losses(self, W: Array, x: Array, targets: np.ndarray, *, bias: Array, logits: Array) -> Array:
        """Return the cross-entropy of the columns of `W x + bias`, as `cross_entropy` does.

        W [V, n]; x [n, N]; logits [V, N]: scratch
        """
        self.matmul(W, x, out=logits)
        return self.cross_entropy(logits, targets, bias=bias)

    @abstractmethod
    def adam(
        self,
        w: Array,
        g: Array,
        m: Array,
        v: Array,
        *,
        learning_rate: float,
        count: int,
        scale: Number | None = None,
        betas: tuple[float, float] = BETAS,
    ) -> None:
        """Take step `count`, from 1, of Adam, with g times `scale` as the gradient. Source: Kingma and Ba 2015.

        m = b1 m + (1 - b1) g    v = b2 v + (1 - b2) g^2    w -= lr m^ / (sqrt(v^) + 1e-8)

        with m^ = m / (1 - b1^count), v^ = v / (1 - b2^count) and b1, b2 = `betas`

        w, m, v [n]: weights and moments, updated in place; g [n]: overwritten
        """

    @abstractmethod
    def norm(self, vector: Array) -> Number:
        """Return the Euclidean norm of a flat vector; it is finite even where a square overflows float32."""

    @abstractmethod
    def clipping(self, norm: Number, most: float, dtype: Any) -> Number | None:
        """Return the factor that scales a vector of this norm down to norm `most`; None or 1 if it is not longer."""

    @abstractmethod
    def dropout(self, x: Array, *, rate: float, key: int, out: Array) -> None:
        """Write x to `out`, with a share `rate` of its elements zeroed and the others divided by 1 - rate.

        Which elements are zeroed is a hash of (key, index): the same key gives the same mask on every device. So the
        backward pass computes the mask again, and it is not stored.

        x, out [T, rows, B], `out` as `Workspace.steps` lays it out
        """

    def stream(self, table: Array, layers: Sequence[AffineLayer]) -> Any:
        """Return the device's own stream of sampling through a network, None if it has none.

        table [tokens, K]: x<t> of each token; or W x<t> of the first layer, [tokens, N], if its W is [N, 0]
        layers: from below; the last one computes the logits [V]
        """
        return None

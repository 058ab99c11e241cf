"""The contract between the mathematics and a device.

Letters, here and in `charlm.nn`: T time steps, B sequences side by side, I inputs, H hidden units, V tokens.
Activations are `[T, rows, B]`: the batch is the last axis, so that one step is `W @ x[t] + b`, as the notes write it,
and each step, and each gate's block of rows in it, is one contiguous piece of memory.

The pointwise mathematics is written once, in NumPy ufuncs with `out=`, which other array types answer to as well;
a backend holds only what differs by device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from charlm.backends.process import Process

Array = Any  # of the device: numpy.ndarray, cupy.ndarray
Number = Any  # of the device: a float, or an array [] of which `float()` waits until it is known
Shape = tuple[int, ...]
Places = tuple[np.ndarray, np.ndarray]
Part = TypeVar("Part")


@dataclass
class ScanGrads:
    """What the way back of a scan leaves for the products over all steps; the arrays are the scan's.

    dz [D·H, T·B]: dL/dz of all steps, one block of H rows for each of the cell's `blocks`
    a [H, T·B]: a<t-1> of all steps, with the same columns
    old: the states before each step, arrays [T, H, B], in the order of `Cell.states`
    kept: arrays [T, H, B] in the order of `Cell.kept`, as `step_back` left them
    ws: the workspace that they lie in
    """

    dz: Array
    a: Array
    old: Sequence[Array]
    kept: Sequence[Array]
    ws: Any


class Backend(ABC):
    """The operations that differ by device."""

    name: ClassVar[str]
    block: ClassVar[int]  # elements that pointwise work on long vectors should take at a time
    scans: Mapping[str, type[Any]] = {}  # recurrent layers' time loops of its own, by the name of the cell
    fused: Mapping[str, Callable[..., Any]] = {}  # functions of the mathematics with a kernel of their own, by name

    def blocks(self, size: int) -> Iterator[slice]:
        """Cut `range(size)` into slices of at most `block` elements."""
        return (slice(start, min(start + self.block, size)) for start in range(0, size, self.block))

    @abstractmethod
    def array(self, values: Any, dtype: Any = None) -> Array:
        """Copy host values to a new array of the device."""

    @abstractmethod
    def numpy(self, array: Array) -> np.ndarray:
        """Copy an array of the device to a new host array."""

    @abstractmethod
    def empty(self, shape: Shape, dtype: Any) -> Array:
        """Make an array whose contents are undefined, C-contiguous."""

    def zeros(self, shape: Shape, dtype: Any) -> Array:
        """Make an array of zeros, C-contiguous."""
        return self.array(np.zeros(shape, dtype))

    def handed_over(self, values: np.ndarray) -> Array:
        """Give ids or flags of the host, of any shape, as the device's; not to be written to, here or there.

        Of an array that refuses to be written to, the device may keep a copy for as long as the array is there.
        """
        return values

    def recorded(self, work: Callable[[], None]) -> Callable[[], None]:
        """Give a function that does what `work` does, again and again, with less effort where the device can.

        work: does the same each time, with arrays in the same places, once it was done the first time; it makes none,
            and asks the host for nothing
        """
        return work

    def row_stride(self, width: int) -> int:
        """Give the distance of the rows of a wide matrix, in elements, that its columns are read fastest at."""
        return width

    @abstractmethod
    def matmul(self, a: Array, b: Array, *, out: Array, add: bool = False) -> None:
        """Write `a @ b` to `out`, or add it; `[m, k] @ [k, n]`, or `[m, k] @ [T, k, n]` for T steps.

        `out` shares no memory with the factors.
        """

    def shared(self, size: int, dtype: Any) -> Array:
        """Make a vector of zeros that is the same one in every `process` made later."""
        return self.array(np.zeros(size, dtype))

    @abstractmethod
    def one_hot(self, ids: np.ndarray, *, out: Array) -> None:
        """Write the one-hot columns of `ids [T, B]` to `out [T, V, B]`; the id -1 is the zero vector."""

    @abstractmethod
    def lookup(self, table: Array, ids: np.ndarray, *, out: Array) -> None:
        """Write the rows of `table [V, D]` that `ids [T, B]` name to `out [T, D, B]`; the id -1 is the zero vector."""

    @abstractmethod
    def lookup_grad(self, d_out: Array, ids: np.ndarray, *, table_grad: Array) -> None:
        """Add the columns of `d_out [T, D, B]` to the rows of `table_grad [V, D]` that `ids [T, B]` name."""

    @abstractmethod
    def move_columns(self, x: Array, origin: Places, *, out: Array, to: Places) -> None:
        """Write the columns of `x [T, rows, B]` at some places to other places of `out`, which shares no memory with x.

        origin, to: the steps and the lanes of as many places, none of `to` twice
        """

    @abstractmethod
    def log_softmax(self, logits: Array) -> None:
        """Turn `logits [V, N]`, or `[V]`, into log-probabilities, in place."""

    @abstractmethod
    def pick(self, columns: Array, rows: np.ndarray) -> np.ndarray:
        """Give `columns[rows[n], n]` of `columns [V, N]` as float64 on the host; 0 where `rows[n]` is -1."""

    @abstractmethod
    def norm(self, vector: Array) -> Number:
        """Give the Euclidean norm of a flat vector, summed in float64."""

    @abstractmethod
    def clipping(self, norm: Number, most: float, dtype: Any) -> Number | None:
        """Give the factor, of a dtype, that makes a vector of this norm one of norm `most`; None, or 1, if shorter."""

    @abstractmethod
    def dropout(self, x: Array, *, rate: float, key: int, out: Array, lanes: tuple[int, int] | None = None) -> None:
        """Write x to `out` with a share `rate` of its elements zeroed and the others divided by 1 - rate.

        Which ones are zeroed is a hash of (key, index): the same key gives the same mask, on any device, so that the
        backward pass recomputes it and nothing is stored. `x` and `out` are `[T, rows, B]`, `out` contiguous.

        lanes: where x is some lanes of a batch, the first one and how many there are in all: the mask is theirs then
        """

    @abstractmethod
    def threads(self, count: int | None) -> AbstractContextManager[Any]:
        """Bound the threads of the device's work inside a `with`; None leaves them as they are."""

    @property
    def workers(self) -> int:
        """How many pieces of work `each` does at a time."""
        return 1

    @property
    def processes(self) -> int:
        """How many processes may share the work, this one counted."""
        return 1

    def process(self, function: Callable[..., Any]) -> Process:
        """Start a process that calls `function` with what it is asked; only where `processes` is more than 1."""
        raise NotImplementedError

    def alone(self) -> AbstractContextManager[Any]:
        """Have this thread do all its work by itself inside a `with`, as the other cores have theirs."""
        return nullcontext()

    def sharing(self) -> AbstractContextManager[Any]:
        """Have the workers, rather than the library of products, share the work inside a `with`; may be nested."""
        return nullcontext()

    def each(self, work: Callable[[Part], None], parts: Iterable[Part]) -> None:
        """Call `work` for each part, several at a time where the device can; they write to different memory.

        What a part computes does not depend on how many are worked on at a time. Within a part, `each` takes one part
        after the other.
        """
        for part in parts:
            work(part)

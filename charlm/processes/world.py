"""What the processes of a run have to agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:  # the command imports this room before it may import NumPy
    import numpy as np

Value = TypeVar("Value")


class World:
    """One process alone, and the interface of several.

    Every method but `send`, `receive`, `sent` and `abort` is collective: all ranks call it, in the same order.

    rank: the number of this process, from 0; size: the number of processes
    local_rank: the number among the processes of this machine
    threads: the share of this machine's processor cores; None: all of them
    is_over: whether the other processes work no more, so that this one may end alone
    """

    rank = 0
    size = 1
    local_rank = 0
    threads: int | None = None
    is_over = False

    @property
    def is_first(self) -> bool:
        """Whether this process has rank 0, which alone writes files and prints."""
        return self.rank == 0

    def broadcast(self, value: Value) -> Value:
        """Return the value of rank 0, any Python object; those of other ranks are ignored."""
        return value

    def gathered(self, value: Value) -> list[Value]:
        """Return the values of all ranks, in order, on rank 0; an empty list on the others."""
        return [value]

    def largest(self, value: int) -> int:
        """Return the largest value of all ranks."""
        return value

    def share(self, row: np.ndarray, edges: list[int]) -> None:
        """Fill in a vector of which each rank has written its part, `row[edges[rank]:edges[rank + 1]]`."""

    def deal(self, row: np.ndarray | None, owner: int, edges: list[int], out: np.ndarray) -> Any:
        """Begin to send each rank its part of a vector of the rank `owner`, as `share` has parts.

        row: the vector of the owner, not to be changed before `wait`; None on other ranks
        out: overwritten with this rank's part
        Returns what `wait` waits for.
        """
        assert row is not None
        out[...] = row
        return None

    def wait(self, begun: list[Any]) -> None:
        """Wait until all that `deal` began is done."""

    def barrier(self) -> None:
        """Wait until all ranks are here; this may take long, and leaves the processor to others."""

    def send(self, value: Any, rank: int) -> None:
        """Begin to send a Python object to another rank; those of one rank arrive in the order of their sending."""
        raise AssertionError("one process alone has no other to send to")

    def receive(self, seconds: float) -> tuple[int, Any] | None:
        """Return the next object that was sent to this rank, and the rank that sent it.

        Without an object, waits so many seconds, and returns None.
        """
        raise AssertionError("one process alone receives nothing")

    def sent(self) -> None:
        """Wait until all that this rank sent has arrived."""

    def abort(self, code: int) -> NoReturn:
        """End all processes at once with an exit code."""
        raise SystemExit(code)

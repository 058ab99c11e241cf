"""Ranks that communicate by MPI."""

from __future__ import annotations

import os
import pickle
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn

from charlm.errors import ResourceError
from charlm.processes.world import Value, World

if TYPE_CHECKING:
    import numpy as np


_PAUSE = 0.005  # seconds
# Seconds between two looks at what has arrived: MPI itself waits without sleeping, and keeps a core busy.
_SHORTEST, _LONGEST = 1e-5, 1e-3


class MPIWorld(World):
    """The ranks of MPI's world communicator.

    Raises ResourceError if mpi4py or an MPI library is not installed.
    """

    def __init__(self) -> None:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise ResourceError(
                f"several processes need mpi4py and MPI: {error}", hint="pip install 'charlm-rnn[mpi]'"
            ) from error
        self._mpi, self._all = MPI, MPI.COMM_WORLD
        self.rank, self.size = self._all.Get_rank(), self._all.Get_size()
        here = self._all.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_rank = here.Get_rank()
        # A launcher may bind each process to some of the cores.
        cores: set[int] = set().union(*here.allgather(_cores()))
        self.threads = max(1, len(cores) // here.Get_size())
        here.Free()
        self._begun: list[Any] = []  # requests of objects that are being sent

    def broadcast(self, value: Value) -> Value:
        # Not `bcast`, which also makes a copy of the value on the rank that has it.
        data = bytearray(pickle.dumps(value, pickle.HIGHEST_PROTOCOL)) if self.is_first else bytearray()
        size = self._all.bcast(len(data))
        data = data if self.is_first else bytearray(size)
        self._all.Bcast([data, self._mpi.BYTE])
        received: Value = value if self.is_first else pickle.loads(data)
        return received

    def gathered(self, value: Value) -> list[Value]:
        return self._all.gather(value) or []

    def largest(self, value: int) -> int:
        return int(self._all.allreduce(value, op=self._mpi.MAX))

    def share(self, row: np.ndarray, edges: list[int]) -> None:
        self._all.Allgatherv(self._mpi.IN_PLACE, _parts(row, edges))

    def deal(self, row: np.ndarray | None, owner: int, edges: list[int], out: np.ndarray) -> Any:
        return self._all.Iscatterv(None if row is None else _parts(row, edges), out, root=owner)

    def wait(self, begun: list[Any]) -> None:
        self._mpi.Request.Waitall(begun)

    def barrier(self) -> None:
        begun = self._all.Ibarrier()
        # MPI's own waiting keeps a core busy, which the processes that are waited for may need.
        while not begun.Test():
            time.sleep(_PAUSE)

    def send(self, value: Any, rank: int) -> None:
        self._begun = [one for one in self._begun if not one.Test()]
        self._begun.append(self._all.isend(value, rank))

    def receive(self, seconds: float) -> tuple[int, Any] | None:
        status, end, pause = self._mpi.Status(), time.monotonic() + seconds, _SHORTEST
        while (message := self._all.improbe(status=status)) is None:
            if time.monotonic() >= end:
                return None
            # Python's signal handlers run after a sleep, not inside MPI.
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST)
        return status.Get_source(), message.recv()

    def sent(self) -> None:
        self._mpi.Request.Waitall(self._begun)
        self._begun = []

    def abort(self, code: int) -> NoReturn:
        self._all.Abort(code)
        raise SystemExit(code)


def _parts(row: np.ndarray, edges: list[int]) -> list[Any]:
    """Return a vector and its parts as mpi4py reads them."""
    return [row, ([last - first for first, last in pairwise(edges)], edges[:-1])]


def _cores() -> set[int]:
    """Return the processor cores that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))

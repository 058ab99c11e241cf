"""The processes of this run: one alone, or the ranks that a launcher started."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from charlm.errors import ResourceError
from charlm.processes.launcher import launched
from charlm.processes.world import World


@cache
def world() -> World:
    """Return the processes of this run. MPI is loaded only if a launcher started several of them.

    Raises ResourceError if a launcher did, but mpi4py is not installed, or the launcher is not that of its MPI.
    """
    started = launched()
    if started is None:
        return World()
    if not started.by_mpi:
        raise ResourceError(
            f"srun started {started.size} processes without MPI", hint="start them with: srun --mpi=pmi2 charlm ..."
        )
    # NumPy, which it imports, takes longer than `charlm --help`.
    from charlm.processes.mpi import MPIWorld

    found = MPIWorld()
    if found.size != started.size:
        raise ResourceError(
            f"the launcher started {started.size} processes, and MPI found {found.size}",
            hint="use the mpiexec of the MPI that mpi4py was built with",
        )
    return found


def is_shared() -> bool:
    """Return whether `world` has found several processes that still work together."""
    return world.cache_info().currsize > 0 and world().size > 1 and not world().is_over


def end_all(code: int, *, before: Callable[[], object]) -> None:
    """End all processes with an exit code if several work together; before: called just before that."""
    if is_shared():
        before()
        world().abort(code)

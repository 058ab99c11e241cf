"""The processes of a run, and what they send each other; with MPI where a launcher such as mpiexec started them."""

from charlm.processes.current import end_all, is_shared, world
from charlm.processes.launcher import Launched, launched
from charlm.processes.pool import ProcessPool, active, mapped
from charlm.processes.world import World

__all__ = [
    "Launched",
    "ProcessPool",
    "World",
    "active",
    "end_all",
    "is_shared",
    "launched",
    "mapped",
    "world",
]

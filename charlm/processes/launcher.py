"""What the environment says about the launcher that started this process, such as mpiexec or srun."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

# Names of the number of processes and of the rank: MPICH and Intel MPI (PMI), Open MPI, and steps of srun.
_VARIABLES = (
    ("PMI_SIZE", "PMI_RANK"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
)


@dataclass(frozen=True)
class Launched:
    """A process that a launcher started: its rank, from 0, among `size` processes.

    by_mpi: whether the launcher knows MPI; false of srun without an MPI plugin
    """

    rank: int
    size: int
    by_mpi: bool = True


def launched(environment: Mapping[str, str] = os.environ) -> Launched | None:
    """Return how this process was started; None if it was started alone.

    A batch script of Slurm has variables of its job, but only srun starts a step of several tasks.
    """
    for of_size, of_rank in _VARIABLES:
        size, rank = environment.get(of_size, ""), environment.get(of_rank, "0")
        if size.isdecimal() and rank.isdecimal() and int(size) > 1:
            by_mpi = not of_size.startswith("SLURM") or any(name.startswith("PMIX_") for name in environment)
            return Launched(int(rank), int(size), by_mpi)
    return None

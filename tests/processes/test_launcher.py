"""How a process finds out who started it, and which world it gets."""

import sys

import pytest

from charlm.errors import ResourceError
from charlm.processes import Launched, World, current, launched, world
from tests import forms

ENVIRONMENTS = [
    ({}, None),
    ({"PMI_SIZE": "1", "PMI_RANK": "0"}, None),
    ({"PMI_SIZE": "4", "PMI_RANK": "3"}, Launched(3, 4)),
    ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, Launched(1, 2)),
    ({"SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": "2", "PMIX_RANK": "2"}, Launched(2, 3)),
    ({"SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": "2"}, Launched(2, 3, by_mpi=False)),
    # A batch script, in which no step was started.
    ({"SLURM_NTASKS": "3", "SLURM_PROCID": "0", "SLURM_JOB_ID": "7"}, None),
    ({"PMI_SIZE": "many", "PMI_RANK": "0"}, None),
]


@pytest.fixture
def anew(monkeypatch):
    """Find the world of an environment, without what the tests themselves were started with."""
    for name in ("PMI_SIZE", "PMI_RANK", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    world.cache_clear()
    yield monkeypatch
    world.cache_clear()


@forms.each(("environment, expected"), ENVIRONMENTS)
def test_the_launcher_is_known_by_its_variables(environment, expected):
    assert launched(environment) == expected


def test_a_process_alone_loads_no_mpi(anew):
    anew.setitem(sys.modules, "mpi4py", None)
    alone = world()
    assert type(alone) is World and (alone.rank, alone.size, alone.is_first) == (0, 1, True)
    assert (alone.broadcast("a"), alone.gathered("a"), alone.largest(3)) == ("a", ["a"], 3)
    assert not current.is_shared()


def test_without_mpi4py_the_extra_is_named(anew):
    anew.setitem(sys.modules, "mpi4py", None)
    anew.setenv("PMI_SIZE", "2")
    with pytest.raises(ResourceError, match="mpi4py") as error:
        world()
    assert "charlm-rnn[mpi]" in error.value.hint


def test_srun_without_mpi_is_told_apart(anew):
    anew.setenv("SLURM_STEP_NUM_TASKS", "2")
    with pytest.raises(ResourceError, match="2 processes") as error:
        world()
    assert "--mpi=pmi2" in error.value.hint

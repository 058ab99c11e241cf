"""Several processes of one command: `mpiexec -n N charlm train`, and who prints, stops and fails."""

import os
import random
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from charlm.backends import get_backend
from charlm.checkpoint import load
from charlm.cli import training_ranks, ui
from charlm.processes import World, world
from tests.cli.conftest import TINY
from tests.cli.shell import SECONDS, Result, environment, run

MPIEXEC = Path(sys.executable).parent / "mpiexec"
needs_mpi = pytest.mark.skipif(
    find_spec("mpi4py") is None or not MPIEXEC.exists(), reason="mpi4py is not installed: make mpi"
)
SMALL = (*TINY[:-2], "--seed", 1, "--dropout", 0.2, "--keep-checkpoint")
# `charlm` that saves after every step; what a process is to do besides comes in front.
SAVING = """
import os, sys
from charlm import saving
from charlm.cli import app
from charlm.training import Trainer
saving.SAVE_SECONDS, saving.SAVE_RATIO = {True: 0.0, False: 0.0}, 0.0
"""
END = "sys.exit(app.main(sys.argv[1:]))"
SLOWLY = """
import time
step = Trainer._step
def slow(self, *args):
    time.sleep(0.05)
    return step(self, *args)
Trainer._step = slow
"""
FAILING = """
step = Trainer._step
def broken(self, *args):
    if self.step == 5 and os.environ["PMI_RANK"] == "1":
        raise ValueError("odd")
    return step(self, *args)
Trainer._step = broken
"""


class Launched:
    """`mpiexec -n N` of a Python program, or of `charlm`."""

    def __init__(self, count, *args, code=None):
        program = ["-m", "charlm"] if code is None else ["-c", code]
        command = [str(MPIEXEC), "-n", str(count), sys.executable, *program, *map(str, args)]
        self.process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def result(self, seconds=SECONDS):
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            raise
        return Result(self.process.returncode, out, err.decode())

    def ranks(self):
        """Return the numbers of the processes that it started, in the order of their ranks."""
        found, after = [], [self.process.pid]
        while after:
            listed = Path(f"/proc/{after.pop()}/task").glob("*/children")
            children = [int(pid) for one in listed for pid in one.read_text().split()]
            for pid in children:
                is_rank = Path(f"/proc/{pid}/cmdline").read_bytes().startswith(sys.executable.encode() + b"\0")
                (found if is_rank else after).append(pid)
        return sorted(found)


def opened(path):
    return load(path, get_backend("cpu"))


def mpiexec(count, *args, **options):
    return Launched(count, *args, **options).result()


@pytest.fixture
def as_rank(monkeypatch):
    """Return a function that makes this process seem to be a rank of two, before they communicate."""

    def become(rank):
        monkeypatch.setenv("PMI_SIZE", "2")
        monkeypatch.setenv("PMI_RANK", str(rank))

    yield become
    world.cache_clear()


# --- in one process ---------------------------------------------------------------------------------------------------


def test_shards_are_stored_and_resumed(trained, charlm, tmp_path):
    train = ("train", trained.names, "-o", tmp_path / "m")
    charlm(*train, *SMALL, "--max-steps", 6, "--shards", 4).succeeded()
    whole = (tmp_path / "m.ckpt.safetensors").read_bytes()
    assert opened(tmp_path / "m.safetensors").language_model.train.shards == 4
    assert " in 4 shards" in charlm("inspect", tmp_path / "m").succeeded().text
    charlm(*train, "--resume", "--keep-checkpoint", "--max-steps", 8).succeeded()
    charlm(*train, "--resume", "--shards", 2).failed(2, "--shards 2 differs")
    # Without the flag, a mini-batch is learned in one piece, and the bits are others.
    charlm(*train, *SMALL, "--max-steps", 6, "--force").succeeded()
    assert (tmp_path / "m.ckpt.safetensors").read_bytes() != whole


def test_commands_that_share_nothing_refuse_once(as_rank, charlm, trained):
    as_rank(0)
    charlm("generate", trained.char).failed(2, "2 processes of charlm generate", "mpiexec")
    as_rank(1)
    assert charlm("generate", trained.char) == Result(2, b"", "")
    assert charlm("train") == Result(2, b"", "")


class Two(World):
    """The first of two processes, as far as options are agreed on."""

    size = 2
    threads = 3

    def broadcast(self, value):
        return value


def test_what_several_processes_cannot_share_is_refused(charlm, trained, monkeypatch, tmp_path):
    monkeypatch.setattr(training_ranks, "world", Two)
    train = ("train", trained.names, "-o", tmp_path / "m")
    charlm(*train, "--seeds", 2).failed(2, "--seeds with 2 processes")
    charlm(*train, "--dry-run").failed(2, "--dry-run with 2 processes")
    charlm("train", "-", "-o", tmp_path / "m").failed(2, "standard input")
    charlm(*train, "--valid", "-").failed(2, "standard input")
    assert not list(tmp_path.iterdir())


def test_processes_that_read_different_texts_are_stopped(charlm, trained, monkeypatch, tmp_path):
    """As on two hosts with a copy of the corpus each, of which one is older."""
    monkeypatch.setattr(training_ranks, "world", Two)
    monkeypatch.setattr(Two, "gathered", lambda self, value: [value, ("0" * 64, value[1])], raising=False)
    charlm("train", trained.names, "-o", tmp_path / "m", *SMALL).failed(3, "different texts", "disk")


@pytest.mark.parametrize(("size", "shards"), [(2, 8), (8, 8), (9, 16), (16, 16)])
def test_the_number_of_shards_fits_the_processes(monkeypatch, size, shards):
    monkeypatch.setattr(Two, "size", size)
    monkeypatch.setattr(training_ranks, "world", Two)
    values = dict.fromkeys(("seeds", "dry_run", "valid", "threads", "resume"))
    options = training_ranks.TrainOptions({**values, "corpus": ["a"], "seed": 4, "shards": 1}, {}, {})
    found = training_ranks.agreed(options)
    assert (found.values["shards"], found.given["shards"], found.values["threads"]) == (shards, shards, 3)
    resumed = training_ranks.TrainOptions({**options.values, "resume": True}, {}, {})
    assert training_ranks.agreed(resumed).given == {}


def test_other_processes_print_errors_alone(capfd, monkeypatch):
    monkeypatch.setattr(ui.settings, "process", "process 3: ")
    ui.warn("a")
    ui.note("b")
    ui.needed("c")
    assert capfd.readouterr().err == ""
    ui.error("out of memory", "try less")
    assert capfd.readouterr().err == "charlm: error: process 3: out of memory\nhint: try less\n"


# --- under mpiexec ----------------------------------------------------------------------------------------------------


def digest(folder, name):
    return [(folder / f"{name}{suffix}").read_bytes() for suffix in (".safetensors", ".ckpt.safetensors")]


@needs_mpi
@pytest.mark.slow
def test_ranks_write_the_files_of_one_process(trained, tmp_path):
    flags = (*SMALL, "--max-steps", 12, "--unit", "stream")
    alone = run("train", trained.names, "-o", tmp_path / "alone", *flags, "--shards", 8).succeeded()
    shared = mpiexec(2, "train", trained.names, "-o", tmp_path / "shared", *flags).succeeded()
    assert digest(tmp_path, "alone") == digest(tmp_path, "shared")
    assert alone.err.count("step 12/12") == shared.err.count("step 12/12") == 1
    told = [line for line in shared.err.splitlines() if line.startswith("2 processes share each mini-batch")]
    assert len(told) == 1 and "--shards 8" in told[0]


@needs_mpi
@pytest.mark.slow
def test_a_signal_stops_all_ranks_at_one_step_and_other_ranks_go_on(trained, tmp_path):
    flags = (*SMALL, "--max-steps", 60, "--unit", "stream")
    run("train", trained.sentences, "-o", tmp_path / "straight", *flags, "--shards", 8).succeeded()
    stopped = Launched(3, "train", trained.sentences, "-o", tmp_path / "m", *flags, code=SAVING + SLOWLY + END)
    path = tmp_path / "m.ckpt.safetensors"
    while not path.exists() or opened(path).training.numbers.step < 5:
        assert stopped.process.poll() is None
        time.sleep(0.02)
    stopped.process.send_signal(signal.SIGINT)
    result = stopped.result()
    assert result.code == 130
    assert sum("stopped at step" in line for line in result.err.splitlines()) == 1
    assert "mpiexec -n 3 charlm train" in result.err
    assert 5 <= opened(path).training.numbers.step < 60
    mpiexec(2, "train", trained.sentences, "-o", tmp_path / "m", "--resume", "--keep-checkpoint", "-q").succeeded()
    assert digest(tmp_path, "m") == digest(tmp_path, "straight")


@needs_mpi
@pytest.mark.slow
def test_a_killed_rank_ends_all_and_leaves_a_whole_checkpoint(trained, tmp_path):
    draw = random.Random(2)
    for attempt in range(2):
        flags = (*SMALL, "--max-steps", 100_000, "--force")
        running = Launched(2, "train", trained.names, "-o", tmp_path / "m", *flags, code=SAVING + END)
        path = tmp_path / "m.ckpt.safetensors"
        while not path.exists():
            assert running.process.poll() is None
            time.sleep(0.02)
        time.sleep(draw.random() / 2)
        ranks = running.ranks()
        os.kill(ranks[attempt % 2], signal.SIGKILL)
        assert running.result(10).code != 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in ranks)
        assert opened(path).training is not None
        path.unlink()


@needs_mpi
@pytest.mark.slow
def test_an_exception_of_a_rank_ends_all_with_its_code(trained, tmp_path):
    flags = (*SMALL, "--max-steps", 99)
    result = mpiexec(2, "train", trained.names, "-o", tmp_path / "m", *flags, code=SAVING + FAILING + END)
    assert result.code == 1
    errors = [line for line in result.err.splitlines() if line.startswith("charlm: error:")]
    assert len(errors) == 1 and "process 1: " in errors[0] and "odd" in errors[0]
    assert opened(tmp_path / "m.ckpt.safetensors").training.numbers.step == 5


@needs_mpi
@pytest.mark.slow
def test_an_error_of_all_ranks_is_printed_once(trained, tmp_path):
    mpiexec(2, "train", trained.names, "-o", tmp_path / "m", *SMALL, "--shards", 1).failed(2, "--shards 1")
    flags = (*SMALL, "--lr", 1e9, "--optimizer", "sgd", "--clip", 0, "--max-steps", 40)
    mpiexec(2, "train", trained.names, "-o", tmp_path / "m", *flags, "-q").failed(5, "diverged")

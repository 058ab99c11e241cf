"""Several processes beside one: the speed of two ranks, and where the network between hosts becomes the limit.

    python -m tests.benchmarks.processes speed      two ranks beside one process with two threads, by turns
    python -m tests.benchmarks.processes network    the table of the guide, from steps measured here
    python -m tests.benchmarks.processes simulate   the same, by a rank that sleeps for the time of each transfer

`speed` needs mpi4py (`make mpi`) and a machine that does nothing else.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charlm.backends import get_backend
from charlm.config import ModelConfig, TrainConfig
from charlm.nn.build import build
from charlm.processes import World, world
from charlm.text.dataset import Dataset
from charlm.training import Trainer


@dataclass(frozen=True)
class Case:
    """A network of two layers of LSTM cells, and its mini-batches; embedding: 0 for one-hot tokens."""

    name: str
    vocabulary: int
    hidden: int
    embedding: int = 0
    lanes: int = 64
    steps: int = 64


CASES = [
    Case("2x128, characters", 64, 128),
    Case("2x256, characters", 64, 256),
    Case("2x512, characters", 64, 512),
    Case("2x200, 10,000 words", 10_000, 200, 200, 32, 35),
]
PAIRS, SECONDS = 3, 4.0  # turns, and about so long each

# --- the network ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Link:
    """A network: bytes a second in each direction of a host, and seconds before the first byte of a message."""

    bandwidth: float
    latency: float


LINKS = {"1 Gbit/s": Link(0.118e9, 50e-6), "10 Gbit/s": Link(1.18e9, 30e-6), "100 Gbit/s": Link(11.8e9, 3e-6)}
HOSTS = (1, 4, 16, 64)
_EXCHANGES = 3  # of a step: the gradient is dealt out and gathered, and the losses are gathered


def bytes_a_step(parameters, hosts):
    """Return the bytes that a host sends in a step, and receives: float32, a shard or a power of two of them a host."""
    return 2 * 4 * parameters * (hosts - 1) / hosts


def transfer_seconds(parameters, hosts, link):
    """Return the time that the messages of a step take."""
    return bytes_a_step(parameters, hosts) / link.bandwidth + _EXCHANGES * (hosts - 1) * link.latency


def efficiency(step_seconds, parameters, hosts, link):
    """Return the speed of hosts that each learn a batch of one size, as a share of that many times the speed of one.

    step_seconds: of a step of one host
    """
    return step_seconds / (step_seconds + transfer_seconds(parameters, hosts, link))


class SimulatedHost(World):
    """The first of several hosts. It waits for as long as its messages would take, and receives zeros."""

    def __init__(self, size, link):
        self.size, self.link = size, link
        self.sent = self.received = 0
        self.slept = 0.0  # seconds

    def gathered(self, value):
        return [value] * self.size

    def deal(self, row, owner, edges, out):
        out[...] = 0
        if owner == self.rank:
            out[...] = row[edges[0] : edges[1]]
            self.sent += row.nbytes - out.nbytes
        else:
            self.received += out.nbytes

    def wait(self, begun):
        self._sleep()

    def share(self, row, edges):
        own = row[: edges[1]].nbytes
        self.sent += (self.size - 1) * own
        self.received += row.nbytes - own
        row[edges[1] :] = 0
        self._sleep()

    def _sleep(self):
        begin = time.perf_counter()
        time.sleep(max(self.sent, self.received) / self.link.bandwidth + (self.size - 1) * self.link.latency)
        self.slept += time.perf_counter() - begin
        self.sent = self.received = 0


# --- steps ------------------------------------------------------------------------------------------------------------


def trainer_of(case, *, shards=1, hosts=1):
    """Return a trainer of a case on random tokens, with as many lanes for each host."""
    lanes = case.lanes * hosts
    ids = np.random.default_rng(1).integers(1, case.vocabulary, lanes * case.steps * 8).astype(np.int32)
    data = Dataset.of(ids, np.array([0, ids.size]), "stream")
    network = {"hidden_size": case.hidden, "num_layers": 2, "embedding_size": case.embedding}
    model = build(ModelConfig(case.vocabulary, **network), get_backend("cpu"), seed=1)
    config = TrainConfig(max_steps=1 << 30, shards=shards, batch_size=lanes)
    return Trainer(model, config, data.batches(lanes, case.steps, seed=1), None)


def seconds_a_step(trainer, seconds=SECONDS, processes=None, clock=time.perf_counter):
    """Return the median time of a step, after some that allocate the buffers."""
    return by_turns([(trainer, clock)], seconds, processes)[0]


def by_turns(runs, seconds=SECONDS, processes=None):
    """Return the median times of a step of some trainings, each with a clock of its own, which step in turn."""
    processes, times, turns = processes or World(), [], [trainer.run() for trainer, _ in runs]
    for _ in range(3):
        for run in turns:
            next(run)
    end = time.perf_counter() + seconds
    while len(times) < 5 or processes.broadcast(time.perf_counter() < end):
        took = []
        for run, (_, clock) in zip(turns, runs, strict=True):
            begin = clock()
            next(run)
            took.append(clock() - begin)
        times.append(took)
    return [statistics.median(column) for column in zip(*times, strict=True)]


def child(number, shards, threads):
    """Print the time of a step of a case, shared with the other ranks if there are some."""
    trainer, processes = trainer_of(CASES[number], shards=shards), world()
    if processes.size > 1:
        trainer.share(processes)
    with trainer.model.ops.workers.limit(threads):
        found = seconds_a_step(trainer, processes=processes)
    if processes.is_first:
        print(json.dumps(found))


def measured(number, *, shards, threads, ranks=1):
    """Return the time of a step of processes of their own."""
    launcher = [str(Path(sys.executable).parent / "mpiexec"), "-n", str(ranks)] if ranks > 1 else []
    command = [*launcher, sys.executable, "-m", "tests.benchmarks.processes", "child", number, shards, threads]
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    done = subprocess.run([*map(str, command)], env=env, capture_output=True, text=True, check=True)
    return float(done.stdout)


def speed():
    """Print the speed of two ranks beside that of one process with two threads."""
    print("| network | 2 threads, ms a step | 2 threads, 8 shards | 2 ranks, 8 shards | 2 ranks, 2 shards | ratio |")
    print("|---|---|---|---|---|---|")
    for number, case in enumerate(CASES):
        ways = [
            {"shards": 1, "threads": 2},
            {"shards": 8, "threads": 2},
            {"shards": 8, "threads": 1, "ranks": 2},
            {"shards": 2, "threads": 1, "ranks": 2},
        ]
        turns = [[measured(number, **way) for way in ways] for _ in range(PAIRS)]
        shown = " | ".join(f"{1e3 * statistics.median(times):.1f}" for times in zip(*turns, strict=True))
        ratios = [statistics.median(turn[1 - (at == 3)] / turn[at] for turn in turns) for at in (2, 3)]
        # Beside one process with as many shards, and beside one without shards.
        print(f"| {case.name} | {shown} | {ratios[0]:.2f}, {ratios[1]:.2f} |", flush=True)


def row(name, parameters, milliseconds):
    """Return a row of the table: a network, and its efficiency on several hosts by link."""

    def share(hosts, link):
        return f"{100 * efficiency(milliseconds / 1e3, parameters, hosts, link):.0f} %"

    shares = [" / ".join(share(hosts, link) for link in LINKS.values()) for hosts in HOSTS[1:]]
    most = bytes_a_step(parameters, HOSTS[-1]) / 1e6
    return f"| {name} | {parameters:,} | {most:.1f} | {milliseconds:.0f} | {' | '.join(shares)} |"


def network():
    """Print the table of the guide; a step is that of one core, in seconds of the processor."""
    for case in CASES:
        trainer = trainer_of(case)
        with trainer.model.ops.workers.limit(1):
            milliseconds = round(1e3 * seconds_a_step(trainer, clock=time.process_time))
        print(row(case.name, trainer.model.parameters.count, milliseconds), flush=True)


def simulate(cases=CASES, hosts=HOSTS[1:], links=("1 Gbit/s", "10 Gbit/s"), seconds=SECONDS):
    """Return and print the efficiency of simulated hosts beside the computed one.

    Both step in turn. Time is that of the processor, on one core, and that of the sleep.
    """
    found = []
    for case in cases:
        for count in hosts:
            for name in links:
                single, trainer = trainer_of(case), trainer_of(case, shards=count, hosts=count)
                host = SimulatedHost(count, LINKS[name])
                trainer.share(host)
                clocks = (time.process_time, lambda host=host: time.process_time() + host.slept)
                with single.model.ops.workers.limit(1), trainer.model.ops.workers.limit(1):
                    alone, took = by_turns([*zip((single, trainer), clocks, strict=True)], seconds)
                share = alone / took
                expected = efficiency(alone, trainer.model.parameters.count, count, LINKS[name])
                found.append((share, expected))
                print(f"{case.name}, {count} hosts, {name}: {share:.0%}, computed {expected:.0%}", flush=True)
    return found


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    {"speed": speed, "network": network, "simulate": simulate, "child": child}[what](*map(int, arguments))

"""One side of one case, in a process of its own, so that neither library's threads or memory are in the other's way.

    python -m tests.benchmarks.speed_worker charlm|torch CASE THREADS FORM      writes {"megabytes": ...}, and then the
                                                                      tokens per second for each line of seconds read
    python -m tests.benchmarks.speed_worker choose CASE THREADS SECONDS         writes PyTorch's fastest form
    python -m tests.benchmarks.speed_worker machine THREADS                     writes what a table's head needs

`speed.py` starts it, in the project's folder.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.benchmarks.memory import children, private
from tests.benchmarks.speed_cases import SETTLING, Case, Step, case_named, lines_of

# The kernel counts a parent's memory to a child that it starts: this one has next to none.
_SMALL = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def charlm_step(case: Case, threads: int, folder: Path, stack: ExitStack) -> tuple[Step, list[str]]:
    """Return the work of a case by charlm, and the command that it is, of a whole process.

    stack: what keeps the number of threads while the work is done
    """
    from dataclasses import replace

    from charlm import benchmark
    from charlm.config import TrainConfig

    network = {"cell": case.cell, "hidden_size": case.hidden, "embedding_size": case.embedding}
    config = TrainConfig(batch_size=case.batch, seq_length=case.steps)
    work = benchmark.synthetic_workload(
        network, "word" if case.embedding else "char", config, vocabulary_size=case.vocabulary
    )
    stack.enter_context(work.language_model.model.ops.workers.limit(threads))
    if case.kind == "train":
        return benchmark.training(work)[0], []
    if case.kind == "generate":
        return benchmark.generation(work.language_model), []
    if case.kind == "score":
        return benchmark.scoring(replace(work, lines=lines_of(case))), []
    command = benchmark.start_command(work.language_model, folder, threads)
    return benchmark.starting(work.language_model, folder, threads), command


def torch_step(case: Case, form: dict[str, Any], folder: Path) -> tuple[Step, list[str]]:
    """Return the work of a case by PyTorch, and the command that it is, of a whole process."""
    from tests.benchmarks.torch_forms import start_command, step_of

    return step_of(case, form), start_command(form, folder) if case.kind == "start" else []


def megabytes(command: list[str]) -> float:
    """Return the peak memory of a command or, without one, of this process and what those that share its work add."""
    if command:
        run = [sys.executable, "-I", "-c", _SMALL, *command]
        return int(subprocess.run(run, capture_output=True, check=True).stdout) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 + sum(map(private, children(os.getpid())))


def serve(step: Step, command: list[str], kind: str) -> None:
    """Settle, tell the memory, and then measure as often as asked."""
    for _ in range(SETTLING[kind]):
        step()
    print(json.dumps({"megabytes": megabytes(command)}), flush=True)
    for line in sys.stdin:
        seconds = float(line)
        if kind != "start":
            step()  # the other side had the caches
        tokens, begin = 0, time.perf_counter()
        while not tokens or time.perf_counter() - begin < seconds:
            tokens += step()
        print(json.dumps(tokens / (time.perf_counter() - begin)), flush=True)


def machine(threads: int) -> dict[str, Any]:
    """Return the best float32 product in GFLOP/s, what multiplies, and the versions."""
    from importlib.metadata import version

    from threadpoolctl import threadpool_info

    from charlm.backends import NumpyBackend
    from charlm.benchmark import best_product

    ops = NumpyBackend()
    with ops.workers.limit(threads):
        best = best_product(ops, "float32", 2.0)
    blas = next((pool for pool in threadpool_info() if pool["user_api"] == "blas"), {})
    return {
        "gflops": best / 1e9,
        "numpy": version("numpy"),
        "torch": version("torch"),
        "blas": f"{blas.get('internal_api')} {blas.get('version')}, core type {blas.get('architecture')}",
    }


def main() -> None:
    """Do what the first argument says."""
    task = sys.argv[1]
    if task == "machine":
        print(json.dumps(machine(int(sys.argv[2]))))
        return
    case, threads = case_named(sys.argv[2]), int(sys.argv[3])
    if task == "choose":
        from tests.benchmarks.torch_forms import fastest_form

        form, tried = fastest_form(case, threads, float(sys.argv[4]))
        print(json.dumps({"form": form, "tried": tried}))
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        if task == "charlm":
            step, command = charlm_step(case, threads, Path(folder), stack)
        else:
            step, command = torch_step(case, json.loads(sys.argv[4]), Path(folder))
        serve(step, command, case.kind)


if __name__ == "__main__":
    main()

"""One side of one case, in a process of its own, so that neither library's threads or memory are in the other's way.

    python -m tests.benchmarks.speed_worker charlm|torch CASE THREADS FORM      writes {"megabytes": ...}, and then
                                                    {"speed": ..., "others": ...} for each line of seconds that it reads
    python -m tests.benchmarks.speed_worker choose CASE THREADS SECONDS WAY     writes PyTorch's fastest form
    python -m tests.benchmarks.speed_worker facts CASE                          writes the operations a token of a case,
                                                                                or why charlm refuses it
    python -m tests.benchmarks.speed_worker peak THREADS DTYPE SECONDS          writes {"gflops": ..., "others": ...}
    python -m tests.benchmarks.speed_worker machine                             writes versions

`speed` is in tokens per second. `others` is the share of the cores' time that other processes took meanwhile.
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

from tests.benchmarks.speed_cases import SETTLING, Case, Step, case_named, lines_of
from tests.benchmarks.windows import Clock

# The kernel counts a parent's memory to a child that it starts: this one has next to none.
_SMALL = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def workload_of(case: Case) -> Any:
    """Return charlm's network and text of a case; raises CharlmError if it has no such network here."""
    from charlm import benchmark
    from charlm.config import TrainConfig

    network = {
        "cell": case.cell,
        "hidden_size": case.hidden,
        "embedding_size": case.embedding,
        "dtype": case.dtype,
    }
    config = TrainConfig(batch_size=case.batch, seq_length=case.steps)
    return benchmark.synthetic_workload(
        network, "word" if case.embedding else "char", config, vocabulary_size=case.vocabulary
    )


def charlm_step(case: Case, threads: int, folder: Path, stack: ExitStack) -> tuple[Step, list[str]]:
    """Return the work of a case by charlm, and, if it is a whole process, its command.

    stack: keeps the number of threads while the work is done
    """
    from dataclasses import replace

    from charlm import benchmark

    work = workload_of(case)
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
    """Return the work of a case by PyTorch, and, if it is a whole process, its command."""
    from tests.benchmarks.torch_forms import start_command, step_of

    return step_of(case, form), start_command(form, folder) if case.kind == "start" else []


def megabytes(command: list[str]) -> float:
    """Return the peak memory of a command or, without one, of this process."""
    if command:
        run = [sys.executable, "-I", "-c", _SMALL, *command]
        return int(subprocess.run(run, capture_output=True, check=True).stdout) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def serve(step: Step, command: list[str], kind: str) -> None:
    """Run the first steps, write the memory, and then measure as often as asked."""
    for _ in range(SETTLING[kind]):
        step()
    print(json.dumps({"megabytes": megabytes(command)}), flush=True)
    for line in sys.stdin:
        seconds = float(line)
        if kind != "start":
            step()  # the other side had the caches
        before, tokens, begin = Clock.read(os.getpid()), 0, time.perf_counter()
        while not tokens or time.perf_counter() - begin < seconds:
            tokens += step()
        speed = tokens / (time.perf_counter() - begin)
        print(json.dumps({"speed": speed, "others": Clock.read(os.getpid()).others_since(before)}), flush=True)


def facts(case: Case) -> dict[str, Any]:
    """Return the operations a token of a case, None for a whole process, or why charlm refuses the case."""
    from charlm.benchmark import operations_per_token
    from charlm.errors import CharlmError

    try:
        model = workload_of(case).language_model.model
    except CharlmError as error:
        return {"refusal": error.message}
    return {"refusal": None, "operations": None if case.kind == "start" else operations_per_token(model, case.kind)}


def peak(threads: int, dtype: str, seconds: float) -> dict[str, float]:
    """Return the fastest arithmetic of the machine in GFLOP/s."""
    from charlm.backends import get_backend
    from charlm.benchmark import best_rate

    ops, before = get_backend("cpu"), Clock.read(os.getpid())
    with ops.workers.limit(threads):
        best = best_rate(ops, dtype, seconds)
    return {"gflops": best / 1e9, "others": Clock.read(os.getpid()).others_since(before)}


def machine() -> dict[str, str]:
    """Return the core that charlm computes with, and the versions of the libraries."""
    from importlib.metadata import version

    from threadpoolctl import threadpool_info

    from charlm.backends import get_backend

    core = get_backend("cpu").core
    blas = next((pool for pool in threadpool_info() if pool["user_api"] == "blas"), {})
    return {
        "core": core,
        "numpy": version("numpy"),
        "torch": version("torch"),
        "blas": f"{blas.get('internal_api')} {blas.get('version')}, core type {blas.get('architecture')}",
    }


def answered_once(task: str, arguments: list[str]) -> Any:
    """Return the answer to a task that has one."""
    if task == "machine":
        return machine()
    if task == "peak":
        return peak(int(arguments[0]), arguments[1], float(arguments[2]))
    case = case_named(arguments[0])
    if task == "facts":
        return facts(case)
    from tests.benchmarks.torch_forms import fastest_form

    form, tried = fastest_form(case, int(arguments[1]), float(arguments[2]), arguments[3])
    return {"form": form, "tried": tried}


def main() -> None:
    """Do what the first argument says."""
    task, *arguments = sys.argv[1:]
    if task not in ("charlm", "torch"):
        print(json.dumps(answered_once(task, arguments)))
        return
    case, threads = case_named(arguments[0]), int(arguments[1])
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        if task == "charlm":
            step, command = charlm_step(case, threads, Path(folder), stack)
        else:
            step, command = torch_step(case, json.loads(arguments[2]), Path(folder))
        serve(step, command, case.kind)


if __name__ == "__main__":
    main()

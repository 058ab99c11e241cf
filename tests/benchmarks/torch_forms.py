"""PyTorch's fastest form of each case, found by trying all of them. The first one is the usual one."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from charlm.benchmark import compiled_once
from tests.benchmarks.speed_cases import STARTED, Case, Step
from tests.benchmarks.torch_sampling import sampling
from tests.benchmarks.torch_scoring import scoring
from tests.benchmarks.torch_switches import switch
from tests.benchmarks.torch_training import training

PROJECT = Path(__file__).resolve().parents[2]


def forms(case: Case, threads: int, way: str = "") -> list[dict[str, Any]]:
    """Return every form of a case, the usual one first.

    way: one of `Case.beside`, whose forms are returned in place of those that the case is compared with
    """
    onednn = (True, False) if case.cell == "lstm" and not way else (True,)  # it has no other layers
    chosen: dict[str, tuple[Any, ...]] = {"onednn": onednn, "threads": (threads,)}
    if case.kind == "train":
        chosen |= {"adam": ("fused", "foreach"), "input": ("embedding",) if case.embedding else ("one_hot", "identity")}
        if "bfloat16" in (way, case.dtype):
            chosen["precision"] = ("bfloat16",)
    elif case.kind == "score":
        chosen |= {"batches": ("padded", "packed"), "rows": (0, 256, 1024)}
    else:
        nets = {"": ("LSTM", "lstm_cell"), "int8": ("LSTM",), "TorchScript": ("script",)}[way]
        chosen |= {"net": nets, "draw": ("multinomial", "sums"), "threads": tuple({threads, 1})}
        if way == "int8" or case.dtype == "bfloat16":
            chosen["precision"] = (way or case.dtype,)
    every = (dict(zip(chosen, values, strict=True)) for values in itertools.product(*chosen.values()))
    return [form for form in every if form.get("net") != "lstm_cell" or form["onednn"]]  # it never asks oneDNN


def step_of(case: Case, form: dict[str, Any]) -> Step:
    """Return the work of a case in a form."""
    if case.kind == "start":
        return starting(form)
    switch(form)
    return {"train": training, "generate": sampling, "score": scoring}[case.kind](case, form)


def start_command(form: dict[str, Any], folder: Path) -> list[str]:
    """Save a network to a folder, and return the command that samples from it."""
    run = [sys.executable, "-m", "tests.benchmarks.torch_start"]
    subprocess.run([*run, "save", str(folder)], cwd=PROJECT, check=True)
    return [*run, json.dumps(form), str(folder)]


def starting(form: dict[str, Any]) -> Step:
    """Return the run of a whole process."""
    folder = tempfile.TemporaryDirectory()
    command, environment = start_command(form, Path(folder.name)), compiled_once()

    def step() -> int:
        assert folder  # it lives as long as the step
        subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, check=True)
        return STARTED

    return step


def fastest_form(case: Case, threads: int, seconds: float, way: str = "") -> tuple[dict[str, Any], list[str]]:
    """Return the fastest form, and a line for each: all are tried, then the better half once more, and so on.

    seconds: of each trial, whose fastest step counts: other work on the machine only ever slows a step down
    way: as for `forms`
    """
    if case.kind == "start":  # of such a process only the sampling has forms
        case = replace(case, kind="generate")
    left = [(0.0, form) for form in forms(case, threads, way)]
    out: list[tuple[float, dict[str, Any]]] = []
    while len(left) > 1:
        left = sorted(((max(best, _speed(case, form, seconds)), form) for best, form in left), key=lambda one: -one[0])
        half = len(left) // 2
        left, out = left[:half], left[half:] + out
    return left[0][1], [f"{best:>12,.0f}  {json.dumps(form)}" for best, form in left + out]


def _speed(case: Case, form: dict[str, Any], seconds: float) -> float:
    """Return the tokens per second of the fastest step."""
    step, best = step_of(case, form), 0.0
    step()
    end = time.perf_counter() + seconds
    while not best or time.perf_counter() < end:
        begin = time.perf_counter()
        tokens = step()
        best = max(best, tokens / (time.perf_counter() - begin))
    return best

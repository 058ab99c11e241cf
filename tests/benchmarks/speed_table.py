"""The table of `speed.md`."""

from __future__ import annotations

import datetime
import platform
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.speed_cases import Case
from tests.benchmarks.windows import MOST_OTHERS

FILE = Path(__file__).with_name("speed.md")


@dataclass(frozen=True)
class Row:
    """Both sides of one case.

    ours, theirs: medians of tokens per second
    ratios: of each pair, from least to most
    our_megabytes, their_megabytes: peak memory
    form: PyTorch's
    dropped, disturbed: turns that were measured again, and turns that count although other processes disturbed them
    share: of the machine's peak, for charlm; None for a whole process
    beside: PyTorch's tokens per second in other ways, which charlm is not compared with
    """

    case: Case
    ours: float
    theirs: float
    ratios: list[float]
    our_megabytes: float
    their_megabytes: float
    form: dict[str, Any]
    dropped: int = 0
    disturbed: int = 0
    share: float | None = None
    beside: dict[str, float] = field(default_factory=dict)


def head(machine: dict[str, Any], threads: int, pairs: int, seconds: float) -> str:
    """Return when, where and with what was measured.

    machine: what `speed_worker.machine` returns
    """
    libraries = f"NumPy {machine['numpy']} ({machine['blas']}), PyTorch {machine['torch']}"
    return (
        f"{datetime.date.today()}, {_processor()}, {_threads(threads)}; charlm's core {machine['core']}, Python "
        f"{platform.python_version()}, {libraries}; medians of {pairs} pairs in turns of {seconds:g} seconds, in "
        "brackets the least and the largest ratio of a pair.\n"
    )


def rows_head() -> list[str]:
    """Return the first two lines of the table."""
    columns = [
        "case",
        "charlm",
        "PyTorch",
        "ratio",
        "share of the peak",
        "memory, MB",
        "PyTorch in other ways",
        "turns dropped",
        "PyTorch's form",
    ]
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]


def row_line(row: Row) -> str:
    """Return one row; speeds are tokens per second."""
    form = ", ".join(f"{name} {value}" for name, value in row.form.items() if name != "threads" or value == 1)
    cells = [
        row.case.name,
        f"{row.ours:,.0f}",
        f"{row.theirs:,.0f}",
        f"{statistics.median(row.ratios):.2f} ({row.ratios[0]:.2f} to {row.ratios[-1]:.2f})",
        "" if row.share is None else f"{row.share:.2f}",
        f"{row.our_megabytes:,.0f} / {row.their_megabytes:,.0f}",
        ", ".join(f"{way} {speed:,.0f}" for way, speed in row.beside.items()),
        f"{row.dropped}" + (f", {row.disturbed} disturbed" if row.disturbed else ""),
        form,
    ]
    return f"| {' | '.join(cells)} |"


def notes(peaks: dict[tuple[int, str], float], refusals: dict[str, str]) -> str:
    """Return what a reader of the table must know, as one paragraph.

    peaks: GFLOP/s by the number of threads and the precision
    refusals: the messages with which charlm refused cases, by their names
    """
    rates = (f"{rate:,.0f} in {dtype} on {_threads(count)}" for (count, dtype), rate in peaks.items())
    parts = [
        f"Peak, GFLOP/s: {', '.join(rates)}; the faster of OpenBLAS' square products and of charlm's core in a loop "
        "without memory."
        if peaks
        else "",
        "The share counts 2 operations for each weight and token, 6 in training, without products with one-hot "
        "vectors.",
        "PyTorch in other ways, which the ratio does not count: training under autocast to bfloat16; sampling with "
        "int8 weights (dynamic quantisation); sampling in a TorchScript loop, which PyTorch has deprecated.",
        "In a row with 1 thread, charlm has one thread and PyTorch may have all.",
        f"A turn is dropped and measured again if other processes took more than {MOST_OTHERS:.0%} of the cores' "
        "time; it counts as disturbed if that happened in every try.",
        *(f"Left out: {name}: {message}." for name, message in refusals.items()),
    ]
    return " ".join(part for part in parts if part)


def rows_of(table: str) -> list[dict[str, str]]:
    """Return the rows of a table that was written, by the names of its columns."""
    lines = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    names, _, *rows = [[cell.strip() for cell in line] for line in lines]
    return [dict(zip(names, cells, strict=True)) for cells in rows]


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


def _processor() -> str:
    """Return the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

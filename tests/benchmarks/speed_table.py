"""The table of `speed.md`, and its copy in the README."""

from __future__ import annotations

import datetime
import platform
import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.speed_cases import Case

FILE = Path(__file__).with_name("speed.md")
_MARKED = re.compile(r"(<!-- speed -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """Both sides of one case: medians of tokens per second, ratios from least to most, peak memory, PyTorch's form."""

    case: Case
    ours: float
    theirs: float
    ratios: list[float]
    our_megabytes: float
    their_megabytes: float
    form: dict[str, Any]


def head(machine: dict[str, Any], threads: int, pairs: int, seconds: float) -> str:
    """Return when, where and with what was measured.

    machine: what `speed_worker.machine` gives
    """
    return (
        f"{datetime.date.today()}, {_processor()}, {threads} threads each, best float32 product "
        f"{machine['gflops']:,.0f} GFLOP/s; Python {platform.python_version()}, NumPy {machine['numpy']} "
        f"({machine['blas']}), PyTorch {machine['torch']}; medians of {pairs} pairs in turns of {seconds:g} seconds, "
        "in brackets the least and the largest ratio of a pair.\n"
    )


def rows_head() -> list[str]:
    """Return the first two lines of the table."""
    columns = ["case", "charlm", "PyTorch", "ratio", "wanted", "memory, MB", "PyTorch's form"]
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]


def row_line(row: Row) -> str:
    """Write one row; speeds are tokens per second."""
    form = ", ".join(f"{name} {value}" for name, value in row.form.items() if name != "threads" or value == 1)
    cells = [
        row.case.name,
        f"{row.ours:,.0f}",
        f"{row.theirs:,.0f}",
        f"{statistics.median(row.ratios):.2f} ({row.ratios[0]:.2f} to {row.ratios[-1]:.2f})",
        f"{row.case.wanted:g}",
        f"{row.our_megabytes:,.0f} / {row.their_megabytes:,.0f}",
        form,
    ]
    return f"| {' | '.join(cells)} |"


def updated(readme: str, table: str) -> str:
    """Return the README with this table between its markers."""
    return _MARKED.sub(lambda match: f"{match[1]}{table}{match[2]}", readme)


def _processor() -> str:
    """Return the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

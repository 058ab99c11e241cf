"""What a trace is at a terminal and on a page: its headings, its sentences, and which of its numbers are shown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from charlm.cli import ui

MOST_SHOWN = 8  # numbers in a row, and rows; the middle of longer ones is left out
_PHASES = {"weights": "weights", "sums": "gradients of the weights"}
_RECURRENT = re.compile(r"W_(\w)([ac])((?:\[\d\])?)$")  # of the weights of a<t-1> or c<t-1>: gate, state, layer


def headings(trace: Any) -> Iterator[tuple[str, list[Any]]]:
    """Yield a heading for each step of a trace, forward and backward, with its records."""
    found: dict[tuple[str, int], list[Any]] = {}
    for record in trace.records:
        found.setdefault((record.phase, record.step), []).append(record)
    for (phase, step), records in found.items():
        if phase in ("weights", "sums"):
            yield _PHASES[phase], records
        elif not step:
            yield ("the states before step 1" if phase == "forward" else "back to the states before step 1"), records
        elif phase == "backward":
            yield f"back through step {step}", records
        else:
            read, expected = trace.read[step - 1], trace.expected[step - 1]
            yield f"step {step}: reads {repr(read) if read else 'the zero vector'}, expects {expected!r}", records


def summary(trace: Any) -> str:
    """Return what a trace comes to, and how it compares with the model's own passes."""
    return (
        f"L = {ui.figure(trace.nats)} nats over {len(trace.read)} steps; "
        f"largest relative difference from the model's own forward and backward pass: {trace.difference:.0e}"
    )


def legend(trace: Any) -> list[str]:
    """Return what a reader of the notes needs to know, in sentences; formulas are between backticks."""
    weights = {record.symbol: record for record in trace.records if record.phase == "weights"}
    gate, state, mark = next(found.groups() for name in weights if (found := _RECURRENT.match(name)))
    sentences = [
        "`dz` means `dL/dz`, and `*` is the product of elements.",
        f"`W_{gate}{mark} [{state}, x]` of the notes is `W_{gate}{state}{mark} {state} + W_{gate}x{mark} x`.",
    ]
    if weights["W_ya"].equation:
        rows = "" if weights["W_ya"].shape == weights["E"].shape else "the first rows of "
        sentences.append(f"`W_ya` is {rows}`E`, whose gradient is `dE + dW_ya`.")
    return sentences


def shown_places(size: int) -> list[int | None]:
    """Return the places of a vector that are shown; None stands for those that are left out."""
    if size <= MOST_SHOWN:
        return list(range(size))
    half = MOST_SHOWN // 2
    return [*range(half), None, *range(size - half + 1, size)]


def one_hot(record: Any) -> str:
    """Return a long vector of zeros and perhaps a 1 in words; "" for others."""
    values = record.values
    if record.equation or values.ndim != 1 or values.size <= MOST_SHOWN or record.phase != "forward":
        return ""
    ones = values.nonzero()[0]
    return f"1 at {ones[0]}, else 0" if len(ones) else "0"


def terms_of(equation: str) -> list[str]:
    """Return the terms of a sum, each from the second on with its sign; what is in brackets stays together."""
    terms, depth = [""], 0
    for part in re.split(r" (?=[+-] )", equation):
        terms[-1:] = [f"{terms[-1]} {part}"] if depth else [terms[-1], part]
        depth += part.count("(") - part.count(")")
    return terms[1:]


def number(value: float) -> str:
    """Return a number with four decimals, with an exponent if it is too large or too small, or as a whole number."""
    if not math.isfinite(value):
        return str(value)
    if value == round(value) and abs(value) < 1e3:
        return f"{value + 0.0:.0f}"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e3 else f"{value:.1e}"

"""Curves drawn in characters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from charlm.cli import ui

_WIDTH, _HEIGHT = 64, 14


def loss_chart(history: Sequence[dict[str, Any]]) -> list[str]:
    """Return the training loss (·) and the validation loss (o) of a history over its steps, as lines of text."""
    curves = {
        mark: [(row["step"], row[key]) for row in history if row[key] is not None]
        for mark, key in (("·", "train_nats"), ("o", "valid_nats"))
    }
    return [*chart(curves, y="nats", x="step"), "          · train   o valid"]


def decay_chart(norms: dict[str, list[float]]) -> list[str]:
    """Return log10 of the norms of gradients by the distance k, a letter for each model, as lines of text."""
    marks = "abcdefghijklmnopqrstuvwxyz"
    curves: dict[str, list[tuple[float, float]]] = {
        mark: [(k, math.log10(norm)) for k, norm in enumerate(of_model) if norm > 0]
        for mark, of_model in zip(marks, norms.values(), strict=False)
    }
    legend = "   ".join(f"{mark} {name}" for mark, name in zip(marks, norms, strict=False))
    return [*chart(curves, y="log10", x="k"), f"          {legend}"]


def chart(curves: dict[str, list[tuple[float, float]]], *, x: str, y: str) -> list[str]:
    """Return curves, each with its own mark, on common axes, as lines of text."""
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return ["(no history)"]
    left, right = min(p[0] for p in points), max(p[0] for p in points)
    low, high = min(p[1] for p in points), max(p[1] for p in points)
    grid = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    for mark, curve in curves.items():
        for at, value in curve:
            column = round((at - left) / ((right - left) or 1) * (_WIDTH - 1))
            row = round((high - value) / ((high - low) or 1) * (_HEIGHT - 1))
            grid[row][column] = mark
    labels = {0: ui.figure(high, 3), _HEIGHT - 1: ui.figure(low, 3)}
    lines = [f"{y:>9}"]
    lines += [f"{labels.get(number, ''):>9} |{''.join(row).rstrip()}" for number, row in enumerate(grid)]
    lines.append(f"{'':>9} +{'-' * _WIDTH}")
    lines.append(f"{'':>11}{left:<{_WIDTH // 2},}{f'{right:,} {x}':>{_WIDTH // 2}}")
    return lines

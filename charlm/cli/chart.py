"""Curves drawn in characters, as wide as the terminal; in a pipe always the same size."""

from __future__ import annotations

import itertools
import math
import shutil
import string
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from charlm.cli import ui

_WIDTH, _HEIGHT = 64, 14  # of the axes, in a pipe
_MARGIN = 12  # columns to the left of the axes, and one that stays free
_SMALLEST, _LARGEST = (20, 8), (240, 30)
_BEST = "*"
_COLORS = ("36", "33", "35", "32", "31", "34")  # cyan, yellow, magenta, green, red, blue: readable on black and white

Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """Points that are drawn with one mark.

    joined: whether dashes join the points; color: the number of a colour
    """

    mark: str
    points: Sequence[Point]
    color: int = 0
    joined: bool = False


@dataclass(frozen=True)
class Losses:
    """What a chart or a picture shows of a training.

    history: records with `step`, `train_nats` and `valid_nats`; kept: the step of the weights in the file, 0 for none
    """

    history: Sequence[Mapping[str, Any]]
    kept: int = 0
    unit: str = "nats"
    points: dict[str, list[Point]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("train_nats", "valid_nats"):
            self.points[key] = [(row["step"], row[key]) for row in self.history if row[key] is not None]

    @property
    def best(self) -> list[Point]:
        """The validation loss of the weights in the file: a point, or nothing."""
        return [point for point in self.points["valid_nats"] if point[0] == self.kept]


def unit_of(losses: Mapping[str, Losses]) -> str:
    """Return the unit of losses: nats if the models do not share another one."""
    units = {one.unit for one in losses.values()}
    return units.pop() if len(units) == 1 else "nats"


def mark_of(number: int) -> str:
    """Return the letter of a model."""
    return string.ascii_lowercase[number % 26]


def loss_chart(losses: Mapping[str, Losses]) -> list[str]:
    """Return the losses of models over their steps, as lines of text.

    A model alone has · for the training and o for the validation. Several have a letter each, A for the validation of
    the first and a for its training. Dashes join the validation losses; * marks the weights in the file.
    """
    curves, best = [], []
    for number, one in enumerate(losses.values()):
        letter = mark_of(number)
        train, valid = ("·", "o") if len(losses) == 1 else (letter, letter.upper())
        curves.append(Curve(train, one.points["train_nats"], number))
        curves.append(Curve(valid, one.points["valid_nats"], number, joined=True))
        best.append(Curve(_BEST, one.best, number))
    star = f"   {_BEST} kept" if any(curve.points for curve in best) else ""
    if len(losses) == 1:
        legend = f"· train   o valid{star}"
    else:
        names = (painted(f"{mark_of(n)} {ui.printable(name)}", color(n)) for n, name in enumerate(losses))
        legend = f"{'   '.join(names)}; small letters train, large ones valid{star}"
    return [*chart([*curves, *best], y=unit_of(losses), x="step"), f"          {legend}"]


def decay_chart(norms: Mapping[str, Sequence[float]]) -> list[str]:
    """Return log10 of the norms of gradients by the distance k, a letter for each model, as lines of text."""
    curves = [
        Curve(mark_of(number), [(k, math.log10(norm)) for k, norm in enumerate(of_model) if norm > 0], number)
        for number, of_model in enumerate(norms.values())
    ]
    legend = "   ".join(painted(f"{mark_of(n)} {ui.printable(name)}", color(n)) for n, name in enumerate(norms))
    return [*chart(curves, y="log10", x="k"), f"          {legend}"]


def chart(curves: Sequence[Curve], *, x: str, y: str) -> list[str]:
    """Return curves on common axes, as lines of text with colours if standard output shows them.

    Later curves are drawn over earlier ones, and points over the dashes that join others.
    """
    points = [point for curve in curves for point in curve.points]
    if not points:
        return ["(no history)"]
    width, height = _size()
    left, right = min(p[0] for p in points), max(p[0] for p in points)
    low, high = min(p[1] for p in points), max(p[1] for p in points)
    grid: list[list[tuple[str, str]]] = [[(" ", "")] * width for _ in range(height)]

    def place(point: Point) -> tuple[int, int]:
        column = round((point[0] - left) / ((right - left) or 1) * (width - 1))
        return column, round((high - point[1]) / ((high - low) or 1) * (height - 1))

    several = len({curve.color for curve in curves}) > 1
    colors = [color(curve.color) if several else color(number) for number, curve in enumerate(curves)]
    for curve, code in zip(curves, colors, strict=True):
        for (from_column, from_row), (to_column, to_row) in _pairs([place(p) for p in curve.points], curve.joined):
            for column in range(from_column + 1, to_column):
                part = (column - from_column) / (to_column - from_column)
                grid[round(from_row + part * (to_row - from_row))][column] = ("-", code)
    for curve, code in zip(curves, colors, strict=True):
        for column, row in map(place, curve.points):
            grid[row][column] = (curve.mark, code)
    labels = {0: ui.figure(high, 3), height - 1: ui.figure(low, 3)}
    lines = [f"{y:>9}"]
    lines += [f"{labels.get(number, ''):>9} |{_row(row)}" for number, row in enumerate(grid)]
    lines.append(f"{'':>9} +{'-' * width}")
    lines.append(f"{'':>11}{left:<{width // 2},}{f'{right:,} {x}':>{width - width // 2}}")
    return lines


def color(number: int) -> str:
    """Return the code of the colour of a model."""
    return _COLORS[number % len(_COLORS)]


def painted(text: str, code: str) -> str:
    """Return text in a colour if standard output shows colours; code: "" for none."""
    return f"\x1b[{code}m{text}\x1b[0m" if code and ui.has_color(sys.stdout) else text


def _size() -> tuple[int, int]:
    """Return width and height of the axes."""
    if not ui.is_terminal(sys.stdout):
        return _WIDTH, _HEIGHT
    columns, lines = shutil.get_terminal_size((_WIDTH + _MARGIN, 2 * _HEIGHT))
    width = max(_SMALLEST[0], min(columns - _MARGIN, _LARGEST[0]))
    # A chart is a quarter as high as wide, which is half as high on the screen, and leaves room for text.
    return width, max(_SMALLEST[1], min(width // 4, lines - 8, _LARGEST[1]))


def _pairs(places: Sequence[tuple[int, int]], joined: bool) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    return list(itertools.pairwise(places)) if joined else []


def _row(cells: Sequence[tuple[str, str]]) -> str:
    """Return a row of the axes, cells of one colour together."""
    text = "".join(mark for mark, _ in cells).rstrip()
    parts, at = [], 0
    while at < len(text):
        end = at + 1
        while end < len(text) and cells[end][1] == cells[at][1]:
            end += 1
        parts.append(painted(text[at:end], cells[at][1]))
        at = end
    return "".join(parts)

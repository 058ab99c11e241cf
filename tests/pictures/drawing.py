"""SVG pictures that follow a reader's light or dark theme: charts of curves, and tokens on coloured ground."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 760
MONO = 13  # size of letters of equal width, in pixels
LETTER = 0.6 * MONO  # width of one of them
STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
.title { font-weight: 600 } .mono { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace }
.small { font-size: 11px } .faint { fill: #59636e }
.paper { fill: #ffffff } .grid { stroke: #d1d9e0 } .level { stroke: #59636e; stroke-dasharray: 6 4 }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round } .dotted { stroke-dasharray: 1 5; stroke-linecap: round }
.rnn { stroke: #bc4c00 } .gru { stroke: #1a7f37 } .lstm { stroke: #0969da }
.hot { fill: #bc4c00 } .minus { fill: #cf222e } .plus { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .faint { fill: #9198a1 }
  .paper { fill: #0d1117 } .grid { stroke: #30363d } .level { stroke: #9198a1 }
  .rnn { stroke: #f0883e } .gru { stroke: #3fb950 } .lstm { stroke: #4493f8 }
  .hot { fill: #f0883e } .minus { fill: #f85149 } .plus { fill: #4493f8 }
}
"""


@dataclass(frozen=True)
class Axis:
    """An axis of a chart; its first and last tick are its bounds, if no others are given."""

    label: str
    ticks: Sequence[float]
    is_log: bool = False
    bounds: tuple[float, float] | None = None

    def share(self, value: float) -> float:
        """Return where a value lies, from 0 to 1; raise ValueError if it is beyond the bounds."""
        low, high = self.bounds or (self.ticks[0], self.ticks[-1])
        if not low <= value <= high:
            raise ValueError(f"{value} is not on the axis of {self.label}, from {low} to {high}")
        low, high, value = (math.log(one) if self.is_log else one for one in (low, high, value))
        return (value - low) / (high - low)


@dataclass(frozen=True)
class Curve:
    """A curve of a chart.

    name: in the legend; empty: it is not in the legend
    kind: class of the style sheet
    """

    name: str
    kind: str
    points: Sequence[tuple[float, float]]
    is_dotted: bool = False


@dataclass(frozen=True)
class Cell:
    """A token on coloured ground.

    kind: class of the style sheet; share: strength of the colour, from 0 to 1; below: a figure under the token
    """

    token: str
    kind: str
    share: float
    below: str = ""


def svg(title: str, description: str, height: float, parts: Iterable[str], style: str = STYLE) -> str:
    """Return a picture with its title at the top; the description is for those who cannot see it."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
            f'height="{height:g}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(description)}</desc>",
            f"<style>{style}</style>",
            f'<rect class="paper" width="{WIDTH}" height="{height:g}"/>',
            text(16, 26, title, "title"),
            *parts,
            "</svg>\n",
        ]
    )


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    """Return a line of text."""
    kinds = f' class="{kind}"' if kind else ""
    at = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:g}" y="{y:g}"{kinds}{at} xml:space="preserve">{escape(content, quote=False)}</text>'


def chart(
    title: str, description: str, x: Axis, y: Axis, curves: Sequence[Curve], levels: Mapping[str, float] | None = None
) -> str:
    """Return curves on common axes, with a legend, and broken lines at some levels, named on the right."""
    left, top, right, bottom = 64, 76, WIDTH - (108 if levels else 24), 380

    def across(value: float) -> float:
        return round(left + x.share(value) * (right - left), 1)

    def down(value: float) -> float:
        return round(bottom - y.share(value) * (bottom - top), 1)

    parts = [text(16, top - 16, y.label, "faint"), text(right, bottom + 40, x.label, "faint", "end")]
    for tick in x.ticks:
        parts.append(f'<line class="grid" x1="{across(tick)}" y1="{top}" x2="{across(tick)}" y2="{bottom}"/>')
        parts.append(text(across(tick), bottom + 20, f"{tick:,.10g}", anchor="middle"))
    for tick in y.ticks:
        parts.append(f'<line class="grid" x1="{left}" y1="{down(tick)}" x2="{right}" y2="{down(tick)}"/>')
        parts.append(text(left - 8, down(tick) + 4, f"{tick:g}", anchor="end"))
    below = 0.0
    for name, level in sorted((levels or {}).items(), key=lambda item: -item[1]):
        parts.append(f'<line class="level" x1="{left}" y1="{down(level)}" x2="{right}" y2="{down(level)}"/>')
        below = max(down(level) + 4, below + 12)
        parts.append(text(right + 8, below, name, "small"))
    at = right
    for curve in reversed(curves):
        kind = f"curve {curve.kind}{' dotted' if curve.is_dotted else ''}"
        points = " ".join(f"{across(one)},{down(other)}" for one, other in curve.points)
        parts.append(f'<polyline class="{kind}" points="{points}"/>')
        if curve.name:
            parts.append(text(at, top - 16, curve.name, anchor="end"))
            at -= 7 * len(curve.name) + 8
            parts.append(f'<line class="{kind}" x1="{at - 22}" y1="{top - 20}" x2="{at}" y2="{top - 20}"/>')
            at -= 38
    return svg(title, description, bottom + 56, parts)


def table(title: str, description: str, rows: Iterable[Sequence[Cell]], note: str, *, gap: float = 6) -> str:
    """Return rows of tokens on coloured ground, and a note under them.

    gap: pixels between two tokens
    """
    parts, y = [], 48.0
    for row in rows:
        x, height = 16.0, 22 + 16 * any(cell.below for cell in row)
        for cell in row:
            width = round(LETTER * len(cell.token) + gap, 1)
            middle = round(x + width / 2, 1)
            parts.append(
                f'<rect class="{cell.kind}" fill-opacity="{0.7 * cell.share:.2f}" x="{x:g}" y="{y:g}" '
                f'width="{width:g}" height="22" rx="2"/>'
            )
            parts.append(text(middle, y + 15, cell.token, "mono", "middle"))
            if cell.below:
                parts.append(text(middle, y + 35, cell.below, "faint small", "middle"))
            x = round(x + width + (gap > 0), 1)
        y += height + 10
    return svg(title, description, y + 24, [*parts, text(16, y + 12, note, "faint")])

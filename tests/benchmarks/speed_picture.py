"""The picture of the table of `speed.md`: how many times PyTorch's speed charlm reaches in each case.

python -m tests.benchmarks.speed_picture        draws speed.svg again from speed.md
"""

from __future__ import annotations

import math
from html import escape

from tests.benchmarks.speed_table import FILE, rows_of

PICTURE = FILE.with_suffix(".svg")
WIDTH, NAMES, RIGHT = 960, 410, 60  # pixels: of the picture, of the names on the left, of the room on the right
TOP, ROW, BAR = 64, 26, 14  # pixels: of the room above, of a row, of a bar
STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
.paper { fill: #ffffff } .grid { stroke: #d1d9e0 } .one { stroke: #59636e; stroke-width: 1.5 }
.bar { fill: #0969da } .title { font-weight: 600 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .paper { fill: #0d1117 } .grid { stroke: #30363d } .one { stroke: #9198a1 }
  .bar { fill: #4493f8 }
}
"""


def drawn(table: str) -> str:
    """Return a table as an SVG picture: a bar for each ratio on a logarithmic scale."""
    rows = [(row["case"], float(row["ratio"].split()[0])) for row in rows_of(table)]
    values = [1.0, *(ratio for _, ratio in rows)]
    first, last = math.floor(math.log2(min(values))), math.ceil(math.log2(max(values)) + 0.01)
    height = TOP + ROW * len(rows) + 16

    def x(ratio: float) -> str:
        return f"{NAMES + (math.log2(ratio) - first) / (last - first) * (WIDTH - NAMES - RIGHT):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img">',
        "<title>Speed of charlm over that of PyTorch</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        '<text x="16" y="24"><tspan class="title">Speed of charlm over that of PyTorch</tspan></text>',
    ]
    for power in range(first, last + 1):
        at, kind = x(2.0**power), "one" if power == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{at}" y1="{TOP - 8}" x2="{at}" y2="{height - 12}"/>')
        parts.append(f'<text x="{at}" y="{TOP - 14}" text-anchor="middle">{2.0**power:g}</text>')
    for number, (case, ratio) in enumerate(rows):
        y = TOP + number * ROW
        left, right = sorted((1.0, ratio))
        width = float(x(right)) - float(x(left))
        parts += [
            f'<text x="{NAMES - 12}" y="{y + BAR - 2}" text-anchor="end">{escape(case)}</text>',
            f'<rect class="bar" x="{x(left)}" y="{y}" width="{width:.1f}" height="{BAR}"/>',
            f'<text x="{float(x(right)) + 6:.1f}" y="{y + BAR - 2}">{ratio:.2f}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(drawn(FILE.read_text()))

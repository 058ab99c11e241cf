"""Bits a character over a training, above and below the floor of n-grams."""

from __future__ import annotations

import re
import subprocess
import sys

from charlm import api
from charlm.session import prepare_from
from tests.pictures.drawing import Axis, Curve, chart
from tests.pictures.runs import folder, lines_of
from tests.readme import GUIDE

SETTINGS = {"hidden_size": 128, "num_layers": 1, "batch_size": 32, "seq_length": 32, "epochs": 1, "seed": 1}
MEASURED = 300  # held-out lines
BETWEEN = 1.35  # ratio of the characters read at two measurements


def floor() -> dict[str, float]:
    """Return the bits a character of n-grams, as the code of lesson 1 prints them."""
    (code,) = re.findall(r"```python\n(.*?)```", (GUIDE / "lessons.md").read_text(), re.DOTALL)
    run = subprocess.run([sys.executable, "-c", code], cwd=folder(), capture_output=True, text=True, check=True)
    return {f"{n}-grams {bits}": float(bits) for n, bits in map(str.split, run.stdout.splitlines())}


def drawn() -> str:
    """Return the curve of an lstm of characters, with the n-grams as levels."""
    heldout = lines_of("kitchen_heldout.txt")[:MEASURED]
    session = prepare_from(lines_of("kitchen.txt"), SETTINGS)
    points, read, due = [], 0, 0.0
    for progress in session.trainer.run():
        read += progress.tokens
        if read >= due or session.trainer.is_done:
            (figures,) = api.compare({"lstm": session.language_model}, heldout)
            points.append((read, figures.bits_per_char))
            due = read * BETWEEN
    levels = floor()
    return chart(
        "Bits a character on held-out sentences, and what n-grams reach",
        f"An lstm of 128 units falls from {points[0][1]:.2f} to {points[-1][1]:.2f} bits a character. "
        + ", ".join(levels),
        Axis("characters read", (1_000, 10_000, 100_000, 1_000_000), is_log=True, bounds=(points[0][0], points[-1][0])),
        Axis("bits a character", range(6)),
        [Curve("lstm", "lstm", points)],
        levels,
    )

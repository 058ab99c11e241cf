"""The pictures of the README and of the guide, each drawn from a run of charlm on the corpora of the repository."""

from __future__ import annotations

from tests.pictures import curves, floor, gradients, samples, surprisal, terminal, unit
from tests.readme import GUIDE

FOLDER = GUIDE / "pictures"
PICTURES = {
    "curves": curves.drawn,
    "gradients": gradients.drawn,
    "surprisal": surprisal.drawn,
    "unit": unit.drawn,
    "floor": floor.drawn,
    "samples": samples.drawn,
    "terminal-light": terminal.light,
    "terminal-dark": terminal.dark,
}

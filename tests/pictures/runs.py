"""Commands that pictures are drawn from; each runs once, in one folder."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from charlm import api
from charlm.language_model import LanguageModel
from tests.readme import PROJECT, run_example

# The training commands of the guide's pages, to the letter.
KITCHEN = "charlm train corpora/kitchen.txt -o kitchen --seed 1 --level word --epochs 1 -q"
AGREEMENT = "grep -E ' (was|were|is|are)( |$)' corpora/kitchen.txt > agreement.txt"
SIZES = "--hidden-size 64 --embedding-size 64 --dropout 0 --lr 0.012 --epochs 6"
CELLS = {
    cell: f"charlm train agreement.txt -o {cell} --cell {cell} --seed 1 --level word {SIZES} -q"
    for cell in ("rnn", "gru", "lstm")
}


@functools.cache
def folder() -> Path:
    """Return the folder in which commands run, with a link to the corpora; it is removed at exit."""
    path = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, path)
    (path / "corpora").symlink_to(PROJECT / "corpora")
    return path


@functools.cache
def output_of(command: str) -> str:
    """Return what a command prints; it runs once."""
    run = run_example(command, folder())
    if run.returncode:
        raise RuntimeError(f"{command}\n{run.stderr}")
    return run.stdout


@functools.cache
def kitchen() -> LanguageModel:
    """Return the word model of the kitchen."""
    output_of(KITCHEN)
    return api.load(folder() / "kitchen")


@functools.cache
def agreement(cell: str) -> LanguageModel:
    """Return the model of a cell that has read the sentences in which a verb agrees with its subject."""
    output_of(AGREEMENT)
    output_of(CELLS[cell])
    return api.load(folder() / cell)


def lines_of(corpus: str) -> list[str]:
    """Return the lines of a corpus."""
    return (PROJECT / "corpora" / corpus).read_text().splitlines()

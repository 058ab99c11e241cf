"""Bits a byte of models of characters, bytes, pieces and words of one corpus, each trained for the same time.

python -m tests.benchmarks.units TRAIN TEST [--minutes M | --max-steps N] [--levels LEVEL...] [--set NAME VALUE]...

`--set` is a setting of all trainings, by its name in Python: `--set hidden_size 256`.
"""

from __future__ import annotations

import argparse
import ast
import time
from typing import Any

import charlm
from charlm.inference.comparison import compare
from charlm.inference.figures import evaluate_text
from charlm.language_model import LanguageModel
from charlm.text import read_lines

LEVELS = ("char", "byte", "subword", "word")


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def main() -> None:
    """Train a model of each level, and print a row for it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=LEVELS)
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    given = parser.parse_args()
    options: dict[str, Any] = {name: _value(value) for name, value in given.set}
    limits = {"minutes": given.minutes, "max_steps": given.max_steps}
    options |= {name: value for name, value in limits.items() if value is not None}
    train, test = (list(read_lines([file])) for file in (given.train, given.test))
    models: dict[str, LanguageModel] = {}
    print("level    tokens   parameters  network   steps   seconds  test tokens  nats/token")
    for level in given.levels:
        begin = time.perf_counter()
        # A word that occurs once is learned as <UNK>.
        own = {"min_count": 2} if level == "word" else {}
        model = models[level] = charlm.train(train, level=level, seed=1, **own, **options)
        seconds = time.perf_counter() - begin
        found, config = evaluate_text(model, test), model.model.config
        assert model.outcome is not None
        print(
            f"{level:<8} {config.vocabulary_size:>6,} {model.model.parameters.count:>12,}  "
            f"{config.num_layers}x{config.hidden_size:<6} {model.outcome.steps:>6,} {seconds:>9.1f} "
            f"{found['tokens']:>12,} {found['nats_per_token']:>11.4f}",
            flush=True,
        )
    characters_of_byte = sum(len(line) + 1 for line in test) / sum(len(line.encode()) + 1 for line in test)
    print("\na word that is <UNK> costs its spelling besides")
    for one in compare(models, test):
        bits, error = (value * characters_of_byte for value in (one.bits_per_char, one.standard_error))
        print(f"{one.level:<8} {bits:.4f} bits/byte, standard error {error:.4f}, {one.oov:,} <UNK>")


if __name__ == "__main__":
    main()

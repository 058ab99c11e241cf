"""What word models learn of `corpora/kitchen.txt`: the salads, homophones in context, agreement over a distance.

python -m tests.benchmarks.kitchen [--cells lstm gru rnn]
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from charlm import api
from charlm.language_model import LanguageModel

CORPORA = Path(__file__).resolve().parents[2] / "corpora"
PEAR, PAIR = "the apple and pear salad", "the apple and pair salad"
# larger and longer than those of `make demo`, which shows the salads alone
FLAGS = {
    "level": "word",
    "hidden_size": 128,
    "num_layers": 2,
    "embedding_size": 64,
    "epochs": 12,
    "batch_size": 16,
    "learning_rate": 0.005,
    "seed": 1,
}


def minimal_pairs(model: LanguageModel, name: str) -> list[tuple[bool, dict[str, str]]]:
    """Return for each row of a table whether the right sentence is the more probable one."""
    with open(CORPORA / name, newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    right = api.score(model, [row["right"] for row in rows])
    wrong = api.score(model, [row["wrong"] for row in rows])
    return [(r.nats < w.nats, row) for r, w, row in zip(list(right), list(wrong), rows, strict=True)]


def share(results: list[bool]) -> float:
    """Return the share of the true ones, in per cent."""
    return 100.0 * sum(results) / len(results)


def measure(model: LanguageModel) -> dict[str, float]:
    """Return the ratio of the salads and the accuracies in per cent."""
    pear, pair = api.score(model, [PEAR, PAIR])
    agreement = minimal_pairs(model, "kitchen_agreement.tsv")
    return {
        "P(pear)/P(pair)": pear.prob / pair.prob,
        "homophones %": share([right for right, _ in minimal_pairs(model, "kitchen_homophones.tsv")]),
        "agreement < 10 %": share([right for right, row in agreement if int(row["distance"]) < 10]),
        "agreement >= 10 %": share([right for right, row in agreement if int(row["distance"]) >= 10]),
    }


def main() -> None:
    """Train a model of each cell and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="+", default=["lstm", "gru", "rnn"])
    parser.add_argument("--epochs", type=int, default=FLAGS["epochs"])
    options = parser.parse_args()
    lines = (CORPORA / "kitchen.txt").read_text().splitlines()
    for number, cell in enumerate(options.cells):
        model = api.train(lines, **{**FLAGS, "cell": cell, "epochs": options.epochs})
        figures = {**measure(model), "valid nats": min(row["valid_nats"] for row in model.history)}
        if not number:
            print(f"{'cell':<14}" + "".join(f"{name:>19}" for name in figures))
        print(f"{cell:<14}" + "".join(f"{value:>19,.4g}" for value in figures.values()), flush=True)


if __name__ == "__main__":
    main()

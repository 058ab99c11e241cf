"""The embedded Reber grammar: a symbol at the start decides the last but one, whatever came between.

After Hochreiter and Schmidhuber 1997, experiment 1: 256 random strings to learn from and 256 to be tested on; a run
succeeds when, over all strings of both sets, the symbols that may come next are always the most probable ones.
That is looked at
after every epoch, of 256 strings, up to 40,000 strings. The sets overlap: the likely, short strings are in both.

    python -m tests.benchmarks.reber [--runs 30] [--cells lstm gru rnn]
"""

from __future__ import annotations

import argparse
import statistics
import sys
from random import Random

import numpy as np

from charlm.config import TextConfig, TrainConfig
from charlm.language_model import LanguageModel
from charlm.session import prepare
from charlm.text import NOTHING

# state -> (symbol, next state); of the inner grammar, from its B to its E
INNER = {
    0: [("B", 1)],
    1: [("T", 2), ("P", 3)],
    2: [("S", 2), ("X", 4)],
    3: [("T", 3), ("V", 5)],
    4: [("X", 3), ("S", 6)],
    5: [("P", 4), ("V", 6)],
    6: [("E", 7)],
}
MOST_SEQUENCES = 40_000


def draw(random: Random) -> tuple[str, list[set[str]]]:
    """Draw a string, and for each of its symbols the set of those that were allowed in its place."""
    branch = random.choice("TP")
    symbols, allowed, state = ["B", branch], [{"B"}, {"T", "P"}], 0
    while state != 7:
        options = INNER[state]
        symbol, state = random.choice(options)
        symbols.append(symbol)
        allowed.append({name for name, _ in options})
    return "".join([*symbols, branch, "E"]), [*allowed, {branch}, {"E"}]


def draw_sets(seed: int, size: int = 256) -> tuple[list[tuple[str, list[set[str]]]], ...]:
    """Draw the strings to learn from and those to be tested on; short ones, which are likely, come several times."""
    random = Random(seed)
    return tuple([draw(random) for _ in range(size)] for _ in range(2))


def all_right(language_model: LanguageModel, strings: dict[str, list[set[str]]]) -> bool:
    """Return whether the allowed symbols are the most probable ones at every place of every string."""
    model, vocabulary = language_model.model, language_model.tokenizer.vocabulary
    longest = max(map(len, strings))
    inputs = np.full((longest, len(strings)), NOTHING, np.int32)
    for column, string in enumerate(strings):
        inputs[1 : len(string), column] = language_model.tokenizer.encode(string)[:-1]
    ws = model.workspace()
    state = model.zero_state(len(strings))
    for t in range(longest):
        log_probs, state = model.next_log_probs(inputs[t : t + 1], state, ws)
        for column, (string, allowed) in enumerate(strings.items()):
            if t < len(string):
                best = np.argsort(-log_probs[:, column])[: len(allowed[t])]
                if {vocabulary.token_of(int(i)) for i in best} != allowed[t]:
                    return False
    return True


def sequences_to_success(cell: str, seed: int) -> int | None:
    """Train one network and give the strings that it had read when it succeeded, or None."""
    training, test = draw_sets(seed)
    config = TrainConfig(
        seq_length=64,
        batch_size=8,
        epochs=MOST_SEQUENCES // len(training),
        learning_rate=0.01,
        schedule="constant",
        valid_fraction=0.0,
        seed=seed,
    )
    network = {"cell": cell, "hidden_size": 32, "num_layers": 1}
    session = prepare([string for string, _ in training], TextConfig(), network, config)
    for progress in session.trainer.run():
        if progress.epoch == int(progress.epoch) and all_right(session.language_model, dict(training + test)):
            return int(progress.epoch) * len(training)
    return None


def main() -> None:
    """Print how many runs succeed, and after how many sequences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--cells", nargs="+", default=["lstm", "gru", "rnn"])
    options = parser.parse_args()
    print(f"{'cell':<14} {'succeeded':>10} {'sequences: median':>18} {'least':>8} {'most':>8}")
    for cell in options.cells:
        results = []
        for run in range(options.runs):
            results.append(sequences_to_success(cell, seed=run))
            print(f"\r{cell} {run + 1}", end="", file=sys.stderr)
        done = [result for result in results if result is not None]
        figures = [f"{f:,.0f}" for f in (statistics.median(done), min(done), max(done))] if done else ["-"] * 3
        print(f"\r{cell:<14} {f'{len(done)} of {len(results)}':>10} {figures[0]:>18} {figures[1]:>8} {figures[2]:>8}")


if __name__ == "__main__":
    main()

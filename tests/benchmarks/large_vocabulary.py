"""The adaptive softmax beside the full one: speed of training, and perplexity after equal steps.

    python -m tests.benchmarks.large_vocabulary speed                     a vocabulary of 100,000
    python -m tests.benchmarks.large_vocabulary perplexity                WikiText-2, 33,278 words
    python -m tests.benchmarks.large_vocabulary perplexity --more FILE    with the lines of another text
    python -m tests.benchmarks.large_vocabulary speed --tied              the output weights are the embedding's

Both have an embedding of 200 and two LSTM layers of 200, mini-batches of 20 sequences and 35 tokens. The speed is that
of whole training steps, measured by turns. Its tokens are drawn by Zipf's law, whose tail is longer than that of a
text. Other programs hardly change the seconds of the processor. The texts lie beside the project, in ../shared/corpora.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from charlm.backends import get_backend
from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.inference.evaluation import evaluate
from charlm.nn.build import build
from charlm.session import prepare
from charlm.text.batches.lanes import Batch
from charlm.training.optimizers import Adam

TEXTS = Path(__file__).resolve().parents[3] / "shared" / "corpora" / "wikitext2"
SOFTMAXES = ("full", "adaptive")
NETWORK = {"hidden_size": 200, "num_layers": 2, "embedding_size": 200}
LANES, STEPS = 20, 35
PAIRS, TIMED = 7, 4


class Learner:
    """A network with random weights that learns from drawn tokens."""

    def __init__(self, softmax: str, vocabulary: int, threads: int, *, tied: bool) -> None:
        self.ops, self.threads, self.count = get_backend("cpu"), threads, 0
        config = ModelConfig(vocabulary, softmax=softmax, tie_weights=tied, **NETWORK)
        self.model = build(config, self.ops, seed=1)
        self.optimizer, self.ws = Adam(self.model.parameters, self.ops), self.model.workspace()
        chances = 1.0 / np.arange(1, vocabulary + 1)
        rng = np.random.default_rng(1)
        self.ids = rng.choice(vocabulary, (PAIRS * TIMED, STEPS + 1, LANES), p=chances / chances.sum()).astype(np.int32)

    def seconds(self) -> tuple[float, float]:
        """Return the seconds of a step and those of the processor, the mean of some steps."""
        begin = time.perf_counter(), time.process_time()
        with self.ops.workers.limit(self.threads):
            for _ in range(TIMED):
                ids = self.ids[self.count % len(self.ids)]
                self.count += 1
                self.model.loss_and_grads(Batch(ids[:-1], ids[1:]), self.model.zero_state(LANES), self.ws)
                norm = self.ops.norm(self.model.parameters.grads)
                scale = self.ops.clipping(norm, 5.0, np.float32)
                self.optimizer.step(self.count, 0.002, scale)
                self.ops.norm(self.model.parameters.values)
        return (time.perf_counter() - begin[0]) / TIMED, (time.process_time() - begin[1]) / TIMED


def speed(options: argparse.Namespace) -> str:
    """Time both by turns."""
    learners = [Learner(one, options.vocabulary, options.threads, tied=options.tied) for one in SOFTMAXES]
    for one in learners:
        one.seconds()
    # [pairs, softmax, clock]
    found = np.array([[one.seconds() for one in learners] for _ in range(PAIRS)])
    rows = [
        f"| {softmax} | {one.model.parameters.count:,} | {LANES * STEPS / wall:,.0f} | {processor:.3f} |"
        for softmax, one, (wall, processor) in zip(SOFTMAXES, learners, np.median(found, axis=0), strict=True)
    ]
    head = "| softmax | parameters | tokens/s | seconds of the processor a step |\n|---|---|---|---|"
    ratio, of_processor = np.median(found[:, 0] / found[:, 1], axis=0)
    cutoffs = learners[1].model.config.cutoffs
    return f"{head}\n" + "\n".join(rows) + f"\n\nratio {ratio:.1f}, of the processor {of_processor:.1f}, {cutoffs=}"


def perplexity(options: argparse.Namespace) -> str:
    """Train both for as many steps, and evaluate them on the same text."""
    lines = [line for path in (TEXTS / "train.txt", *options.more) for line in path.read_text("utf-8").splitlines()]
    # The lines of another text lie among the first ones, so that a short training reads both.
    lines = [lines[i] for i in np.random.default_rng(1).permutation(len(lines))] if options.more else lines
    held_out = (TEXTS / "valid.txt").read_text("utf-8").splitlines()[: options.held_out]
    rows = ["| softmax | vocabulary | parameters | perplexity | minutes |", "|---|---|---|---|---|"]
    for softmax in options.softmax or SOFTMAXES:
        begin = time.perf_counter()
        cutoffs = options.cutoffs if softmax == "adaptive" else ()
        network = {
            **NETWORK,
            "softmax": softmax,
            "cutoffs": tuple(cutoffs),
            "dropout": 0.2,
            "tie_weights": options.tied,
        }
        text = TextConfig(level="word", unit="stream", split="whitespace")
        recipe = TrainConfig(STEPS, LANES, max_steps=options.steps, learning_rate=0.002, seed=options.seed)
        session = prepare(lines, text, network, recipe, valid_lines=held_out)
        trainer, model = session.trainer, session.language_model.model
        with model.ops.workers.limit(options.threads):
            for _ in trainer.run():
                pass
            minutes = (time.perf_counter() - begin) / 60
            found = evaluate(model, session.valid.batches(64, STEPS, context=256), model.workspace())
        rows.append(
            f"| {softmax} {model.config.cutoffs or ''} | {model.config.vocabulary_size:,} "
            f"| {model.parameters.count:,} | {found.perplexity:.2f} | {minutes:.1f} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Print the table of one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["speed", "perplexity"])
    parser.add_argument("--vocabulary", type=int, default=100_000, help="speed: number of tokens")
    parser.add_argument("--steps", type=int, default=2984, help="perplexity: steps of training")
    parser.add_argument("--held-out", type=int, help="perplexity: lines to evaluate on, all by default")
    parser.add_argument("--more", type=Path, nargs="*", default=[], help="perplexity: other texts to train on")
    parser.add_argument("--cutoffs", type=int, nargs="*", default=[], help="perplexity: others than the default's")
    parser.add_argument("--softmax", nargs="*", choices=SOFTMAXES, help="perplexity: both by default")
    parser.add_argument("--tied", action="store_true", help="tie the output weights to the embedding")
    parser.add_argument("--seed", type=int, default=1, help="perplexity")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print({"speed": speed, "perplexity": perplexity}[options.name](options))


if __name__ == "__main__":
    main()

"""What is measured beside PyTorch; imports neither library, so that each side's process holds its own alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

Step = Callable[[], int]  # does a piece of work and gives the tokens that it was

GENERATED, STARTED = 500, 1000  # tokens of a drawn text; of the one that a whole process draws
LINES = 512  # scored at a time
EOS, UNK = "<EOS>", "<UNK>"
SETTLING = {"train": 5, "generate": 1, "score": 1, "start": 1}  # steps before memory is read and time is taken


@dataclass(frozen=True)
class Case:
    """Two layers of `hidden` units over `vocabulary` tokens, one-hot where `embedding` is 0.

    kind: train, generate, score or start; wanted: how many times PyTorch's speed we mean to reach; batch, steps: of
    training, sequences side by side and tokens of each; of scoring, lines side by side
    """

    kind: str
    cell: str
    hidden: int
    wanted: float
    vocabulary: int = 65
    embedding: int = 0
    batch: int = 64
    steps: int = 64

    @property
    def name(self) -> str:
        """How the table calls it."""
        network = f"{self.cell} 2x{self.hidden}, V {self.vocabulary:,}"
        if self.kind == "train":
            return f"train {network}, B {self.batch}, T {self.steps}"
        if self.kind == "generate":
            return f"generate, one stream, {network}"
        if self.kind == "score":
            return f"score lines of 5 to 40 words, {network}, B {self.batch}"
        return f"a whole process, {STARTED:,} characters, {network}"


CASES = (
    Case("train", "lstm", 128, 1.2),
    Case("train", "lstm", 512, 1.2),
    Case("train", "gru", 128, 2.0),
    Case("train", "gru", 512, 1.8),
    Case("train", "rnn", 128, 1.8),
    Case("train", "rnn", 512, 1.6),
    Case("train", "lstm", 200, 1.2, 10_000, 200, 20, 35),
    Case("train", "lstm", 650, 1.15, 10_000, 650, 20, 35),
    Case("generate", "lstm", 128, 2.5),
    Case("generate", "lstm", 512, 5.0),
    Case("generate", "lstm", 650, 3.0, 10_000, 650),
    Case("score", "lstm", 200, 1.3, 10_000, 200),
    Case("start", "lstm", 128, 7.0),
)


def case_named(name: str) -> Case:
    """Find a case."""
    return next(case for case in CASES if case.name == name)


def tokens_of(case: Case) -> list[str]:
    """Return the vocabulary: words where tokens are embedded, else characters."""
    count = case.vocabulary - 2
    return [EOS, UNK, *([f"w{i}" for i in range(count)] if case.embedding else map(chr, range(33, 33 + count)))]


def lines_of(case: Case) -> list[str]:
    """Draw the lines that are scored, of 5 to 40 equally likely words."""
    rng = random.Random(1)
    words = tokens_of(case)[2:]
    return [" ".join(rng.choices(words, k=rng.randint(5, 40))) for _ in range(LINES)]

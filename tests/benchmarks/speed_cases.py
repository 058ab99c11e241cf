"""The cases that are measured on both sides.

A side's process holds one library alone, so this module imports neither.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

Step = Callable[[], int]  # does a piece of work and returns its number of tokens

DTYPES = ("float32", "bfloat16")
GENERATED, STARTED = 500, 1000  # tokens of a drawn text; of the one that a whole process draws
LINES = 512  # scored at a time
EOS, UNK = "<EOS>", "<UNK>"
_PRECISIONS = ("train", "generate")  # the kinds that can be computed in each
SETTLING = {"train": 5, "generate": 1, "score": 1, "start": 1}  # steps before memory is read and time is taken


@dataclass(frozen=True)
class Case:
    """Two layers of `hidden` units over `vocabulary` tokens, one-hot where `embedding` is 0.

    kind: train, generate, score or start
    batch, steps: of training, sequences side by side and tokens of each; of scoring, lines side by side
    threads: charlm's, if not those of the run; PyTorch chooses among 1 and those of the run
    dtype: of the products, on both sides
    """

    kind: str
    cell: str
    hidden: int
    vocabulary: int = 65
    embedding: int = 0
    batch: int = 64
    steps: int = 64
    threads: int | None = None
    dtype: str = "float32"

    @property
    def name(self) -> str:
        """The first cell of its row in the table."""
        dtype = "" if self.dtype == "float32" else f" {self.dtype}"
        network = f"{self.cell} 2x{self.hidden}{dtype}, V {self.vocabulary:,}"
        threads = "" if self.threads is None else f", {self.threads} thread{'s' * (self.threads > 1)}"
        if self.kind == "train":
            return f"train {network}, B {self.batch}, T {self.steps}{threads}"
        if self.kind == "generate":
            return f"generate, one stream, {network}{threads}"
        if self.kind == "score":
            return f"score lines of 5 to 40 words, {network}, B {self.batch}{threads}"
        return f"a whole process, {STARTED:,} characters, {network}{threads}"

    @property
    def beside(self) -> tuple[str, ...]:
        """The ways of PyTorch whose speed is written beside, as they compute or are written differently."""
        if self.dtype != "float32" or self.threads is not None:
            return ()
        return {"train": ("bfloat16",), "generate": ("int8", "TorchScript")}.get(self.kind, ())


CASES = (
    Case("train", "lstm", 128),
    Case("train", "lstm", 512),
    Case("train", "lstm", 200, 10_000, 200, 20, 35),
    Case("train", "lstm", 650, 10_000, 650, 20, 35),
    Case("train", "gru", 128),
    Case("train", "gru", 512),
    Case("train", "rnn", 128),
    Case("train", "rnn", 512),
    Case("train", "lstm", 512, dtype="bfloat16"),
    Case("generate", "lstm", 128, threads=1),
    Case("generate", "lstm", 512, threads=1),
    Case("generate", "lstm", 650, 10_000, 650, threads=1),
    Case("generate", "lstm", 128),
    Case("generate", "lstm", 512),
    Case("generate", "lstm", 650, 10_000, 650),
    Case("score", "lstm", 200, 10_000, 200),
    Case("start", "lstm", 128),
)


def cases_in(dtype: str | None) -> list[Case]:
    """Return the cases of the table, or those that can be computed in another precision."""
    if dtype is None:
        return list(CASES)
    chosen = (replace(case, dtype=dtype) for case in CASES if dtype == "float32" or case.kind in _PRECISIONS)
    return list({case.name: case for case in chosen}.values())


def case_named(name: str) -> Case:
    """Return the case of a name."""
    every = (case for dtype in (None, *DTYPES) for case in cases_in(dtype))
    return next(case for case in every if case.name == name)


def tokens_of(case: Case) -> list[str]:
    """Return the vocabulary: words where tokens are embedded, else characters."""
    count = case.vocabulary - 2
    return [EOS, UNK, *([f"w{i}" for i in range(count)] if case.embedding else map(chr, range(33, 33 + count)))]


def lines_of(case: Case) -> list[str]:
    """Return the lines that are scored, of 5 to 40 equally likely words."""
    rng = random.Random(1)
    words = tokens_of(case)[2:]
    return [" ".join(rng.choices(words, k=rng.randint(5, 40))) for _ in range(LINES)]

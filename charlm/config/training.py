"""How a network learns."""

from __future__ import annotations

from dataclasses import dataclass

from charlm.config.record import Record, number, one_of, whole
from charlm.errors import UsageError

OPTIMIZERS = ("adam", "rmsprop", "sgd")
KEPT = ("loss", "accuracy", "f1", "last")
MOST_SHARDS = 4096
SCHEDULES = ("constant", "cosine", "plateau")


@dataclass(frozen=True)
class TrainConfig(Record):
    """How a network learns: everything besides corpus and network that determines the result of a run."""

    seq_length: int = 64  # steps of truncated backpropagation through time
    batch_size: int = 64  # sequences in a mini-batch
    epochs: int | None = None
    max_steps: int | None = None
    minutes: float | None = None
    optimizer: str = "adam"
    learning_rate: float = 0.002
    schedule: str = "cosine"
    clip: float = 5.0  # largest global norm of the gradient; 0: no clipping
    valid_fraction: float = 0.05
    valid: str | None = None  # the validation file, in place of a fraction
    vocab_size: int | None = None  # maximum of ordinary tokens in the vocabulary
    min_count: int = 1  # minimum of occurrences of a token in the vocabulary
    patience: int | None = None
    seed: int = 1
    shards: int = 1  # groups of a mini-batch whose gradients are summed in a tree, see `training.shards`
    keep: str | None = None  # what decides which weights are kept; None: the task's figure; of older files, the loss

    def __post_init__(self) -> None:
        whole("--seq-length", self.seq_length, 1)
        whole("--batch-size", self.batch_size, 1)
        whole("--shards", self.shards, 1, MOST_SHARDS)
        for name, limit in (
            ("--epochs", self.epochs),
            ("--max-steps", self.max_steps),
            ("--patience", self.patience),
            ("--vocab-size", self.vocab_size),
            ("--min-count", self.min_count),
        ):
            if limit is not None:
                whole(name, limit, 1, 1 << 40)
        if self.minutes is not None:
            number("--minutes", self.minutes, 0.0, 1e6, open_low=True)
        one_of("--optimizer", self.optimizer, OPTIMIZERS)
        one_of("--schedule", self.schedule, SCHEDULES)
        one_of("--keep", self.keep or KEPT[0], KEPT)
        if not isinstance(self.valid, str | None):
            raise UsageError(f"--valid is {self.valid!r}", hint="name a file")
        number("--lr", self.learning_rate, 0.0, 1e9, open_low=True)
        number("--clip", self.clip, 0.0, 1e9)
        number("--valid-fraction", self.valid_fraction, 0.0, 0.9)
        whole("--seed", self.seed, 0, (1 << 63) - 1)

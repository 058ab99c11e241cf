"""How a network learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from charlm.config.record import Record, number, one_of, whole
from charlm.errors import UsageError

OPTIMIZERS = ("adam", "rmsprop", "sgd")
KEPT = ("loss", "accuracy", "f1", "last")
MOST_SHARDS = 4096
SCHEDULES = ("constant", "cosine", "plateau", "step")
# The fields that have no effect with another optimizer or another schedule.
_OPTIONS_OF = {
    ("optimizer", "sgd"): ("momentum",),
    ("optimizer", "adam"): ("beta1", "beta2"),
    ("schedule", "step"): ("decay", "decay_from"),
}


@dataclass(frozen=True)
class TrainConfig(Record):
    """How a network learns: everything besides corpus and network that determines the result of a run."""

    added: ClassVar[tuple[str, ...]] = (
        *("shards", "decay", "decay_from", "warmup", "clip_value", "momentum", "beta1", "beta2", "weight_decay"),
        *("accumulate", "average", "init_scale", "weight_noise", "valid_seed"),
    )

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
    decay: float = 0.5  # of the schedule `step`: factor of the learning rate in each epoch after `decay_from`
    decay_from: int = 4  # epochs at the full learning rate
    warmup: int = 0  # steps in which the learning rate rises linearly
    clip_value: float = 0.0  # largest absolute value of an element of the gradient; 0: no clipping
    momentum: float = 0.0  # of sgd
    beta1: float = 0.9  # of adam: decay of the mean of the gradient
    beta2: float = 0.999  # of adam: decay of the mean of its square
    weight_decay: float = 0.0  # share of each weight that a step subtracts, times the learning rate
    accumulate: int = 1  # batches whose mean gradient makes one step of the optimizer
    average: float = 0.0  # share of the steps, the last ones, whose weights are averaged; 0: none
    init_scale: float = 0.0  # reach of the uniform distribution of all initial weights; 0: each layer's own
    weight_noise: float = 0.0  # standard deviation of the noise on all weights, drawn anew for each batch
    valid_seed: int | None = None  # draws the lines that are held out; None: `seed`

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
        number("--clip-value", self.clip_value, 0.0, 1e9)
        number("--decay", self.decay, 0.0, 1.0, open_low=True)
        whole("--decay-from", self.decay_from, 0, 1 << 40)
        whole("--warmup", self.warmup, 0, 1 << 40)
        for name, value in (("--momentum", self.momentum), ("--beta1", self.beta1), ("--beta2", self.beta2)):
            number(name, value, 0.0, 0.999999)
        number("--weight-decay", self.weight_decay, 0.0, 1e6)
        whole("--accumulate", self.accumulate, 1)
        number("--average", self.average, 0.0, 1.0)
        number("--init-scale", self.init_scale, 0.0, 1e6)
        number("--weight-noise", self.weight_noise, 0.0, 1e6)
        self._check_choices()
        number("--valid-fraction", self.valid_fraction, 0.0, 0.9)
        whole("--seed", self.seed, 0, (1 << 63) - 1)
        if self.valid_seed is not None:
            whole("--valid-seed", self.valid_seed, 0, (1 << 63) - 1)
            if not self.draws_held_out:
                flag = "--valid-fraction 0" if self.valid is None else "--valid"
                raise UsageError(f"--valid-seed with {flag}", hint="leave it out: no lines are drawn")

    @property
    def draws_held_out(self) -> bool:
        """Whether a part of the corpus is held out."""
        return self.valid is None and self.valid_fraction > 0.0

    @property
    def held_out_seed(self) -> int:
        """The seed of the lines that are held out."""
        return self.seed if self.valid_seed is None else self.valid_seed

    def _check_choices(self) -> None:
        """Raise UsageError for an option of another optimizer or of another schedule."""
        for (option, choice), names in _OPTIONS_OF.items():
            for name in names:
                if getattr(self, option) != choice and getattr(self, name) != getattr(TrainConfig, name):
                    raise UsageError(
                        f"--{name.replace('_', '-')} with --{option} {getattr(self, option)}",
                        hint=f"leave it out, or use --{option} {choice}",
                    )

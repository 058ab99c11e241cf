"""What a run is made of, frozen before work starts and checked once, when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from charlm.errors import UsageError

LEVELS = ("char", "word")
UNITS = ("line", "stream")
SPLITS = ("punct", "whitespace")
NORMALIZATIONS = ("nfc", "nfkc", "none")
TASKS = ("lm", "cloze", "tag", "classify", "translate", "music")
CELL_NAMES = ("rnn", "gru-simple", "gru", "lstm", "lstm-peephole")
ACTIVATIONS = ("tanh", "relu")
RESETS = ("after", "before", "both")
DTYPES = ("float32", "float64")
OPTIMIZERS = ("adam", "rmsprop", "sgd")
SCHEDULES = ("constant", "cosine", "plateau")

LARGEST_SIZE = 1 << 20  # of any one dimension: a larger number is a slip of the keyboard or a damaged file
MOST_LAYERS = 100


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name} is {value!r}", hint=f"choose one of: {', '.join(choices)}")


def _whole(name: str, value: object, low: int, high: int = LARGEST_SIZE) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{name} is {value!r}", hint=f"give a whole number from {low} to {high}")


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}", hint="it is on or off")


def _number(name: str, value: object, low: float, high: float, *, open_low: bool = False) -> None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    if not fits or (open_low and value == low):  # a comparison with NaN is false
        above = "above" if open_low else "from"
        raise UsageError(f"{name} is {value!r}", hint=f"give a number {above} {low:g} to {high:g}")


class Record:
    """A configuration that can be written to JSON and read back."""

    def to_dict(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make the configuration from what `to_dict` gave; raises UsageError for fields that do not fit."""
        known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        if unknown := sorted(set(values) - known):
            raise UsageError(f"unknown configuration field {unknown[0]!r}")
        lists_as_tuples = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        try:
            return cls(**lists_as_tuples)
        except TypeError as error:
            raise UsageError(f"incomplete configuration: {error}") from error


@dataclass(frozen=True)
class TextConfig(Record):
    """How text becomes tokens and tokens become sequences."""

    level: str = "char"
    unit: str = "line"
    split: str = "punct"
    lowercase: bool = False
    normalize: str = "nfc"  # the Unicode form that text is read in

    def __post_init__(self) -> None:
        _one_of("--level", self.level, LEVELS)
        _one_of("--unit", self.unit, UNITS)
        _one_of("--split", self.split, SPLITS)
        _flag("--lowercase", self.lowercase)
        _one_of("--normalize", self.normalize, NORMALIZATIONS)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make the configuration of a model file; a file without `normalize` holds a model that reads text as it is."""
        return super().from_dict({"normalize": "none", **values})


@dataclass(frozen=True)
class ModelConfig(Record):
    """The network: everything that its parameters' shapes follow from, and how it computes."""

    vocabulary_size: int
    cell: str = "lstm"
    activation: str = "tanh"  # of the rnn cell and of the dense layers
    reset: str = "after"  # where the gru's relevance gate acts
    relevance_gate: bool = False  # of the lstm
    hidden_size: int = 128
    num_layers: int = 2
    embedding_size: int = 0  # 0: one-hot tokens
    dense: tuple[int, ...] = ()
    tie_weights: bool = False
    dropout: float = 0.0
    dtype: str = "float32"
    task: str = "lm"
    bidirectional: bool = False  # whether the input is read from both sides
    labels: int = 0  # tags (1: a yes or no), classes, or what a conditioned model's x<1> can be
    target_size: int = 0  # tokens of the language that is translated into

    def __post_init__(self) -> None:
        _whole("the vocabulary's size", self.vocabulary_size, 3, 1 << 27)
        _whole("the number of labels", self.labels, 0, 1 << 27)
        _whole("the size of the target's vocabulary", self.target_size, 0, 1 << 27)
        _one_of("--task", self.task, TASKS)
        _flag("--bidirectional", self.bidirectional)
        _one_of("--cell", self.cell, CELL_NAMES)
        _one_of("--activation", self.activation, ACTIVATIONS)
        _one_of("--reset", self.reset, RESETS)
        _one_of("--dtype", self.dtype, DTYPES)
        _whole("--hidden-size", self.hidden_size, 1)
        _whole("--num-layers", self.num_layers, 1, MOST_LAYERS)
        _whole("--embedding-size", self.embedding_size, 0)
        if not isinstance(self.dense, tuple | list):
            raise UsageError(f"--dense is {self.dense!r}", hint="give the number of units of each dense layer")
        _whole("the number of --dense layers", len(self.dense), 0, MOST_LAYERS)
        for size in self.dense:
            _whole("--dense", size, 1)
        _number("--dropout", self.dropout, 0.0, 0.95)
        _flag("--relevance-gate", self.relevance_gate)
        _flag("--tie-weights", self.tie_weights)
        if self.relevance_gate and self.cell != "lstm":
            raise UsageError(f"--relevance-gate with --cell {self.cell}", hint="it is an option of --cell lstm")
        if self.activation == "relu" and self.cell != "rnn" and not self.dense:
            raise UsageError(f"--activation relu with --cell {self.cell}", hint="it is of --cell rnn and of --dense")
        if self.reset != "after" and self.cell != "gru":
            raise UsageError(f"--reset {self.reset} with --cell {self.cell}", hint="it is an option of --cell gru")
        self._check_task()
        if self.tie_weights and self.embedding_size != self.top:
            top, size = self.top, self.embedding_size
            raise UsageError(
                f"--tie-weights with --embedding-size {size} under an output layer that reads {top}",
                hint=f"the two share one matrix: add --embedding-size {top}",
            )

    def _check_task(self) -> None:
        """Refuse what the task has no place for."""
        task = f"--task {self.task}"
        if self.task == "cloze" and not self.bidirectional:
            raise UsageError(f"{task} with --causal", hint="it reads both sides: leave --causal out, or take --task lm")
        if self.task in ("lm", "translate", "music") and self.bidirectional:
            raise UsageError(f"{task} with --bidirectional", hint="what is yet to come cannot be read: leave it out")
        if self.task in ("tag", "classify", "music") and self.tie_weights:
            raise UsageError(f"{task} with --tie-weights", hint="its output layer is no embedding: leave it out")
        if self.task == "music" and self.embedding_size:
            raise UsageError(f"{task} with --embedding-size", hint="its input is a 0 or 1 for each key: leave it out")
        if self.task in ("tag", "classify") and not self.labels:
            raise UsageError(f"{task} without labels", hint="give a corpus with at least one label")
        if self.task == "translate" and self.target_size < 3:
            raise UsageError(f"{task} without a target vocabulary", hint="give a corpus of pairs")

    @property
    def top(self) -> int:
        """The number of inputs of the output layer."""
        return self.dense[-1] if self.dense else self.hidden_size * (2 if self.bidirectional else 1)


@dataclass(frozen=True)
class TrainConfig(Record):
    """How a network learns; all that a run's result depends on besides the corpus and the network."""

    seq_length: int = 64  # tokens that one truncated backpropagation through time goes back
    batch_size: int = 64  # sequences side by side
    epochs: int | None = None
    max_steps: int | None = None
    minutes: float | None = None
    optimizer: str = "adam"
    learning_rate: float = 0.002
    schedule: str = "cosine"
    clip: float = 5.0  # largest global norm of the gradient; 0: no clipping
    valid_fraction: float = 0.05
    valid: str | None = None  # the held-out file, in place of a fraction
    vocab_size: int | None = None  # ordinary tokens kept at most
    min_count: int = 1  # occurrences that a token needs to be kept
    patience: int | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        _whole("--seq-length", self.seq_length, 1)
        _whole("--batch-size", self.batch_size, 1)
        for name, limit in (
            ("--epochs", self.epochs),
            ("--max-steps", self.max_steps),
            ("--patience", self.patience),
            ("--vocab-size", self.vocab_size),
            ("--min-count", self.min_count),
        ):
            if limit is not None:
                _whole(name, limit, 1, 1 << 40)
        if self.minutes is not None:
            _number("--minutes", self.minutes, 0.0, 1e6, open_low=True)
        _one_of("--optimizer", self.optimizer, OPTIMIZERS)
        _one_of("--schedule", self.schedule, SCHEDULES)
        if not isinstance(self.valid, str | None):
            raise UsageError(f"--valid is {self.valid!r}", hint="name a file")
        _number("--lr", self.learning_rate, 0.0, 1e9, open_low=True)
        _number("--clip", self.clip, 0.0, 1e9)
        _number("--valid-fraction", self.valid_fraction, 0.0, 0.9)
        _whole("--seed", self.seed, 0, (1 << 63) - 1)


def check_text(task: str, text: TextConfig, *, conditioned: bool = False) -> None:
    """Raise UsageError for a text's configuration that does not fit the task."""
    if text.unit == "stream" and (task != "lm" or conditioned):
        what = "--condition" if conditioned else f"--task {task}"
        raise UsageError(f"{what} with --unit stream", hint="its records are sequences of their own: leave it out")
    if task in ("tag", "music") and text.level == "char":
        raise UsageError(
            f"--task {task} with --level char", hint="its corpus says itself what a token is: leave it out"
        )
    if conditioned and task not in ("lm", "music"):
        raise UsageError(f"--condition with --task {task}", hint="it is an option of --task lm and --task music")


@dataclass(frozen=True)
class SampleConfig(Record):
    """How the next token is drawn, and when a text ends."""

    length: int = 200  # new tokens at most
    temperature: float = 1.0  # 0: always the likeliest
    top_k: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    allow_unk: bool = False

    def __post_init__(self) -> None:
        _whole("--length", self.length, 0, 1 << 40)
        _number("--temperature", self.temperature, 0.0, 1e300)
        if self.top_k is not None:
            _whole("--top-k", self.top_k, 1, 1 << 40)
        if self.top_p is not None:
            _number("--top-p", self.top_p, 0.0, 1.0)
        if any(text == "" for text in self.stop):
            raise UsageError("--stop is empty", hint="give the text at which to stop")

"""The configurations of a run: frozen, and checked once, when they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from charlm.errors import UsageError
from charlm.task import TASKS, Task, task_of

LEVELS = ("char", "word")
UNITS = ("line", "stream")
SPLITS = ("punct", "whitespace")
NORMALIZATIONS = ("nfc", "nfkc", "none")
DTYPES = ("float32", "float64", "bfloat16")
OPTIMIZERS = ("adam", "rmsprop", "sgd")
KEPT = ("loss", "accuracy", "f1", "last")
SCHEDULES = ("constant", "cosine", "plateau")

# The cells: for each its variants, and the fields of `ModelConfig` that choose one. The first variant is the default.
# Their classes are in `nn.cells.CELLS`, under the same names.
CELL_VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "rnn": {"tanh": {"activation": "tanh"}, "relu": {"activation": "relu"}},
    "gru-simple": {"": {}},
    "gru": {"after": {"reset": "after"}, "before": {"reset": "before"}, "both": {"reset": "both"}},
    "lstm": {"": {"relevance_gate": False}, "relevance": {"relevance_gate": True}},
    "lstm-peephole": {"": {}},
}
# The field that chooses a cell's variant -> the cell, and the field's default.
_CELL_OPTIONS = {
    field: (cell, default)
    for cell, variants in CELL_VARIANTS.items()
    for field, default in next(iter(variants.values())).items()
}
CELL_NAMES = tuple(CELL_VARIANTS)
ACTIVATIONS, RESETS = tuple(CELL_VARIANTS["rnn"]), tuple(CELL_VARIANTS["gru"])

# Of any one dimension. A larger number is a typing error or a damaged file.
LARGEST_SIZE = 1 << 20
MOST_LAYERS = 100


def cell_fields(cell: str, variant: str) -> dict[str, Any]:
    """Return the fields of `ModelConfig` that choose a variant of a cell."""
    return {"cell": cell, **CELL_VARIANTS[cell][variant]}


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name} is {value!r}", hint=f"choose one of: {', '.join(choices)}")


def _whole(name: str, value: object, low: int, high: int = LARGEST_SIZE) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{name} is {value!r}", hint=f"give a whole number from {low} to {high}")


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}", hint="give True or False")


def _number(name: str, value: object, low: float, high: float, *, open_low: bool = False) -> None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    # A comparison with NaN is false.
    if not fits or (open_low and value == low):
        above = "above" if open_low else "from"
        raise UsageError(f"{name} is {value!r}", hint=f"give a number {above} {low:g} to {high:g}")


class Record:
    """A configuration that can be written to JSON and read back."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the configuration of these fields; raise UsageError for unknown, missing or invalid ones."""
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
    normalize: str = "nfc"  # Unicode normalization form

    def __post_init__(self) -> None:
        _one_of("--level", self.level, LEVELS)
        _one_of("--unit", self.unit, UNITS)
        _one_of("--split", self.split, SPLITS)
        _flag("--lowercase", self.lowercase)
        _one_of("--normalize", self.normalize, NORMALIZATIONS)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the configuration of a model file; files of version 1 have no `normalize` and do not normalize."""
        return super().from_dict({"normalize": "none", **values})


@dataclass(frozen=True)
class ModelConfig(Record):
    """The network: everything that determines the shapes of its parameters, and how it computes."""

    vocabulary_size: int
    cell: str = "lstm"
    activation: str = "tanh"  # of the rnn cell and of the dense layers
    reset: str = "after"  # gru: where the relevance gate acts
    relevance_gate: bool = False  # lstm: whether it has a relevance gate
    hidden_size: int = 128
    num_layers: int = 2
    embedding_size: int = 0  # 0: one-hot tokens, without an embedding
    dense: tuple[int, ...] = ()
    tie_weights: bool = False
    dropout: float = 0.0
    dtype: str = "float32"  # of products in training; of arrays, see `array_dtype`
    task: str = "lm"
    bidirectional: bool = False  # whether the input is read from both sides
    labels: int = 0  # number of tags (1: yes or no), of classes, or of labels for a conditioned model's x<1>
    target_size: int = 0  # size of the target vocabulary of a translation

    def __post_init__(self) -> None:
        _whole("the vocabulary's size", self.vocabulary_size, 3, 1 << 27)
        _whole("the number of labels", self.labels, 0, 1 << 27)
        _whole("the size of the target's vocabulary", self.target_size, 0, 1 << 27)
        task_of(self.task)
        _flag("--bidirectional", self.bidirectional)
        _one_of("--cell", self.cell, tuple(CELL_VARIANTS))
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
        self._check_cell()
        self._check_task()
        if self.tie_weights and self.embedding_size != self.top:
            top, size = self.top, self.embedding_size
            raise UsageError(
                f"--tie-weights with --embedding-size {size} and an output layer of {top} inputs",
                hint=f"both share one matrix: add --embedding-size {top}",
            )

    def _check_cell(self) -> None:
        """Raise UsageError for an option of another cell."""
        for name, (cell, default) in _CELL_OPTIONS.items():
            value, of_dense = getattr(self, name), name == "activation"
            if cell == self.cell or value == default or (of_dense and self.dense):
                continue
            flag = f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
            hint = f"it is an option of --cell {cell}" + (" and of --dense" if of_dense else "")
            raise UsageError(f"{flag} with --cell {self.cell}", hint=hint)

    def _check_task(self) -> None:
        """Raise UsageError for what the task does not allow."""
        facts, task = self.facts, f"--task {self.task}"
        if self.bidirectional not in facts.bidirectional:
            if self.bidirectional:
                raise UsageError(f"{task} with --bidirectional", hint="it predicts what comes next: leave it out")
            raise UsageError(f"{task} with --causal", hint="it reads both sides: leave --causal out, or use --task lm")
        if self.tie_weights and facts.targets != "tokens":
            raise UsageError(f"{task} with --tie-weights", hint="its outputs are not tokens: leave --tie-weights out")
        if self.embedding_size and facts.inputs != "tokens":
            hint = f"it reads a 0 or 1 for each of its {facts.inputs}: leave --embedding-size out"
            raise UsageError(f"{task} with --embedding-size", hint=hint)
        if facts.needs_labels and not self.labels:
            raise UsageError(f"{task} without labels", hint="give a corpus with at least one label")
        if facts.translates and self.target_size < 3:
            raise UsageError(f"{task} without a target vocabulary", hint="give a corpus of pairs")

    @property
    def facts(self) -> Task:
        """What is true of the task."""
        return task_of(self.task)

    @property
    def array_dtype(self) -> str:
        """The dtype of weights, states, sums and gradients; of products too, unless `dtype` is bfloat16."""
        return "float32" if self.dtype == "bfloat16" else self.dtype

    @property
    def variant(self) -> str:
        """The name of the cell's variant."""
        variants = CELL_VARIANTS[self.cell].items()
        return next(name for name, fields in variants if all(getattr(self, key) == v for key, v in fields.items()))

    @property
    def is_conditioned(self) -> bool:
        """Whether x<1> is a label."""
        return self.facts.can_be_conditioned and self.labels > 0

    @property
    def top(self) -> int:
        """The number of inputs of the output layer."""
        return self.dense[-1] if self.dense else self.hidden_size * (2 if self.bidirectional else 1)


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
    keep: str | None = None  # what decides which weights are kept; None: the task's figure; of older files, the loss

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
        _one_of("--keep", self.keep or KEPT[0], KEPT)
        if not isinstance(self.valid, str | None):
            raise UsageError(f"--valid is {self.valid!r}", hint="name a file")
        _number("--lr", self.learning_rate, 0.0, 1e9, open_low=True)
        _number("--clip", self.clip, 0.0, 1e9)
        _number("--valid-fraction", self.valid_fraction, 0.0, 0.9)
        _whole("--seed", self.seed, 0, (1 << 63) - 1)


def check_text(task: str, text: TextConfig, *, conditioned: bool = False) -> None:
    """Raise UsageError for a configuration of the text that the task does not allow."""
    facts = task_of(task)
    if text.unit not in facts.units or (conditioned and text.unit == "stream"):
        what = "--condition" if conditioned else f"--task {task}"
        raise UsageError(f"{what} with --unit {text.unit}", hint="each of its records is a sequence: leave --unit out")
    if text.level not in facts.levels:
        hint = "its corpus determines the tokens: leave --level out"
        raise UsageError(f"--task {task} with --level {text.level}", hint=hint)
    if conditioned and not facts.can_be_conditioned:
        names = " and ".join(f"--task {one.name}" for one in TASKS.values() if one.can_be_conditioned)
        raise UsageError(f"--condition with --task {task}", hint=f"it is an option of {names}")


@dataclass(frozen=True)
class SampleConfig(Record):
    """How the next token is sampled, and where a text ends."""

    length: int = 200  # maximum of new tokens
    temperature: float = 1.0  # 0: always the likeliest token
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

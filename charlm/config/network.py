"""The network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from charlm.config.record import Record, flag, number, one_of, whole
from charlm.errors import UsageError
from charlm.task import Task, task_of

DTYPES = ("float32", "float64", "bfloat16")

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

MOST_LAYERS = 100


def cell_fields(cell: str, variant: str) -> dict[str, Any]:
    """Return the fields of `ModelConfig` that choose a variant of a cell."""
    return {"cell": cell, **CELL_VARIANTS[cell][variant]}


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
    crf: bool = False  # tag: whether tags depend on the tag before

    def __post_init__(self) -> None:
        whole("the vocabulary's size", self.vocabulary_size, 3, 1 << 27)
        whole("the number of labels", self.labels, 0, 1 << 27)
        whole("the size of the target's vocabulary", self.target_size, 0, 1 << 27)
        task_of(self.task)
        flag("--bidirectional", self.bidirectional)
        one_of("--cell", self.cell, tuple(CELL_VARIANTS))
        one_of("--activation", self.activation, ACTIVATIONS)
        one_of("--reset", self.reset, RESETS)
        one_of("--dtype", self.dtype, DTYPES)
        whole("--hidden-size", self.hidden_size, 1)
        whole("--num-layers", self.num_layers, 1, MOST_LAYERS)
        whole("--embedding-size", self.embedding_size, 0)
        if not isinstance(self.dense, tuple | list):
            raise UsageError(f"--dense is {self.dense!r}", hint="give the number of units of each dense layer")
        whole("the number of --dense layers", len(self.dense), 0, MOST_LAYERS)
        for size in self.dense:
            whole("--dense", size, 1)
        number("--dropout", self.dropout, 0.0, 0.95)
        flag("--relevance-gate", self.relevance_gate)
        flag("--tie-weights", self.tie_weights)
        flag("--crf", self.crf)
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
        if self.crf and not facts.chain_head:
            raise UsageError(f"{task} with --crf", hint="it is an option of --task tag: leave --crf out")
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

"""The network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from charlm.config.cutoffs import MOST_CLUSTERS, default_cutoffs
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
SOFTMAXES = ("full", "adaptive")
ACTIVATIONS, RESETS = tuple(CELL_VARIANTS["rnn"]), tuple(CELL_VARIANTS["gru"])

DROPOUT_KINDS = ("standard", "variational")

MOST_LAYERS = 100

# Fields that training alone depends on: a training that starts from another model's weights has its own.
OF_TRAINING = (
    *("dropout", "dropout_kind", "embedding_dropout", "weight_drop", "activation_penalty", "temporal_penalty"),
    "dtype",
)


def cell_fields(cell: str, variant: str) -> dict[str, Any]:
    """Return the fields of `ModelConfig` that choose a variant of a cell."""
    return {"cell": cell, **CELL_VARIANTS[cell][variant]}


@dataclass(frozen=True)
class ModelConfig(Record):
    """The network: everything that determines the shapes of its parameters, and how it computes."""

    added: ClassVar[tuple[str, ...]] = (
        *("dropout_kind", "embedding_dropout", "weight_drop", "activation_penalty", "temporal_penalty"),
        *("softmax", "cutoffs", "crf", "char_features", "characters"),
    )

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
    dropout_kind: str = "standard"
    embedding_dropout: float = 0.0  # of whole vectors of the embedding
    weight_drop: float = 0.0  # of recurrent weights
    activation_penalty: float = 0.0  # factor of the last recurrent layer's mean a^2
    temporal_penalty: float = 0.0  # factor of its mean (a<t> - a<t-1>)^2
    softmax: str = "full"
    cutoffs: tuple[int, ...] = ()  # adaptive: the first token of each cluster; () chooses `default_cutoffs`
    crf: bool = False  # tag: whether tags depend on the tag before
    char_features: int = 0  # units, in each direction, of the layer that reads a word's characters; 0: no such layer
    characters: int = 0  # number of characters that this layer distinguishes

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
        for name, rate in (
            ("--dropout", self.dropout),
            ("--embedding-dropout", self.embedding_dropout),
            ("--weight-drop", self.weight_drop),
        ):
            number(name, rate, 0.0, 0.95)
        one_of("--dropout-kind", self.dropout_kind, DROPOUT_KINDS)
        number("--activation-penalty", self.activation_penalty, 0.0, 1e6)
        number("--temporal-penalty", self.temporal_penalty, 0.0, 1e6)
        one_of("--softmax", self.softmax, SOFTMAXES)
        self._check_cutoffs()
        flag("--relevance-gate", self.relevance_gate)
        flag("--tie-weights", self.tie_weights)
        flag("--crf", self.crf)
        whole("--char-features", self.char_features, 0)
        whole("the number of characters", self.characters, 0)
        self._check_cell()
        self._check_task()
        if self.embedding_dropout and not self.embedding_size:
            raise UsageError(
                f"--embedding-dropout {self.embedding_dropout:g} without an embedding",
                hint="add --embedding-size N, or leave --embedding-dropout out",
            )
        if self.char_features and not self.embedding_size:
            raise UsageError(
                f"--char-features {self.char_features} without an embedding",
                hint="add --embedding-size N, or leave --char-features out",
            )
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

    def _check_cutoffs(self) -> None:
        """Raise UsageError for cutoffs that do not divide the tokens, and for what an adaptive softmax excludes."""
        if not isinstance(self.cutoffs, tuple | list):
            raise UsageError(f"--cutoffs is {self.cutoffs!r}", hint="give the first token of each cluster")
        whole("the number of --cutoffs", len(self.cutoffs), 0, MOST_CLUSTERS)
        outputs, before = self.target_size or self.vocabulary_size, 0
        if self.softmax == "adaptive" and not self.cutoffs:
            object.__setattr__(self, "cutoffs", default_cutoffs(outputs, tied=self.tie_weights))
        for cutoff in self.cutoffs:
            whole("--cutoffs", cutoff, before + 1, outputs - 1)
            before = cutoff
        if self.softmax == "full" and self.cutoffs:
            raise UsageError("--cutoffs with --softmax full", hint="add --softmax adaptive")

    def _check_task(self) -> None:
        """Raise UsageError for what the task does not allow."""
        facts, task = self.facts, f"--task {self.task}"
        if self.bidirectional not in facts.bidirectional:
            if self.bidirectional:
                raise UsageError(f"{task} with --bidirectional", hint="it predicts what comes next: leave it out")
            raise UsageError(f"{task} with --causal", hint="it reads both sides: leave --causal out, or use --task lm")
        if self.tie_weights and facts.targets != "tokens":
            raise UsageError(f"{task} with --tie-weights", hint="its outputs are not tokens: leave --tie-weights out")
        if self.softmax == "adaptive" and facts.targets != "tokens":
            hint = "its outputs are not tokens: leave --softmax out"
            raise UsageError(f"{task} with --softmax adaptive", hint=hint)
        if self.embedding_size and facts.inputs != "tokens":
            hint = f"it reads a 0 or 1 for each of its {facts.inputs}: leave --embedding-size out"
            raise UsageError(f"{task} with --embedding-size", hint=hint)
        if self.crf and not facts.chain_head:
            raise UsageError(f"{task} with --crf", hint="it is an option of --task tag: leave --crf out")
        if self.char_features and not facts.spells:
            hint = "it is an option of --task tag: leave --char-features out"
            raise UsageError(f"{task} with --char-features", hint=hint)
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
    def is_regularised(self) -> bool:
        """Whether a forward pass of training differs from one that reads: by dropout or by a penalty."""
        rates = (self.dropout, self.embedding_dropout, self.weight_drop)
        return any(rates) or bool(self.activation_penalty or self.temporal_penalty)

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

"""From a configuration to a network: the only place where names become classes.

| body | what it is | tasks |
|---|---|---|
| stack | recurrent layers, of one direction or of both, dense layers on top | lm, tag, music |
| last step | the same, with the last states of both directions together at the last step | classify |
| towers | a causal stack from each side, dense layers on top | cloze |
| encoder-decoder | a causal stack whose first state is the last one of an encoder | translate |

The head on top is a softmax or a sigmoid, over tokens, labels or keys; or a chain of labels.
"""

from __future__ import annotations

import copyreg
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from charlm.backends import Backend, Shape, get_backend
from charlm.config import ModelConfig
from charlm.nn.cells import cell_class
from charlm.nn.cells.base import OUTPUT_RMS
from charlm.nn.dense import Dense
from charlm.nn.directions import BothWays, LastSteps, Reversed, Towers
from charlm.nn.dropout import Dropout, VariationalDropout
from charlm.nn.embedding import Embedding, InputColumns, MultiHot
from charlm.nn.grads import Grads, Rows
from charlm.nn.heads import HEADS, Head
from charlm.nn.layer import Layer, Stack, views_of
from charlm.nn.model import Model
from charlm.nn.parameters import Parameters
from charlm.nn.penalties import ActivationPenalty, TemporalPenalty
from charlm.nn.recurrent import Recurrent
from charlm.nn.spelling import SpelledEmbedding
from charlm.nn.weight_drop import WeightDrop
from charlm.nn.word_dropout import DroppedEmbedding
from charlm.processes import is_shared, world
from charlm.randomness import INITIALISE, generator
from charlm.text.tokens.codec import SPECIAL

# Tokens. With more, a look-up is faster than the product with a one-hot vector. Part of the file format.
LARGEST_ONE_HOT = 512

# Large enough to distinguish tokens, small enough for a few examples to move a rare one.
EMBEDDING_RMS = 0.1

# Keys that sound at the same time, on average.
_VOICES = 4

# The number of the first dropout of a second stack, which must not drop the same units as the first one.
_OTHER_PLACES = 1000

# The numbers of the other masks of a stack; those of its dropouts are below.
_WORD_PLACE, _WEIGHT_PLACES = 400, 500


def build(config: ModelConfig, ops: Backend, *, seed: int | None = None, init_scale: float = 0.0) -> Model:
    """Build the network of a configuration, with random weights of this seed; without a seed they are zeros.

    init_scale: draw all weights from U(-init_scale, init_scale), as Zaremba et al. 2014; 0: each layer has its own
        distribution
    """
    network = _Network(config, ops)
    parameters = Parameters(network.shapes(), ops, config.array_dtype)
    model = _bound(network, parameters)
    if seed is not None:
        rng = generator(seed, INITIALISE)
        if init_scale:
            for view in parameters.named(parameters.values).values():
                view[...] = ops.array(rng.uniform(-init_scale, init_scale, view.shape), view.dtype)
        else:
            for part in network.parts.values():
                part.initialise(rng)
    return model


def _bound(network: _Network, parameters: Parameters) -> Model:
    """Return the model of a network with these parameters."""
    config, ops = network.config, network.ops
    grads = network.bind(parameters)
    return Model(config, ops, network.body, network.head, parameters, grads, encoder=network.encoder)


def for_training(model: Model) -> Model:
    """Return the network that learns: `in_precision` of the configuration."""
    return in_precision(model, model.config.dtype)


def in_precision(model: Model, dtype: str) -> Model:
    """Return a network with the weights of a model that computes products in a precision.

    dtype: that of the model's arrays, for which it is the model itself; or bfloat16, if they are float32. The network
        then shares the model's weights, and the model itself goes on computing in float32.
    Raises ResourceError if the device does not compute products in bfloat16.
    """
    ops = model.ops.in_precision(dtype)
    if ops is model.ops:
        return model
    p = model.parameters
    return _bound(_Network(model.config, ops), Parameters(p.shapes, ops, model.config.array_dtype, values=p.values))


def training_core(model: Model) -> str:
    """Return what computes the products of a training of this model, see `Backend.core`.

    Raises ResourceError as `in_precision` does.
    """
    return model.ops.in_precision(model.config.dtype).core


def _reduced(model: Model) -> tuple[Callable[..., Model], tuple[Any, ...]]:
    """Return how a copy of a model is built in another process, on a device of the same kind."""
    return _copied, (model.config, model.ops.numpy(model.parameters.values), model.ops.name)


def _copied(config: ModelConfig, values: np.ndarray, device: str) -> Model:
    model = build(config, get_backend(device, gpu=world().local_rank if is_shared() else 0))
    model.parameters.values[...] = model.ops.array(values)
    return model


# The standard way for pickle to copy a model whose arrays may lie on a device.
copyreg.pickle(Model, _reduced)


def parameter_shapes(config: ModelConfig, ops: Backend) -> dict[str, Shape]:
    """Return the shape of each parameter by its name in the file. No array is allocated."""
    return _Network(config, ops).shapes()


class _Network:
    """The parts of a network by the prefix of their parameters' names, and the names that share one array."""

    def __init__(self, config: ModelConfig, ops: Backend) -> None:
        self.config, self.ops = config, ops
        facts = config.facts
        labels = config.labels if facts.can_be_conditioned and facts.inputs == "tokens" else 0
        tokens = config.target_size or config.vocabulary_size + labels
        self.body: Stack
        if facts.body == "towers":
            top = 2 * config.hidden_size
            towers = Towers(Stack(self._recurrent(tokens)), Stack(self._recurrent(tokens, first_place=_OTHER_PLACES)))
            self.body = Stack({"towers": towers, **self._dense(top)})
        else:
            self.body = Stack(self._causal_or_both(tokens))
        self.encoder: Reversed | None = None
        if facts.body == "encoder-decoder":
            stack = Stack(self._recurrent(config.vocabulary_size, first_place=_OTHER_PLACES))
            self.encoder = Reversed(stack)
        self.head = self._head()
        self.parts: dict[str, Layer | Head] = {"": self.body}
        if self.encoder is not None:
            self.parts["encoder."] = self.encoder
        self.parts["head."] = self.head

    def shapes(self) -> dict[str, Shape]:
        """Return the shape of each array of the file."""
        aliases = self._aliases()
        every = {prefix + name: shape for prefix, part in self.parts.items() for name, shape in part.shapes().items()}
        return {name: shape for name, shape in every.items() if name not in aliases}

    def bind(self, parameters: Parameters) -> Grads:
        """Bind each part to its parameters and to their gradients; return the gradients of all."""
        values, aliases = parameters.named(parameters.values), self._aliases()
        grads = Grads(parameters.named(parameters.grads), self.ops, aliases=aliases)
        values |= {name: values[one.name][one.first : one.end] for name, one in aliases.items()}
        for prefix, part in self.parts.items():
            part.bind(views_of(values, prefix), grads.of(prefix))
        return grads

    def _aliases(self) -> dict[str, Rows]:
        """Return the rows that each name of shared weights stands for."""
        config = self.config
        has_towers = config.facts.body == "towers"
        embedding = "towers.from_left.input.E" if has_towers else "input.E"
        rows = config.target_size or config.vocabulary_size
        aliases: dict[str, Rows] = {}
        if has_towers and config.embedding_size:
            aliases["towers.from_right.input.E"] = Rows(embedding, 0, rows)
        if config.tie_weights:
            aliases |= {
                f"head.{name}": Rows(embedding, first, end) for name, (first, end) in self.head.tied_rows().items()
            }
        return aliases

    def _head(self) -> Head:
        config, facts = self.config, self.config.facts
        outputs = {
            "tokens": config.target_size or config.vocabulary_size,
            "labels": config.labels,
            "keys": config.vocabulary_size - SPECIAL,
        }
        if config.crf:
            return HEADS[facts.chain_head](self.ops, config.top, max(2, config.labels))
        is_binary = facts.needs_labels and config.labels == 1 and facts.binary_head
        name, options = facts.binary_head if is_binary else facts.head, dict[str, Any](tied=config.tie_weights)
        if config.softmax == "adaptive":
            name, options = "adaptive", {**options, "cutoffs": config.cutoffs}
        return HEADS[name](self.ops, config.top, outputs[facts.targets], **options)

    def _causal_or_both(self, tokens: int) -> dict[str, Layer]:
        """Return recurrent layers, of one direction or of both, and dense layers on top."""
        layers = self._recurrent(tokens, both=self.config.bidirectional)
        if self.config.facts.body == "last step" and self.config.bidirectional:
            top = layers[f"layer{self.config.num_layers - 1}"]
            assert isinstance(top, BothWays)
            layers["ends"] = LastSteps(top)
        return {**layers, **self._dense(self.config.hidden_size * (2 if self.config.bidirectional else 1))}

    def _dense(self, n_in: int) -> dict[str, Layer]:
        layers: dict[str, Layer] = {}
        for index, size in enumerate(self.config.dense):
            layers[f"dense{index}"] = Dense(self.ops, n_in, size, self.config.activation)
            n_in = size
        return layers

    def _recurrent(self, tokens: int, *, both: bool = False, first_place: int = 0) -> dict[str, Layer]:
        """Return the input and the recurrent layers, with dropout after each one but a one-hot input."""
        config, ops, H = self.config, self.ops, self.config.hidden_size
        make_cell = cell_class(config)
        sides = 2 if both else 1
        reads_keys = config.facts.inputs == "keys"
        projected = not config.embedding_size and tokens > LARGEST_ONE_HOT and not reads_keys
        one_hot = not (config.embedding_size or projected or reads_keys)
        rms = OUTPUT_RMS
        layers: dict[str, Layer] = {}
        columns: InputColumns | None = None
        dropout = VariationalDropout if config.dropout_kind == "variational" else Dropout

        def add(name: str, layer: Layer, *, is_last: bool = False) -> None:
            layers[name] = layer
            if is_last and config.temporal_penalty:
                layers["temporal_penalty"] = TemporalPenalty(ops, layer.n_out, config.temporal_penalty)
            if config.dropout:
                place = first_place + len(layers) + one_hot
                layers[f"{name}.dropout"] = dropout(ops, layer.n_out, config.dropout, place=place)
            if is_last and config.activation_penalty:
                layers["activation_penalty"] = ActivationPenalty(ops, layer.n_out, config.activation_penalty)

        if reads_keys:
            keys = tokens - SPECIAL
            layers["input"] = MultiHot(ops, keys + config.labels)
            rms = math.sqrt(_VOICES / keys)
        elif config.embedding_size:
            embedding = self._embedding(tokens, first_place)
            rms = embedding.rms
            add("input", embedding)
        elif projected:
            layers["input"] = columns = InputColumns(ops, tokens, sides * len(make_cell.gates) * H)
        else:
            rms = 1.0 / math.sqrt(tokens)
        n_in = 0 if projected else tokens if one_hot else layers["input"].n_out
        for index in range(config.num_layers):
            first = index == 0
            input_rms = rms if first else OUTPUT_RMS
            below_learns = not first or bool(config.embedding_size)
            one, *other = (
                Recurrent(
                    make_cell(ops, n_in, H, input_rms=input_rms),
                    wants_dx=below_learns,
                    one_hot=one_hot and first,
                    columns=columns if first else None,
                    side=side,
                    weight_drop=self._weight_drop(first_place + 2 * index + side),
                )
                for side in range(sides)
            )
            n_in = sides * H
            is_last = index == config.num_layers - 1
            add(f"layer{index}", BothWays(one, other[0]) if both else one, is_last=is_last)
        return layers

    def _embedding(self, tokens: int, first_place: int) -> Embedding | SpelledEmbedding:
        words, N = self._words(tokens, first_place), self.config.char_features
        if not N:
            return words
        one, other = (cell_class(self.config)(self.ops, N, N, input_rms=words.rms) for _ in range(2))
        squares = words.n_out * words.rms**2 + 2 * N * OUTPUT_RMS**2
        rms = math.sqrt(squares / (words.n_out + 2 * N))
        return SpelledEmbedding(words, self.config.characters, (one, other), rms=rms)

    def _words(self, tokens: int, first_place: int) -> Embedding:
        config, rms, place = self.config, EMBEDDING_RMS, first_place + _WORD_PLACE
        if not (rate := config.embedding_dropout):
            return Embedding(self.ops, tokens, config.embedding_size, rms=rms)
        return DroppedEmbedding(self.ops, tokens, config.embedding_size, rms=rms, rate=rate, place=place)

    def _weight_drop(self, place: int) -> WeightDrop | None:
        rate = self.config.weight_drop
        return WeightDrop(rate, _WEIGHT_PLACES + place) if rate else None

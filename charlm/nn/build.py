"""From a configuration to a network: the only place where names become classes.

| task | body | head |
|---|---|---|
| lm | causal: recurrent layers, dense layers on top | softmax over the tokens |
| cloze | towers: one causal body from each side, dense layers on top | softmax over the tokens |
| tag | recurrent layers both ways, or causal, dense layers on top | softmax over the tags, or sigmoid of one unit |
| classify | the same, with both last states brought together | softmax over the classes |
| translate | an encoder, whose last state is the first one of a causal decoder | softmax over the target's tokens |
| music | causal | sigmoid of each key |
"""

from __future__ import annotations

import math

from charlm.backends import Backend, Shape
from charlm.config import ModelConfig
from charlm.nn.cells import cell_class
from charlm.nn.cells.base import OUTPUT_RMS
from charlm.nn.dense import Dense
from charlm.nn.directions import BothWays, LastSteps, Reversed, Towers
from charlm.nn.dropout import Dropout
from charlm.nn.embedding import Embedding, MultiHot, OneHot
from charlm.nn.grads import Grads
from charlm.nn.heads import HEADS, Head, Sigmoid
from charlm.nn.layer import Layer, Stack, Views
from charlm.nn.model import Model
from charlm.nn.parameters import Parameters
from charlm.nn.recurrent import Recurrent
from charlm.randomness import INITIALISE, generator
from charlm.text.tokens.codec import SPECIAL

LARGEST_ONE_HOT = 512  # tokens: above it a look-up beats the product with a one-hot vector; part of the file format

EMBEDDING_RMS = 0.1  # large enough to tell tokens apart, small enough for rare ones to be moved by a few examples
_VOICES = 4  # keys that sound at once, about
_OTHER_PLACES = 1000  # where the dropouts of a second stack are counted from


def build(config: ModelConfig, ops: Backend, *, seed: int | None = None) -> Model:
    """Build the network of a configuration, with weights drawn by the seed, or with zeros where there is none."""
    network = _Network(config, ops)
    parameters = Parameters(network.shapes(), ops, config.dtype)
    model = _bound(network, parameters)
    if seed is not None:
        rng = generator(seed, INITIALISE)
        for part in network.parts.values():
            part.initialise(rng)
    return model


def _bound(network: _Network, parameters: Parameters) -> Model:
    """Make a model of a network with these parameters."""
    config, ops = network.config, network.ops
    grads = network.bind(parameters)

    def twin() -> Model:
        return _bound(_Network(config, ops), Parameters(network.shapes(), ops, config.dtype, values=parameters.values))

    return Model(config, ops, network.body, network.head, parameters, grads, encoder=network.encoder, twin=twin)


def parameter_shapes(config: ModelConfig, ops: Backend) -> dict[str, Shape]:
    """Give each parameter's shape by its name in the file; nothing is allocated."""
    return _Network(config, ops).shapes()


class _Network:
    """The parts of a network by the prefix of their parameters' names, and the names that share one array."""

    def __init__(self, config: ModelConfig, ops: Backend) -> None:
        self.config, self.ops = config, ops
        tokens = config.target_size or config.vocabulary_size + (config.labels if config.task == "lm" else 0)
        self.body: Stack
        if config.task == "cloze":
            top = 2 * config.hidden_size
            towers = Towers(Stack(self._recurrent(tokens)), Stack(self._recurrent(tokens, first_place=_OTHER_PLACES)))
            self.body = Stack({"towers": towers, **self._dense(top)})
        else:
            self.body = Stack(self._causal_or_both(tokens))
        self.encoder: Reversed | None = None
        if config.task == "translate":
            stack = Stack(self._recurrent(config.vocabulary_size, first_place=_OTHER_PLACES))
            self.encoder = Reversed(stack)
        self.head = self._head()
        self.parts: dict[str, Layer | Head] = {"": self.body}
        if self.encoder is not None:
            self.parts["encoder."] = self.encoder
        self.parts["head."] = self.head

    def shapes(self) -> dict[str, Shape]:
        """Give the shape of each array of the file."""
        aliases = self._aliases()
        every = {prefix + name: shape for prefix, part in self.parts.items() for name, shape in part.shapes().items()}
        return {name: shape for name, shape in every.items() if name not in aliases}

    def bind(self, parameters: Parameters) -> Grads:
        """Bind each part to its parameters and to their gradients; return the gradients of all."""
        values, aliases = parameters.named(parameters.values), self._aliases()
        grads = Grads(parameters.named(parameters.grads), self.ops, aliases=aliases)
        values |= {name: values[original][:rows] for name, (original, rows) in aliases.items()}
        for prefix, part in self.parts.items():
            part.bind(_with_prefix(values, prefix), grads.of(prefix))
        return grads

    def _aliases(self) -> dict[str, tuple[str, int]]:
        """Return the names of shared weights: name -> the name of their array, and how many of its rows they are."""
        config = self.config
        embedding = "towers.from_left.input.E" if config.task == "cloze" else "input.E"
        rows = config.target_size or config.vocabulary_size
        aliases = {}
        if config.task == "cloze" and config.embedding_size:
            aliases["towers.from_right.input.E"] = embedding, rows
        if config.tie_weights:
            aliases["head.W_y"] = embedding, rows
        return aliases

    def _head(self) -> Head:
        config = self.config
        V = config.vocabulary_size
        outputs = {"lm": V, "cloze": V, "translate": config.target_size, "music": V - SPECIAL}
        kind = Sigmoid if config.task == "tag" and config.labels == 1 else HEADS[config.task]
        return kind(self.ops, config.top, outputs.get(config.task, config.labels), tied=config.tie_weights)

    def _causal_or_both(self, tokens: int) -> dict[str, Layer]:
        """Stack recurrent layers, of one direction or of both, and dense layers."""
        layers = self._recurrent(tokens, both=self.config.bidirectional)
        if self.config.task == "classify" and self.config.bidirectional:
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
        """Stack the input and the recurrent layers, with dropout on the way up from each but one-hot."""
        config, ops, H = self.config, self.ops, self.config.hidden_size
        make_cell = cell_class(config)
        sides = 2 if both else 1
        projected = not config.embedding_size and tokens > LARGEST_ONE_HOT and config.task != "music"
        rms = OUTPUT_RMS
        layers: dict[str, Layer] = {}

        def with_dropout(name: str, layer: Layer) -> None:
            layers[name] = layer
            if config.dropout:
                place = first_place + len(layers)
                layers[f"{name}.dropout"] = Dropout(ops, layer.n_out, config.dropout, place=place)

        if config.task == "music":
            keys = tokens - SPECIAL
            layers["input"] = MultiHot(ops, keys + config.labels)
            rms = math.sqrt(_VOICES / keys)
        elif config.embedding_size:
            rms = EMBEDDING_RMS
            with_dropout("input", Embedding(ops, tokens, config.embedding_size, rms=rms))
        elif projected:
            layers["input"] = Embedding(ops, tokens, sides * len(make_cell.gates) * H)
        else:
            layers["input"] = OneHot(ops, tokens)
            rms = 1.0 / math.sqrt(tokens)
        n_in = 0 if projected else layers["input"].n_out
        for index in range(config.num_layers):
            first = index == 0
            input_rms = rms if first else OUTPUT_RMS
            below_learns = not first or bool(config.embedding_size)
            given = projected and first
            one, *other = (
                Recurrent(make_cell(ops, n_in, H, input_rms=input_rms), wants_dx=below_learns, projected=given)
                for _ in range(sides)
            )
            with_dropout(f"layer{index}", BothWays(one, other[0], projected=given) if both else one)
            n_in = sides * H
        return layers


def _with_prefix(views: Views, prefix: str) -> Views:
    return {name.removeprefix(prefix): view for name, view in views.items() if name.startswith(prefix)}

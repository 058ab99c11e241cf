"""From a configuration to a network: the only place where names become classes."""

from __future__ import annotations

import math

from charlm.backends import Backend, Shape
from charlm.config import ModelConfig
from charlm.nn.cells import cell_class
from charlm.nn.cells.base import OUTPUT_RMS
from charlm.nn.dense import Dense
from charlm.nn.dropout import Dropout
from charlm.nn.embedding import Embedding, OneHot
from charlm.nn.heads import HEADS, Head
from charlm.nn.layer import Layer, Stack
from charlm.nn.model import Model
from charlm.nn.parameters import Parameters
from charlm.nn.recurrent import Recurrent
from charlm.randomness import INITIALISE, generator

LARGEST_ONE_HOT = 512  # tokens: above it a look-up beats the product with a one-hot vector; part of the file format

TIED_RMS = 0.1  # of an embedding that is the output layer too: as large as that one begins


def build(config: ModelConfig, ops: Backend, *, seed: int | None = None) -> Model:
    """Build the network of a configuration, with weights drawn by the seed, or with zeros where there is none."""
    body, head = Stack(_layers(config, ops)), _head(config, ops)
    parameters = Parameters(parameter_shapes(config, ops), ops, config.dtype)
    values, grads = parameters.named(parameters.values), parameters.named(parameters.grads)
    body.bind(values, grads)
    for views in (values, grads):
        if config.tie_weights:
            views["head.W_y"] = views["input.E"]
    own = [name for name in values if name.startswith("head.")]
    head.bind({n[5:]: values[n] for n in own}, {n[5:]: grads[n] for n in own})
    if seed is not None:
        rng = generator(seed, INITIALISE)
        body.initialise(rng)
        head.initialise(rng)
    return Model(config, ops, body, head, parameters)


def parameter_shapes(config: ModelConfig, ops: Backend) -> dict[str, Shape]:
    """Give each parameter's shape by its name in the file; nothing is allocated."""
    body, head = Stack(_layers(config, ops)), _head(config, ops)
    return {**body.shapes(), **{f"head.{name}": shape for name, shape in head.shapes().items()}}


def _head(config: ModelConfig, ops: Backend) -> Head:
    top = config.dense[-1] if config.dense else config.hidden_size
    return HEADS["lm"](ops, top, config.vocabulary_size, tied=config.tie_weights)


def _layers(config: ModelConfig, ops: Backend) -> dict[str, Layer]:
    """Stack the causal body: input, recurrent layers, dense layers, and dropout on the way up from each but one-hot."""
    V, H = config.vocabulary_size, config.hidden_size
    make_cell = cell_class(config)
    projected = not config.embedding_size and V > LARGEST_ONE_HOT
    rms = OUTPUT_RMS
    layers: dict[str, Layer] = {}

    def with_dropout(name: str, layer: Layer) -> None:
        layers[name] = layer
        if config.dropout:
            layers[f"{name}.dropout"] = Dropout(ops, layer.n_out, config.dropout, place=len(layers))

    if config.embedding_size:
        rms = TIED_RMS if config.tie_weights else 1.0
        with_dropout("input", Embedding(ops, V, config.embedding_size, rms=rms))
    elif projected:
        layers["input"] = Embedding(ops, V, len(make_cell.gates) * H)
    else:
        layers["input"] = OneHot(ops, V)
        rms = 1.0 / math.sqrt(V)
    n_in = 0 if projected else layers["input"].n_out
    for index in range(config.num_layers):
        first = index == 0
        cell = make_cell(ops, n_in, H, input_rms=rms if first else OUTPUT_RMS)
        learns_below = not first or bool(config.embedding_size)
        with_dropout(f"layer{index}", Recurrent(cell, wants_dx=learns_below, projected=projected and first))
        n_in = H
    for index, size in enumerate(config.dense):
        layers[f"dense{index}"] = Dense(ops, n_in, size, config.activation)
        n_in = size
    return layers

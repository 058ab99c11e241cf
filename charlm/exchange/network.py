"""A network in the form that ONNX and torch.nn share: an embedding, recurrent layers, dense layers, an output layer.

The embedding has a row for each token, then one for each label of a conditioned model, then a row of zeros: x<1> = 0.
Where charlm reads one-hot tokens, the embedding is the identity matrix. Where it keeps W_x by token, for a large
vocabulary, the embedding is that table, and W_ih of the first layer is the identity matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from charlm.backends import NumpyBackend
from charlm.config import ModelConfig
from charlm.errors import UsageError
from charlm.exchange.blocks import Form, Weights, from_form, to_form
from charlm.language_model import LanguageModel
from charlm.nn.build import LARGEST_ONE_HOT
from charlm.nn.cells import Cell, cell_class

# The parts of the parameters' names, by the names that the stacks have in other programs.
_STACK = {"rnn": ""}
_TOWERS = {"left": "towers.from_left.", "right": "towers.from_right."}
_SIDES = ("from_left.", "from_right.")

_OTHER_CELL = {
    "gru-before": "its product is of Gamma_r c<t-1>: export it to ONNX, or train with --reset after",
    "gru-both": "train with --reset after",
    "lstm-relevance": "train without --relevance-gate",
    "lstm-peephole": "its output gate sees c<t-1>, that of others c<t>: train with --cell lstm",
}


@dataclass(frozen=True)
class Affine:
    """y = W x + b: W [n_out, n_in], b [n_out]."""

    W: np.ndarray
    b: np.ndarray


@dataclass(frozen=True)
class Network:
    """The weights of a network.

    embedding [N + 1, D]: the last row is zero
    stacks: by name, the layers of each, and of each layer its directions
    dense: the layers on top; output: the logits
    """

    embedding: np.ndarray
    stacks: Mapping[str, tuple[tuple[Weights, ...], ...]]
    dense: tuple[Affine, ...]
    output: Affine


def form_of(config: ModelConfig, forms: Mapping[str, Form], program: str) -> Form:
    """Return how a program computes the cell of a configuration; raise UsageError if it cannot."""
    if config.crf:
        raise UsageError(f"{program} has no operator for --crf", hint="train without --crf")
    if config.char_features:
        hint = "train without --char-features"
        raise UsageError(f"{program} reads words by their ids, not by their characters", hint=hint)
    name = cell_class(config).name
    if name not in forms:
        flags = {"reset": f" --reset {config.reset}", "relevance_gate": " --relevance-gate"}
        which = f"--cell {config.cell}" + "".join(
            flags[key] for key in flags if getattr(config, key) != getattr(ModelConfig, key)
        )
        hint = _OTHER_CELL.get(name, "train with another --cell")
        raise UsageError(f"{program} has no operator for {which}", hint=hint)
    return forms[name]


def stacks_of(config: ModelConfig) -> dict[str, str]:
    """Return the beginning of the parameters' names by the name of each stack."""
    return _TOWERS if config.facts.body == "towers" else _STACK


def rows_of(config: ModelConfig) -> int:
    """Return N, the number of ids that the network reads, which is also the id of x<1> = 0."""
    return config.vocabulary_size + (config.labels if config.is_conditioned else 0)


def is_by_token(config: ModelConfig) -> bool:
    """Return whether W_x of the first layer is a table by token."""
    return not config.embedding_size and rows_of(config) > LARGEST_ONE_HOT


def network_of(language_model: LanguageModel, form: Form) -> Network:
    """Return the network of a model in the form of another program."""
    model, config = language_model.model, language_model.model.config
    parameters = model.parameters
    named = parameters.named(model.ops.numpy(parameters.values))
    cell = _cell(config)
    stacks = {
        name: tuple(
            tuple(
                _direction(named, prefix, layer, side, form, cell, config, number + offset)
                for number, side in enumerate(_sides(config))
            )
            for layer in range(config.num_layers)
        )
        for offset, (name, prefix) in enumerate(stacks_of(config).items())
    }
    dense = [Affine(named[f"dense{i}.W"], named[f"dense{i}.b"][:, 0]) for i in range(len(config.dense))]
    table = _table(named, config)
    embedding = np.concatenate([table, np.zeros_like(table[:1])])
    W_y = table[: config.vocabulary_size] if config.tie_weights else named["head.W_y"]
    b_y = named["head.b_y"][:, 0]
    if is_binary(config):
        # A softmax over the logits 0 and z is the sigmoid of z.
        W_y, b_y = np.concatenate([np.zeros_like(W_y), W_y]), np.concatenate([np.zeros_like(b_y), b_y])
    return Network(embedding, stacks, tuple(dense), Affine(W_y, b_y))


def parameters_of(network: Network, config: ModelConfig, form: Form) -> dict[str, np.ndarray]:
    """Return the parameters of charlm by name.

    Raises ValueError if the network computes what the configuration cannot.
    """
    table, N, cell = network.embedding[:-1], rows_of(config), _cell(config)
    if len(table) != N:
        raise ValueError(f"the embedding has {len(table)} rows for {N} tokens")
    if network.embedding[-1].any():
        raise ValueError("the last row of the embedding is not zero")
    values: dict[str, np.ndarray] = {}
    columns: dict[str, list[np.ndarray]] = {}
    for name, prefix in stacks_of(config).items():
        for layer, directions in enumerate(network.stacks[name]):
            for side, weights in zip(_sides(config), directions, strict=True):
                W_a, W_x, b, b_a = from_form(form, cell, weights)
                if layer == 0 and is_by_token(config):
                    columns.setdefault(f"{prefix}input.E", []).append(_product(table, W_x.T))
                    W_x = W_x[:, :0]
                elif layer == 0 and not config.embedding_size:
                    W_x = _product(W_x, table.T)
                here = f"{prefix}layer{layer}.{side}"
                values[f"{here}W"] = np.concatenate([W_a, W_x, b[:, None]], axis=1)
                if b_a.size:
                    values[f"{here}b_ca"] = b_a[:, None]
    values |= {name: np.concatenate(parts, axis=1) for name, parts in columns.items()}
    if config.embedding_size:
        values[f"{next(iter(stacks_of(config).values()))}input.E"] = table
    for number, affine in enumerate(network.dense):
        values |= {f"dense{number}.W": affine.W, f"dense{number}.b": affine.b[:, None]}
    W_y, b_y = network.output.W, network.output.b
    if is_binary(config):
        W_y, b_y = W_y[1:] - W_y[:1], b_y[1:] - b_y[:1]
    if not config.tie_weights:
        values["head.W_y"] = W_y
    values["head.b_y"] = b_y[:, None]
    return values


def is_binary(config: ModelConfig) -> bool:
    """Return whether the output is the probability of one label out of two."""
    return config.labels == 1 and bool(config.facts.binary_head)


def _cell(config: ModelConfig) -> Cell:
    return cell_class(config)(NumpyBackend(), 0, config.hidden_size)


def _sides(config: ModelConfig) -> tuple[str, ...]:
    return _SIDES if config.bidirectional and config.facts.body != "towers" else ("",)


def _direction(
    named: Mapping[str, np.ndarray],
    prefix: str,
    layer: int,
    side: str,
    form: Form,
    cell: Cell,
    config: ModelConfig,
    number: int,
) -> Weights:
    """Return the weights of one direction of a layer; number: its place among those that read the same table."""
    W = named[f"{prefix}layer{layer}.{side}W"]
    b_a = named.get(f"{prefix}layer{layer}.{side}b_ca", W[:0])[:, 0]
    W_a, W_x, b = W[:, : config.hidden_size], W[:, config.hidden_size : -1], W[:, -1]
    if layer == 0 and is_by_token(config):
        W_x = np.eye(cell.rows, cell.rows * (2 if config.bidirectional else 1), number * cell.rows, dtype=W.dtype)
    return to_form(form, cell, W_a, W_x, b, b_a)


def _table(named: Mapping[str, np.ndarray], config: ModelConfig) -> np.ndarray:
    """Return the embedding [N, D] without its row of zeros."""
    if not config.embedding_size and not is_by_token(config):
        return np.eye(rows_of(config), dtype=config.array_dtype)
    names = [f"{prefix}input.E" for prefix in stacks_of(config).values()]
    return np.concatenate([named[name] for name in names if name in named], axis=1)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a b; bit by bit, if one of them is an identity matrix or picks columns."""
    for one, other, picked in ((a, b, True), (b, a, False)):
        if ((one == 0) | (one == 1)).all() and (one.sum(axis=1 if picked else 0) == 1).all():
            at = one.argmax(axis=1 if picked else 0)
            return np.ascontiguousarray(other[at] if picked else other[:, at])
    return np.ascontiguousarray(a @ b)


def chained(affines: Mapping[str, Affine], n_in: int, n_out: int) -> Iterator[str]:
    """Yield the names of layers in the order in which their sizes fit; raise ValueError if there is no such order."""
    left, at = dict(affines), n_in
    while left:
        fitting = [name for name, one in left.items() if one.W.shape[1] == at]
        # The output layer comes last.
        fitting.sort(key=lambda name: left[name].W.shape[0] == n_out)
        if not fitting or (len(fitting) > 1 and left[fitting[1]].W.shape[0] != n_out):
            raise ValueError(f"the order of the linear layers is unclear: {', '.join(sorted(left))}")
        at = left.pop(fitting[0]).W.shape[0]
        yield fitting[0]
    if at != n_out:
        raise ValueError(f"the last linear layer has {at} outputs for {n_out} tokens")

"""The layers of a network as equations: which symbols and weights each one has, and where the weights lie."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from charlm.errors import UsageError
from charlm.nn.cells import Cell
from charlm.nn.dense import Dense
from charlm.nn.embedding import Embedding, InputColumns
from charlm.nn.layer import Stack
from charlm.nn.model import Model
from charlm.nn.notation import Equation
from charlm.nn.recurrent import Recurrent

_NAME = re.compile(r"[A-Za-z]\w*~?")


def _all() -> slice:
    return slice(None)


@dataclass(frozen=True)
class Weight:
    """Where a weight lies in a parameter of the model: some rows and columns, which may be transposed."""

    parameter: str
    rows: slice = field(default_factory=_all)
    columns: slice = field(default_factory=_all)
    is_transposed: bool = False
    is_vector: bool = False

    def of(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return its view of the arrays of all parameters."""
        view = arrays[self.parameter][self.rows, self.columns]
        if self.is_vector:
            return view[:, 0]
        return view.T if self.is_transposed else view


@dataclass(frozen=True)
class Part:
    """A layer: its equations, its weights, and the names of its symbols in the network.

    mark: what follows the names of its symbols, as [1] for those of layer 1
    inputs: symbol of its equations -> its name in the network, if another layer computes it
    """

    title: str
    equations: tuple[Equation, ...]
    weights: Mapping[str, Weight]
    mark: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def names(self) -> dict[str, str]:
        """The names in the network of its symbols and of their derivatives."""
        used = {symbol for equation in self.equations for symbol in (equation.result, *equation.symbols)}
        own = {symbol.partition("<")[0] for symbol in used}
        names = {name: name + self.mark for name in own} | dict(self.inputs)
        return names | {f"d{name}": f"d{named}" for name, named in names.items()}

    def named(self, text: str) -> str:
        """Return a text of its equations with the names of the network."""
        return _NAME.sub(lambda found: self.names.get(found[0], found[0]), text)

    @property
    def own_weights(self) -> list[str]:
        """The weights that its equations use, in the order of its parameters."""
        return [name for name in self.weights if any(name in equation.symbols for equation in self.equations)]

    @property
    def carried(self) -> list[str]:
        """The symbols that go from step to step."""
        lagged = {symbol for equation in self.equations for symbol in equation.symbols if symbol.endswith("<t-1>")}
        return sorted(symbol.partition("<")[0] for symbol in lagged)


@dataclass(frozen=True)
class Parts:
    """The layers from the input to the output, and the name and the size of the one-hot vector that they begin with."""

    layers: tuple[Part, ...]
    source: str
    width: int


def parts_of(model: Model) -> Parts:
    """Return the layers of a causal network with a softmax; raise UsageError for a cell without equations."""
    config, body, parts = model.config, model.body, list[Part]()
    assert isinstance(body, Stack)
    deep = config.num_layers + len(config.dense) > 1
    width = config.vocabulary_size + config.labels
    columns, source, below = "", "x", "x"
    for name, layer in body.layers.items():
        number = len(parts) + (source == "x")
        mark = f"[{number}]" if deep else ""
        if isinstance(layer, InputColumns):
            columns = f"{name}.E"
        elif isinstance(layer, Embedding):
            source = "o"
            parts.append(Part("input", (Equation("x<t> = E^T o<t>"),), {"E": Weight(f"{name}.E")}))
        elif isinstance(layer, Recurrent):
            if not layer.cell.equations:
                raise UsageError(
                    f"--trace: --cell {config.cell} has no equations to print", hint="name a model of another cell"
                )
            equations = tuple(map(Equation, layer.cell.equations))
            weights = _weights_of_cell(layer.cell, f"{name}.", columns if below == "x" else "")
            parts.append(Part(f"layer {number}", equations, weights, mark, {"x": below}))
            below = f"a{mark}"
        elif isinstance(layer, Dense):
            weights = {"W_hx": Weight(f"{name}.W"), "b_h": Weight(f"{name}.b", is_vector=True)}
            parts.append(Part(f"layer {number}", _dense(layer), weights, mark, {"x": below}))
            below = f"h{mark}"
    rows = slice(config.vocabulary_size)
    W_y = Weight("input.E", rows) if config.tie_weights else Weight("head.W_y")
    weights = {"W_ya": W_y, "b_y": Weight("head.b_y", is_vector=True)}
    parts.append(Part("output", (Equation("z_y<t> = W_ya a<t> + b_y"),), weights, "", {"a": below}))
    return Parts(tuple(parts), source, width)


def _weights_of_cell(cell: Cell, prefix: str, columns: str) -> dict[str, Weight]:
    """Return the weights of a cell: for gate u W_ua or W_uc, W_ux and b_u; then those beside W, for gate u P_u.

    columns: the parameter with the rows W_x^T of all gates, if it is not a part of W
    """
    H, weights = cell.hidden, dict[str, Weight]()
    rows = {gate: slice(number * H, (number + 1) * H) for number, gate in enumerate(cell.gates)}
    for gate, block in rows.items():
        recurrent, last = Weight(f"{prefix}W", block, slice(H)), slice(-1, None)
        weights |= {f"W_{gate}a": recurrent, f"W_{gate}c": recurrent}
        own = Weight(f"{prefix}W", block, slice(H, -1))
        weights[f"W_{gate}x"] = Weight(columns, slice(None), block, is_transposed=True) if columns else own
        weights[f"b_{gate}"] = Weight(f"{prefix}W", block, last, is_vector=True)
    for name in cell.shapes():
        weights[name] = Weight(f"{prefix}{name}", is_vector=True)
        weights |= {f"{name}_{gate}": Weight(f"{prefix}{name}", block, is_vector=True) for gate, block in rows.items()}
    return weights


def _dense(layer: Dense) -> tuple[Equation, ...]:
    function = "ReLU" if layer.activation == "relu" else layer.activation
    return Equation("z_h<t> = W_hx x<t> + b_h"), Equation(f"h<t> = {function}(z_h<t>)")

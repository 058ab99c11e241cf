"""The graph of a network as ONNX operators."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from charlm.config import ModelConfig
from charlm.exchange.blocks import Form, Weights
from charlm.exchange.network import Affine, Network
from charlm.text import NOTHING

_STATES = {"LSTM": ("a", "c"), "GRU": ("a",), "RNN": ("a",)}


class Graph:
    """Nodes, constants, inputs and outputs in the order in which they were added; names of arrays are their values."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self.inputs: list[ValueInfoProto] = []
        self.outputs: list[ValueInfoProto] = []

    def constant(self, name: str, array: Any) -> str:
        """Add an array, once; return its name."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def ints(self, *values: int) -> str:
        """Return the name of a constant vector of integers."""
        return self.constant("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def input(self, name: str, kind: int, *shape: str | int) -> str:
        """Add an input; return its name."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, value: str, *shape: str | int) -> None:
        """Add an output of another name than its value."""
        self.node("Identity", [value], [name])
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def node(self, operator: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any) -> str:
        """Add a node; return the name of its first output."""
        number = len(self.nodes)
        names = outputs or [f"{operator.lower()}_{number}"]
        self.nodes.append(helper.make_node(operator, inputs, names, name=f"{operator}_{number}", **attributes))
        return next(name for name in names if name)


class Layers:
    """The layers of a network, as nodes of a graph; arrays between them are [T, B, n].

    lengths: the name of the sequences' lengths [B], int32; empty if all sequences are whole
    """

    def __init__(self, graph: Graph, network: Network, config: ModelConfig, form: Form, lengths: str) -> None:
        self.graph, self.network, self.config, self.form, self.lengths = graph, network, config, form, lengths
        self.states = _STATES[form.operator]

    def embedded(self, ids: str) -> str:
        """Add x<t> of ids [T, B]."""
        return self.graph.node("Gather", [self.graph.constant("embedding", self.network.embedding), ids], axis=0)

    def recurrent(
        self, x: str, stack: str, first: dict[str, str] | None, *, reverse: bool = False
    ) -> tuple[str, dict[str, str], str]:
        """Add the recurrent layers of a stack.

        first: the states before the first step, [layers, B, H] by name; None for zeros.
        Returns the outputs [T, B, n], the states after the last step by name, and those of the top layer [D, B, H].
        """
        graph, layers, H = self.graph, self.network.stacks[stack], self.config.hidden_size
        before = {name: self._split(value, len(layers), f"{stack}.{name}") for name, value in (first or {}).items()}
        after: dict[str, list[str]] = {name: [] for name in self.states}
        top = ""
        for number, directions in enumerate(layers):
            name = f"{stack}.layer{number}"
            states = [before[state][number] if first else "" for state in self.states]
            while states and not states[-1]:
                states.pop()
            names = [f"{name}.y", *(f"{name}.{state}" for state in self.states)]
            direction = "bidirectional" if len(directions) > 1 else "reverse" if reverse else "forward"
            activations = self.form.attributes.get("activations")
            attributes = self.form.attributes | ({"activations": activations * len(directions)} if activations else {})
            inputs = [x, *self._weights(name, directions), self.lengths, *states]
            while not inputs[-1]:
                inputs.pop()
            y = graph.node(self.form.operator, inputs, names, hidden_size=H, direction=direction, **attributes)
            for state, value in zip(self.states, names[1:], strict=True):
                after[state].append(value)
            top = names[1]
            if len(directions) > 1:
                y = graph.node("Transpose", [y], perm=[0, 2, 1, 3])
                x = graph.node("Reshape", [y, graph.ints(0, 0, H * len(directions))])
            else:
                x = graph.node("Squeeze", [y, graph.ints(1)])
        joined = {
            state: values[0] if len(values) == 1 else graph.node("Concat", values, axis=0)
            for state, values in after.items()
            if first is not None
        }
        return x, joined, top

    def towers(self, ids: str) -> str:
        """Add both towers over ids [T, B], each on the ids shifted by one step."""
        graph = self.graph
        # ONNX counts the id -1 from the end, where the row of zeros is.
        nothing = graph.constant("nothing", np.array(NOTHING, np.int64))
        left = graph.node("Pad", [ids, graph.ints(1, 0, -1, 0), nothing])
        right = graph.node("Pad", [ids, graph.ints(-1, 0, 1, 0), nothing])
        # Behind the last token of a sequence there is nothing to read, whatever the padding is.
        T = graph.node("Gather", [graph.node("Shape", [ids]), graph.constant("zero", np.array(0, np.int64))], axis=0)
        one = graph.constant("one", np.array(1, np.int64))
        steps = graph.node("Range", ["zero", T, one])
        steps = graph.node("Unsqueeze", [steps, graph.ints(1)])
        last = graph.node("Sub", [graph.node("Cast", [self.lengths], to=TensorProto.INT64), one])
        right = graph.node("Where", [graph.node("Less", [steps, last]), right, nothing])
        sides = [
            self.recurrent(self.embedded(shifted), stack, None, reverse=stack == "right")[0]
            for stack, shifted in (("left", left), ("right", right))
        ]
        return graph.node("Concat", sides, axis=-1)

    def last(self, top: str) -> str:
        """Add the last state of each direction of the top layer, [B, n], of its states [D, B, H]."""
        graph, sides = self.graph, 2 if self.config.bidirectional else 1
        y = graph.node("Transpose", [top], perm=[1, 0, 2])
        return graph.node("Reshape", [y, graph.ints(0, self.config.hidden_size * sides)])

    def log_probs(self, x: str) -> str:
        """Add the layers on top: ln P of each choice."""
        for number, affine in enumerate(self.network.dense):
            x = self._affine(x, f"dense{number}", affine)
            x = self.graph.node("Tanh" if self.config.activation == "tanh" else "Relu", [x])
        return self.graph.node("LogSoftmax", [self._affine(x, "output", self.network.output)], axis=-1)

    def _affine(self, x: str, name: str, affine: Affine) -> str:
        graph = self.graph
        if name == "output" and self.config.tie_weights:
            rows = graph.ints(self.config.vocabulary_size)
            W = graph.node("Slice", ["embedding", graph.ints(0), rows, graph.ints(0)])
        else:
            W = graph.constant(f"{name}.W", affine.W)
        product = graph.node("MatMul", [x, graph.node("Transpose", [W], perm=[1, 0])])
        return graph.node("Add", [product, graph.constant(f"{name}.b", affine.b)])

    def _weights(self, name: str, directions: tuple[Weights, ...]) -> list[str]:
        """Add W [D, G·H, I], R [D, G·H, H] and B [D, 2·G·H]."""
        arrays = {
            "W": [one.W_ih for one in directions],
            "R": [one.W_hh for one in directions],
            "B": [np.concatenate([one.b_ih, one.b_hh]) for one in directions],
        }
        return [self.graph.constant(f"{name}.{key}", np.stack(of_each)) for key, of_each in arrays.items()]

    def _split(self, value: str, count: int, name: str) -> list[str]:
        if count == 1:
            return [value]
        names = [f"{name}{number}_before" for number in range(count)]
        self.graph.node("Split", [value], names, axis=0)
        return names

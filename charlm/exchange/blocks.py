"""The weights of a recurrent layer in the order of ONNX and of torch.nn, and back.

Both compute a gate from W_ih x<t> + b_ih + W_hh a<t-1> + b_hh, with a block of H rows for each gate. charlm has one
matrix [W_a | W_x | b]. What differs besides is the order of the gates, and the update gate of a GRU: it is 1 - Gamma_u
there, so its block is negated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from charlm.nn.cells import Cell

# sigma(40) is 1 in float32 and float64: the reset gate of a cell that has none.
OPEN = 40.0
_NEARLY_OPEN = 17.0  # sigma of it is 1 in float32


@dataclass(frozen=True)
class Form:
    """How another program computes a cell.

    operator: its name there
    gates: the blocks in order: a gate of charlm, `-` before it if the block is negated; `1` for a gate that is open
    attributes: further ones of the operator
    """

    operator: str
    gates: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)


# By the name of a cell's class. What is missing has no operator.
ONNX: dict[str, Form] = {
    "rnn-tanh": Form("RNN", ("a",), {"activations": ["Tanh"]}),
    "rnn-relu": Form("RNN", ("a",), {"activations": ["Relu"]}),
    "gru-simple": Form("GRU", ("-u", "1", "c"), {"linear_before_reset": 1}),
    "gru-after": Form("GRU", ("-u", "r", "c"), {"linear_before_reset": 1}),
    "gru-before": Form("GRU", ("-u", "r", "c"), {"linear_before_reset": 0}),
    "lstm": Form("LSTM", ("u", "o", "f", "c")),
}
TORCH: dict[str, Form] = {
    "rnn-tanh": Form("RNN", ("a",), {"nonlinearity": "tanh"}),
    "rnn-relu": Form("RNN", ("a",), {"nonlinearity": "relu"}),
    "gru-simple": Form("GRU", ("1", "-u", "c")),
    "gru-after": Form("GRU", ("r", "-u", "c")),
    "lstm": Form("LSTM", ("u", "f", "c", "o")),
}


@dataclass(frozen=True)
class Weights:
    """One direction of a recurrent layer: W_ih [G·H, I], W_hh [G·H, H], b_ih [G·H], b_hh [G·H]."""

    W_ih: np.ndarray
    W_hh: np.ndarray
    b_ih: np.ndarray
    b_hh: np.ndarray


def to_form(form: Form, cell: Cell, W_a: np.ndarray, W_x: np.ndarray, b: np.ndarray, b_a: np.ndarray) -> Weights:
    """Return the weights of a cell in another program's order.

    W_a [G·H, H], W_x [G·H, I], b [G·H]: as in charlm
    b_a [H]: the bias beside W_ca a<t-1> of a cell that has one; empty for others
    """
    H = cell.hidden
    blocks: dict[str, tuple[np.ndarray, ...]] = {}
    for number, gate in enumerate(cell.gates):
        rows = slice(number * H, (number + 1) * H)
        own = b_a if gate == "c" and b_a.size else np.zeros_like(b[rows])
        blocks[gate] = (W_x[rows], W_a[rows], b[rows], own)
        blocks[f"-{gate}"] = (-W_x[rows], -W_a[rows], -b[rows], own)
    nothing = blocks[cell.gates[0]]
    blocks["1"] = (*map(np.zeros_like, nothing[:2]), np.full_like(nothing[2], OPEN), np.zeros_like(nothing[3]))
    return Weights(*(np.concatenate(parts) for parts in zip(*(blocks[gate] for gate in form.gates), strict=True)))


def from_form(form: Form, cell: Cell, weights: Weights) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return W_a [G·H, H], W_x [G·H, I], b [G·H] and b_a [H] of a cell; b_a is empty if the cell has none.

    Raises ValueError if a gate that the cell lacks is not open.
    """
    H = cell.hidden
    has_b_a = "b_ca" in cell.shapes()
    blocks: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    b_a = np.zeros(0, weights.b_hh.dtype)
    for number, gate in enumerate(form.gates):
        rows = slice(number * H, (number + 1) * H)
        W_x, W_a, b_ih, b_hh = weights.W_ih[rows], weights.W_hh[rows], weights.b_ih[rows], weights.b_hh[rows]
        if gate == "1":
            if W_x.any() or W_a.any() or (b_ih + b_hh < _NEARLY_OPEN).any():
                raise ValueError(f"its reset gate is in use, which --cell {cell.name} does not have")
            continue
        if gate == "c" and has_b_a:
            blocks[gate], b_a = (W_x, W_a, b_ih), b_hh
            continue
        # A sum would turn -0 into 0.
        b = np.where(b_hh == 0, b_ih, b_ih + b_hh)
        blocks[gate.removeprefix("-")] = (-W_x, -W_a, -b) if gate.startswith("-") else (W_x, W_a, b)
    W_x, W_a, b = (np.concatenate(parts) for parts in zip(*(blocks[gate] for gate in cell.gates), strict=True))
    return W_a, W_x, b, b_a

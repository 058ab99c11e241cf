"""Kernels that a device has of its own: a cell takes them by name, and they do what the cell's own functions do."""

from typing import ClassVar

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.nn.cells import CELLS
from charlm.nn.cells.gru_simple import update_backward, update_forward
from charlm.nn.cells.lstm import lstm_backward, lstm_forward
from charlm.nn.parameters import Parameters
from charlm.nn.recurrent import Recurrent
from charlm.nn.workspace import Workspace
from tests.gradcheck import OPS, each_kind

H, B = 5, 7
GATED = {name: rows * H for name, rows in (("z", 4), ("slope", 3))}  # rows of the arguments that have not H
KERNELS = {  # name -> the cell's own function, its arguments, and those of them that hold a result afterwards
    "lstm_forward": (lstm_forward, "z c_old c_new a_new tanh_c", "z c_new a_new tanh_c"),
    "lstm_backward": (lstm_backward, "z c_old tanh_c da dc tmp slope", "z dc"),
    "update_forward": (update_forward, "gamma_u candidate c_old c_new", "candidate c_new"),
    "update_backward": (update_backward, "gamma_u candidate c_old dc tmp", "gamma_u candidate dc"),
}


class OwnKernels(NumpyBackend):
    """A device whose kernels are the cells' own functions, counted."""

    calls: ClassVar[list[str]] = []
    fused: ClassVar = {
        name: lambda *arrays, name=name, own=own: (OwnKernels.calls.append(name), own(*arrays))[1]
        for name, (own, _, _) in KERNELS.items()
    }


def test_every_kernel_is_one_that_is_known_here(ops):
    assert set(ops.fused) <= set(KERNELS), "say here what it does, so that it is compared"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", KERNELS)
def test_it_does_what_the_cells_own_function_does(ops, name, dtype):
    """What is left in scratch arrays is its own affair; what it only reads stays."""
    own, arguments, results = KERNELS[name]
    rng = np.random.default_rng(100)
    fused = ops.fused.get(name, own)
    host = {argument: rng.normal(0, 0.9, (GATED.get(argument, H), B)).astype(dtype) for argument in arguments.split()}
    device = {argument: ops.array(array) for argument, array in host.items()}
    assert fused(*device.values()) is None
    before = {argument: array.copy() for argument, array in host.items()}
    own(*host.values())
    for argument, array in host.items():
        if argument in results.split():
            assert not np.array_equal(array, before[argument])
        if argument in results.split() or argument in ("c_old", "da"):
            np.testing.assert_allclose(ops.numpy(device[argument]), array, rtol=0, atol=1e-6)


@each_kind
def test_a_cell_takes_the_kernels_it_is_offered(cell, variant):
    results = []
    for backend in (OPS, OwnKernels()):
        layer = Recurrent(CELLS[cell][variant](backend, 3, 4))
        parameters = Parameters(layer.shapes(), backend, "float64")
        parameters.values[...] = np.random.default_rng(101).normal(0, 0.7, parameters.values.shape)
        layer.bind(parameters.named(parameters.values), parameters.named(parameters.grads))
        OwnKernels.calls.clear()
        x, ws = np.random.default_rng(102).standard_normal((3, 3, 2)), Workspace(backend, "float64")
        y, _ = layer.forward(x, layer.zero_state(2), ws)
        y = y.copy()
        layer.backward(np.ones_like(y), (), ws)
        results.append((y, parameters.grads))
    for own, fused in zip(*results, strict=True):
        np.testing.assert_array_equal(own, fused)
    family = "lstm" if cell.startswith("lstm") else "update"
    assert OwnKernels.calls == ([] if cell == "rnn" else [f"{family}_forward"] * 3 + [f"{family}_backward"] * 3)

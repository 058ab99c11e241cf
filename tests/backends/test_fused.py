"""Kernels that a device has of its own: a cell takes them by name, and they do what the cell's own functions do."""

from typing import ClassVar

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.nn.cells import CELLS
from charlm.nn.cells.gru_simple import SimpleGru, update_forward, update_slopes
from charlm.nn.cells.lstm import Lstm, lstm_backward, lstm_forward, lstm_slopes
from charlm.nn.parameters import Parameters
from charlm.nn.recurrent import Recurrent
from charlm.nn.unrolled import Unrolled
from charlm.nn.workspace import Workspace
from tests.gradcheck import OPS, each_kind

T, H, B = 4, 5, 7
KERNELS = {  # name -> the cell's own function, the cell, whether it works on a step or a block, and what it writes
    "lstm_forward": (lstm_forward, Lstm, "step", "z c a_old tanh_c"),
    "lstm_slopes": (lstm_slopes, Lstm, "block", "f tanh_c"),
    "lstm_backward": (lstm_backward, Lstm, "back", "f"),
    "update_forward": (update_forward, SimpleGru, "step", "z a_old"),
    "update_slopes": (update_slopes, SimpleGru, "block", "f"),
}


class OwnKernels(NumpyBackend):
    """A device whose kernels are the cells' own functions, counted."""

    calls: ClassVar[list[str]] = []
    fused: ClassVar = {
        name: lambda *views, name=name, own=own: (OwnKernels.calls.append(name), own(*views))[1]
        for name, (own, *_) in KERNELS.items()
    }


class Arrays:
    """All the arrays of a pass, with the same random numbers on each device."""

    def __init__(self, ops, cell, dtype):
        self.ops = ops
        made = cell(ops, 3, H)
        made.fused = {}  # a device that goes back in one kernel has no factors; for those, see tests/cuda
        self.pass_ = u = Unrolled(made, Workspace(ops, dtype), T, B, cut=False)
        self.named = {"a_old": u.a_old, "c": u.c, "f": u.f, "dz": u.dz, "z": u.every["z"], "d_a": u.d.a}
        self.named |= {"tanh_c": u.every.get("tanh_c"), "d_c": getattr(u.d, "c", None)}
        self.named = {name: array for name, array in self.named.items() if array is not None}
        rng = np.random.default_rng(100)
        for array in self.named.values():
            array[...] = ops.array(rng.normal(0, 0.9, array.shape), dtype)

    def run(self, kernel, kind):
        u = self.pass_
        views = (u.steps[2],) if kind == "step" else (u.blocks[0][1],) if kind == "block" else (u.steps[2], u.d)
        assert kernel(*views) is None
        if kind == "back":
            self.named["d_c"] = u.d.c
        return {name: self.ops.numpy(array) for name, array in self.named.items()}


def test_every_kernel_is_one_that_is_known_here(ops):
    known = {*KERNELS, "adam", "cross_entropy", "cross_entropy_and_grad"}
    unknown = {name for name in ops.fused if not name.endswith(("_step", "_step_back"))} - known
    assert not unknown, "say here what it does, so that it is compared"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", KERNELS)
def test_it_does_what_the_cells_own_function_does(ops, name, dtype):
    """What is left in scratch arrays is its own affair; what it only reads stays."""
    own, cell, kind, results = KERNELS[name]
    device, host = Arrays(ops, cell, dtype), Arrays(OPS, cell, dtype)
    before = {name: array.copy() for name, array in host.named.items()}
    found, expected = device.run(ops.fused.get(name, own), kind), host.run(own, kind)
    written = [*results.split(), *(["d_c"] if kind == "back" else [])]
    for array in expected:
        assert np.array_equal(expected[array], before[array]) == (array not in written), array
        np.testing.assert_allclose(found[array], expected[array], rtol=0, atol=1e-6)


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
    lstm = cell.startswith("lstm")
    family, back = ("lstm", ["lstm_backward"] * 3) if lstm else ("update", [])
    assert OwnKernels.calls == ([] if cell == "rnn" else [f"{family}_forward"] * 3 + [f"{family}_slopes"] + back)

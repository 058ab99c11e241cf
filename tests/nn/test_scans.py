"""Every implementation of a scan is held to the reference: the same outputs, states and gradients, and steps."""

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.nn.cells import CELLS
from charlm.nn.grads import Grads
from charlm.nn.recurrent import Recurrent
from charlm.nn.scan import ReferenceScan
from charlm.nn.workspace import Workspace
from tests import forms
from tests.compiled import compiled_backends
from tests.cuda import cupy_backend
from tests.gradcheck import KINDS, each_kind, random_starts

BARS = {"float64": 1e-13, "float32": 1e-5}
N_IN, HIDDEN = 3, 5


def without_scans(make):
    """Make a backend on which every cell runs the reference, on the backend's own arrays."""

    def made():
        ops = make()
        ops.scans = {}
        return ops

    return made


IMPLEMENTATIONS = {
    "numpy": NumpyBackend,
    **compiled_backends(),
    "cuda": cupy_backend,
    "reference on cuda": without_scans(cupy_backend),
}
EACH = [pytest.param(name, marks=pytest.mark.cupy if "cuda" in name else ()) for name in IMPLEMENTATIONS]
ORACLE = without_scans(NumpyBackend)()
SHAPES = {"sequence": (6, 3, False), "starts": (6, 3, True), "one step": (1, 3, False), "one lane": (4, 1, False)}
SHAPES |= {"one of each": (1, 1, False), "starts in one lane": (5, 1, True)}


def layer_on(ops, cell, variant, dtype, seed):
    """Return a recurrent layer with random parameters, the same for every backend and precision."""
    layer = Recurrent(CELLS[cell][variant](ops, N_IN, HIDDEN))
    rng = np.random.default_rng(seed)
    drawn = {name: rng.normal(0, 0.5, shape) for name, shape in layer.shapes().items()}
    values = {name: ops.array(array, dtype) for name, array in drawn.items()}
    layer.bind(values, Grads({name: ops.zeros(array.shape, dtype) for name, array in drawn.items()}, ops))
    return layer


def passed(layer, ws, dtype, shape, seed):
    """Return all that a pass forward and back gives, as float64 on the host."""
    ops, (T, batch, cut) = layer.ops, shape
    rng = np.random.default_rng(seed)
    x, dy = rng.normal(size=(T, N_IN, batch)), rng.normal(size=(T, HIDDEN, batch))
    states = [tuple(ops.array(rng.normal(0, 0.7, (HIDDEN, batch)), dtype) for _ in layer.cell.states) for _ in range(2)]
    starts = random_starts(T, batch, rng) if cut else None
    y, last = layer.forward(ops.array(x, dtype), states[0], ws, starts=starts)
    y = ops.numpy(y)
    layer.cell.g.begin()
    dx, d_first = layer.backward(ops.array(dy, dtype), states[1], ws)
    found = [*last, dx, *d_first, layer.scan(ws).state_grads(), *(layer.cell.g[name] for name in layer.shapes())]
    return [y, *map(ops.numpy, found)]


@pytest.mark.thinned(2)
@forms.each("shape", SHAPES)
@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("dtype", BARS)
@each_kind
def test_a_scan_gives_what_the_reference_gives(name, cell, variant, dtype, shape):
    """From a given first state, first in fresh buffers and then in a workspace full of NaN."""
    ops = IMPLEMENTATIONS[name]()
    oracle, layer = layer_on(ORACLE, cell, variant, "float64", 7), layer_on(ops, cell, variant, dtype, 7)
    ws = Workspace(ops, dtype)
    for seed in (1, 2, 3):
        expected = passed(oracle, Workspace(ORACLE, "float64"), "float64", SHAPES[shape], seed)
        for found, right in zip(passed(layer, ws, dtype, SHAPES[shape], seed), expected, strict=True):
            np.testing.assert_allclose(found, right, rtol=0, atol=BARS[dtype] * max(1, np.abs(right).max()))
        ws.fill(np.nan)


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("dtype", BARS)
@each_kind
def test_steps_one_by_one_give_what_the_sequence_gives(name, cell, variant, dtype):
    """Also from a state that is not the scan's own, which is left alone."""
    ops, T = IMPLEMENTATIONS[name](), 5
    layer = layer_on(ops, cell, variant, dtype, 8)
    rng = np.random.default_rng(9)
    x = ops.array(rng.normal(size=(T, N_IN, 1)), dtype)
    first = tuple(ops.array(rng.normal(0, 0.7, (HIDDEN, 1)), dtype) for _ in layer.cell.states)
    before = [ops.numpy(array) for array in first]
    y, last = layer.forward(x, first, Workspace(ops, dtype))
    ws = Workspace(ops, dtype)
    shape = (len(layer.cell.gates), HIDDEN, 1)
    zx = [layer.project(x[t : t + 1], ws)[:, 0].copy().reshape(shape) for t in range(T)]
    for _ in range(2):
        state = first
        for t in range(T):
            state = layer.scan(ws).step(zx[t], state)
            np.testing.assert_allclose(ops.numpy(state[0]), ops.numpy(y[t]), rtol=0, atol=BARS[dtype])
        for array, right in zip(state, last, strict=True):
            np.testing.assert_allclose(ops.numpy(array), ops.numpy(right), rtol=0, atol=BARS[dtype])
    for array, right in zip(first, before, strict=True):
        np.testing.assert_array_equal(ops.numpy(array), right)


def test_a_backend_s_own_scan_is_taken_and_only_for_its_cell():
    class Counting(ReferenceScan):
        calls = 0

        def forward(self, zx, first, starts):
            Counting.calls += 1
            return super().forward(zx, first, starts)

    ops = NumpyBackend()
    ops.scans = {"lstm": Counting}
    for cell, variant, expected in (("lstm", "", 1), ("lstm", "relevance", 1), ("lstm", "", 2)):
        layer = layer_on(ops, cell, variant, "float64", 3)
        layer.forward(np.zeros((2, N_IN, 1)), layer.zero_state(1), Workspace(ops, "float64"))
        assert Counting.calls == expected


def test_every_cell_has_a_name_of_its_own():
    names = [kind.name for variants in CELLS.values() for kind in variants.values()]
    assert len(set(names)) == len(names) == len(KINDS)

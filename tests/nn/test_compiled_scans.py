"""The compiled time loops at every size, on what is not finite, and from buffer to buffer: against the reference."""

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.nn.cells import CELLS
from charlm.nn.grads import Grads
from charlm.nn.recurrent import Recurrent
from charlm.nn.workspace import Workspace
from tests import forms
from tests.compiled import EACH_CORE, compiled_backend
from tests.gradcheck import each_kind, random_starts
from tests.guarded import guard, marks

BARS = {"float64": 1e-13, "float32": 1e-5}
ORACLE = NumpyBackend()


@pytest.fixture(params=EACH_CORE)
def ops(request):
    """A backend whose buffers have margins, which are checked at the end."""
    backend = compiled_backend(request.param)
    buffers = guard(backend)
    yield backend
    assert all(buffer.is_whole() for buffer in buffers)


def layer_of(ops, cell, variant, n_in, hidden, dtype, seed):
    """Return a layer whose weights lie one after the other at unaligned places, and the vector that they lie in."""
    layer = Recurrent(CELLS[cell][variant](ops, n_in, hidden))
    rng, at, views = np.random.default_rng(seed), 1, {}
    sizes = {name: int(np.prod(shape)) for name, shape in layer.shapes().items()}
    flat = np.full(sum(sizes.values()) + 2 * len(sizes) + 1, 7.0, dtype)
    for name, shape in layer.shapes().items():
        views[name] = flat[at : at + sizes[name]].reshape(shape)
        views[name][...] = rng.normal(0, 0.7 / np.sqrt(hidden + n_in), shape)
        at += sizes[name] + 2
    layer.bind(views, Grads({name: np.full(shape, np.nan, dtype) for name, shape in layer.shapes().items()}, ops))
    return layer, flat


def drawn(layer, T, batch, seed, *, cut):
    """Draw what goes in: x, first states, starts, dy and the gradients of the last states, all in float64."""
    rng, H = np.random.default_rng(seed), layer.n_out
    x, dy = rng.normal(size=(T, layer.n_in, batch)), rng.normal(size=(T, H, batch))
    first, d_last = ([rng.normal(0, 0.7, (H, batch)) for _ in layer.cell.states] for _ in range(2))
    return x, first, random_starts(T, batch, rng) if cut else None, dy, d_last


def passed(layer, ws, dtype, given):
    """Return all that a pass forward and back gives."""
    x, first, starts, dy, d_last = given
    ops = layer.ops
    first, d_last = (tuple(ops.array(array, dtype) for array in arrays) for arrays in (first, d_last))
    y, last = layer.forward(ops.array(x, dtype), first, ws, starts=starts)
    y = ops.numpy(y)
    layer.cell.g.begin()
    dx, d_first = layer.backward(ops.array(dy, dtype), d_last, ws)
    names = ["y", *(f"last {n}" for n in layer.cell.states), "dx", *(f"first {n}" for n in layer.cell.states)]
    found = [y, *last, dx, *d_first, layer.scan(ws).state_grads(), *(layer.cell.g[name] for name in layer.shapes())]
    return dict(zip([*names, "d_a", *layer.shapes()], map(ops.numpy, found), strict=True))


def agree(found, right, bar):
    for name, expected in right.items():
        size = np.abs(expected[np.isfinite(expected)]).max(initial=1.0)
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=bar * size, err_msg=name)


def check(ops, cell, variant, dtype, sizes, seed, *, cut):
    """Compare with the reference, from a workspace full of NaN; nothing beside an array is written."""
    T, batch, n_in, hidden = sizes
    layer, flat = layer_of(ops, cell, variant, n_in, hidden, dtype, seed)
    oracle, _ = layer_of(ORACLE, cell, variant, n_in, hidden, "float64", seed)
    for name in layer.shapes():
        oracle.cell.p[name][...] = layer.cell.p[name]  # rounded
    before, given = flat.copy(), drawn(layer, T, batch, seed, cut=cut)
    ws = Workspace(ops, dtype)
    found = passed(layer, ws, dtype, given)
    agree(found, passed(oracle, Workspace(ORACLE, "float64"), "float64", given), BARS[dtype])
    np.testing.assert_array_equal(flat, before)
    if hidden >= 16:  # the elements between the rows have never been written
        width = ops.row_stride(hidden)
        for name in ("a_old", "d_a"):
            rows = ws.scope("scan").array(name, ((T + (name == "a_old")) * batch, width))
            assert marks(rows[:, hidden:]).all(), name


@forms.each("dtype", BARS)
@each_kind
def test_every_size(ops, cell, variant, dtype):
    """H 1-33, B 1-13, T 1-5, I 1-20."""
    for H in range(1 + forms.times(hash_of(cell, variant, dtype) % 3, 0), 34, forms.times(3, 1)):
        check(ops, cell, variant, dtype, (1 + H % 5, 1 + H * 7 % 13, 1 + H * 11 % 20, H), H, cut=H % 2 == 0)


def hash_of(*words):
    """Return a number that differs from case to case and not from run to run."""
    return sum(map(ord, "".join(words)))


@forms.each("batch, hidden", [(47, 64), (48, 65), (49, 31), (97, 7), (2, 80), (3, 129), (50, 96)], thinned=3)
@forms.each("dtype", BARS)
@each_kind
def test_the_borders_of_panels_and_of_groups_of_lanes(ops, cell, variant, dtype, batch, hidden):
    check(ops, cell, variant, dtype, (3, batch, 2, hidden), hidden, cut=True)


@pytest.mark.slow
@forms.each("dtype", BARS)
@forms.each("hidden", [513, 600])
@each_kind
def test_products_deeper_than_a_panel(ops, cell, variant, dtype, hidden):
    check(ops, cell, variant, dtype, (2, 3, 2, hidden), hidden, cut=False)


WHERE = ("x", "first", "dy", "d_last", "W", "b")


@forms.each("value", [np.nan, np.inf, -np.inf])
@forms.each("where", WHERE)
@each_kind
def test_what_is_not_finite_comes_out_where_it_does_of_the_reference(ops, cell, variant, where, value):
    """Never a finite number for NaN; and NaN of one lane stays in that lane."""
    T, batch, n_in, hidden = 3, 4, 3, 19
    layer, _ = layer_of(ops, cell, variant, n_in, hidden, "float64", 5)
    oracle, _ = layer_of(ORACLE, cell, variant, n_in, hidden, "float64", 5)
    x, first, _, dy, d_last = given = drawn(layer, T, batch, 6, cut=False)
    place = {
        "x": (x, (1, 2, 2)),
        "first": (first[-1], (17, 2)),
        "dy": (dy, (1, 16, 2)),
        "d_last": (d_last[-1], (18, 2)),
    }
    for one in (layer, oracle):
        place["W"], place["b"] = (one.cell.W, (hidden - 1, 4)), (one.cell.W, (len(one.cell.W) - 1, -1))
        array, index = place[where]
        array[index] = value
    with np.errstate(all="ignore"):
        found = passed(layer, Workspace(ops, "float64"), "float64", given)
        right = passed(oracle, Workspace(ORACLE, "float64"), "float64", given)
    assert any(not np.isfinite(array).all() for array in right.values()) or np.isinf(value)
    for name, expected in right.items():
        is_lost = ~np.isfinite(expected)
        if np.isnan(value):  # an infinite number may meet a gate that is 0 in one place and 1e-300 in the other
            assert not np.isfinite(found[name][is_lost]).any(), name
        if name in ("y", "dx", "d_a") and where not in "Wb":
            others = [0, 1, 3]
            assert np.isfinite(found[name][..., others]).all()
            np.testing.assert_allclose(found[name][..., others], expected[..., others], rtol=0, atol=1e-13)


@each_kind
def test_extreme_values_saturate(ops, cell, variant):
    """Pre-activations up to 1e30 of either sign."""
    for dtype, bar in BARS.items():
        layer, _ = layer_of(ops, cell, variant, 3, 17, dtype, 5)
        oracle, _ = layer_of(ORACLE, cell, variant, 3, 17, "float64", 5)
        for name in layer.shapes():
            oracle.cell.p[name][...] = layer.cell.p[name]
        for size in (1e2, 1e4, 1e30):
            x, first, starts, dy, d_last = drawn(layer, 3, 4, 6, cut=False)
            with np.errstate(over="ignore", invalid="ignore"):  # tanh' of the reference, of rectified units
                found, right = (
                    passed(one, Workspace(one.ops, kind), kind, (size * x, first, starts, dy, d_last))
                    for one, kind in ((layer, dtype), (oracle, "float64"))
                )
            if variant == "relu" and dtype == "float32":
                continue  # its outputs grow with its inputs
            for name in ("y", "last a", "first a", "d_a"):
                assert np.isfinite(found[name]).all()
                np.testing.assert_allclose(
                    found[name], right[name], rtol=1e-4 if dtype == "float32" else 1e-12, atol=bar
                )


@each_kind
def test_a_workspace_that_grows_and_shrinks(ops, cell, variant):
    """Passes of other sizes in turn, each as in a fresh workspace, bit for bit; nothing is read from before."""
    layer, _ = layer_of(ops, cell, variant, 3, 18, "float32", 5)
    used = Workspace(ops, "float32")
    for seed, (T, batch) in enumerate([(2, 3), (7, 5), (1, 1), (7, 5), (3, 13), (2, 3)]):
        given = drawn(layer, T, batch, seed, cut=seed % 2 == 0)
        for one, other in zip(
            passed(layer, used, "float32", given).values(),
            passed(layer, Workspace(ops, "float32"), "float32", given).values(),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)
        used.fill(np.nan)


@each_kind
def test_steps_and_sequences_in_one_workspace(ops, cell, variant):
    """A step after a pass forward and back on the same scan is the step before it."""
    layer, _ = layer_of(ops, cell, variant, 3, 18, "float64", 5)
    ws, rng = Workspace(ops, "float64"), np.random.default_rng(1)
    zx = rng.normal(size=(len(layer.cell.gates), 18, 1))
    state = tuple(rng.normal(0, 0.7, (18, 1)) for _ in layer.cell.states)
    before = [array.copy() for array in layer.scan(ws).step(zx, state)]
    for T, batch in ((2, 1), (30, 9)):
        passed(layer, ws, "float64", drawn(layer, T, batch, 1, cut=False))
        for one, other in zip(before, layer.scan(ws).step(zx, state), strict=True):
            np.testing.assert_array_equal(one, other)

"""The functions of the compiled core over their whole range: exp, tanh and sigma; and what is not finite.

They are reached through what uses them: a tanh unit without W_a, a gate of an lstm, and the softmax.
"""

import math

import numpy as np
import pytest

from charlm.nn.cells import CELLS
from charlm.nn.grads import Grads
from charlm.nn.recurrent import Recurrent
from charlm.nn.workspace import Workspace
from tests import forms
from tests.compiled import EACH_CORE, compiled_backend

DTYPES = ("float32", "float64")


@pytest.fixture(params=EACH_CORE)
def ops(request):
    return compiled_backend(request.param)


@pytest.fixture(params=DTYPES)
def dtype(request):
    return request.param


def arguments(dtype, limit):
    """Return numbers of every size and sign, dense where the functions bend and where an implementation changes."""
    rng = np.random.default_rng(1)
    small = np.exp(rng.uniform(math.log(1e-30), 0, 4000))
    near = np.concatenate([x + np.linspace(-1e-3, 1e-3, 501) for x in (0.3125, 0.625, 1.25, 7.905, 9.0, 19.0, 44.0)])
    found = np.concatenate([np.linspace(0, 30, 20001), rng.uniform(0, limit, 4000), small, near, [1e30]])
    found = np.concatenate([found, -found]).astype(dtype)
    return found[np.argsort(rng.random(found.size))]


def scanned(ops, cell, x, *, bias):
    """Return a layer's first output a, [n], of pre-activations x in the last gate; the others are `bias`."""
    n, G = x.size, len(CELLS[cell]["tanh" if cell == "rnn" else ""].gates)
    layer = Recurrent(CELLS[cell]["tanh" if cell == "rnn" else ""](ops, 1, 1))
    W = np.zeros((G, 3), x.dtype)
    layer.bind({"W": W}, Grads({"W": np.zeros_like(W)}, ops))
    ws = Workspace(ops, x.dtype.name)
    zx = ws.columns("zx", G, n)
    zx[...] = np.array(bias, x.dtype)[:, None]
    zx[bias.index(None)] = x
    y, last = layer.scan(ws).forward(zx.reshape(G, 1, n), layer.zero_state(n), None)
    return y[0, 0].copy(), [array[0] for array in last], zx.copy()


def units_of(found, right):
    """Return the error in units in the last place of the right number."""
    spacing = np.spacing(np.abs(right).astype(found.dtype)).astype(float)
    return np.abs(found.astype(float) - right) / spacing


def test_tanh(ops, dtype):
    """Within 2 units in the last place everywhere, odd, and never above 1."""
    x = arguments(dtype, 60)
    found, _, _ = scanned(ops, "rnn", x, bias=[None])
    right = np.tanh(x.astype(np.longdouble)).astype(float)
    assert units_of(found, right).max() <= 2.5
    assert np.abs(found).max() == 1
    negative, _, _ = scanned(ops, "rnn", -x, bias=[None])
    np.testing.assert_array_equal(negative, -found)
    np.testing.assert_array_equal(np.sign(found), np.sign(x))
    for special, expected in ((np.inf, 1), (-np.inf, -1), (np.nan, np.nan), (0.0, 0), (-0.0, 0)):
        one, _, _ = scanned(ops, "rnn", np.full(5, special, dtype), bias=[None])
        np.testing.assert_array_equal(one, np.full(5, expected, dtype))


def test_sigma(ops, dtype):
    """The gates of an lstm, and sigma(x) + sigma(-x) = 1."""
    x = arguments(dtype, 90)
    gates = {}
    for gate in range(3):
        bias = [0.0] * 4
        bias[gate] = None
        gates[gate] = scanned(ops, "lstm", x, bias=bias)[2][gate]
    x = x.astype(np.longdouble)
    right = (1 / (1 + np.exp(-np.clip(x, -11000, 11000)))).astype(float)
    epsilon = np.finfo(dtype).eps
    for found in gates.values():
        assert np.abs(found.astype(float) - right).max() <= 2 * epsilon
        assert found.min() >= 0 and found.max() <= 1
        likely = right > 1e-30
        assert (np.abs(found - right)[likely] / right[likely]).max() <= 4 * epsilon
        np.testing.assert_array_equal(found, gates[0])
    for special, expected in ((np.inf, 1), (-np.inf, 0), (np.nan, np.nan), (0.0, 0.5)):
        _, _, zx = scanned(ops, "lstm", np.full(5, special, dtype), bias=[None, 0.0, 0.0, 0.0])
        np.testing.assert_allclose(zx[0], expected, rtol=0, atol=1e-37)


def test_exp(ops, dtype):
    """Of the softmax: with logits 0 and x the gradient is e^x / (1 + e^x) for x <= 0, relative to its size."""
    smallest = -87 if dtype == "float32" else -707
    x = np.concatenate([np.linspace(smallest, 0, 20001), -np.exp(np.linspace(-60, 4, 4000))]).astype(dtype)
    logits = np.zeros((x.size, 2), dtype)
    logits[:, 1] = x
    ops.cross_entropy(logits.T, np.zeros(x.size, np.int32), scale=1.0)
    exact = np.exp(x.astype(np.longdouble))
    right = (exact / (1 + exact)).astype(float)
    assert (np.abs(logits[:, 1] - right) / right).max() <= 4 * np.finfo(dtype).eps
    logits[:, 0], logits[:, 1] = 0, smallest - 30 - np.arange(x.size)
    ops.cross_entropy(logits.T, np.zeros(x.size, np.int32), scale=1.0)
    assert np.abs(logits).max() <= np.finfo(dtype).tiny  # it vanishes without a step


EXTREMES = (1e4, -1e4, np.inf, -np.inf, np.nan, 0.0, 3e38, -3e38)


@forms.each("V", [1, 2, 7, 16, 17, 33, 70])
def test_cross_entropy_of_extreme_logits(ops, dtype, V):
    """Each at every place, and as the target: the loss and the gradient are finite exactly where they should be."""
    for value in EXTREMES:
        for place in {0, V // 2, V - 1}:
            for target in {place, (place + 1) % V}:
                logits = np.zeros((1, V), dtype)
                logits[0, place] = value
                expected = right_loss(logits[0].astype(float), target)
                loss = ops.cross_entropy(logits.T, np.array([target], np.int32), scale=1.0)[0]
                np.testing.assert_allclose(loss, expected, rtol=1e-6, err_msg=f"{value} {place} {target}")
                if np.isfinite(expected):
                    assert np.isfinite(logits).all() and abs(logits.sum()) < 1e-5
                elif np.isnan(expected):
                    assert np.isnan(logits).any()


def right_loss(logits, target):
    """Return -ln softmax(logits)[target]; NaN where a logit is NaN or +inf, or all are -inf."""
    if not (logits < np.inf).all() or np.isneginf(logits).all():
        return np.nan
    with np.errstate(divide="ignore"):
        return np.log(np.exp(logits - logits.max()).sum()) - (logits[target] - logits.max())


@forms.each("value", [np.nan, np.inf])
def test_what_is_not_finite_shows_in_the_norm_at_every_place(ops, dtype, value):
    for n in (1, 7, 33, 70):
        for place in range(n):
            vector = np.zeros(n, dtype)
            vector[place] = value
            with np.errstate(invalid="ignore"):
                assert not math.isfinite(ops.norm(vector))
    vector = np.zeros(40000, dtype)
    for place in (0, 16383, 16384, 39999):
        vector[place] = value
        with np.errstate(invalid="ignore"):
            assert not math.isfinite(ops.norm(vector))
        vector[place] = 0


def test_nan_stays_nan_and_stays_in_its_place(ops, dtype):
    """In Adam, dropout, sums and products."""
    n, place = 41, 37
    w, g, m, v = np.zeros((4, n), dtype)
    g[place] = np.nan
    ops.adam(w, g, m, v, learning_rate=0.1, count=1)
    for array in (w, m, v):
        assert np.flatnonzero(np.isnan(array)).tolist() == [place]
    x = np.ones((n, 3), dtype)
    x[place, 1] = np.nan
    sums = np.zeros((3, 1), dtype)
    ops.row_sums(x.T, out=sums)
    assert np.isnan(sums[:, 0]).tolist() == [False, True, False]
    steps, out = x[None].transpose(0, 2, 1), np.zeros((1, n, 3), dtype).transpose(0, 2, 1)
    for key in range(8):  # dropped or not
        ops.dropout(steps, rate=0.5, key=key, out=out)
        assert np.argwhere(np.isnan(out)).tolist() == [[0, 1, place]]
    a, b = np.ones((64, n), dtype), np.ones((n, 48), dtype)
    a[50, 3], b[7, 44] = np.nan, np.nan
    product = np.zeros((64, 48), dtype)
    ops.matmul(a, b, out=product)
    rows, columns = (places.tolist() for places in np.nonzero(np.isnan(product)))
    assert {(r, c) for r, c in zip(rows, columns, strict=True)} == {(50, c) for c in range(48)} | {
        (r, 44) for r in range(64)
    }

"""The softmax head against plain versions; its weights are the identity, so that its input is its logits."""

import math

import numpy as np
import pytest

from charlm.nn.grads import Grads
from charlm.nn.heads import Softmax
from charlm.nn.workspace import Workspace
from tests.gradcheck import OPS, numeric_gradient
from tests.naive import softmax

TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


@pytest.fixture
def rng():
    return np.random.default_rng(90)


@pytest.fixture(params=list(TOLERANCE))
def dtype(request):
    return request.param


def close(actual, expected, dtype, scale=1.0):
    np.testing.assert_allclose(actual, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


def run(logits, targets, scale=1.0):
    """Give dL/dlogits and the entropies."""
    V = len(logits)
    head = Softmax(OPS, V, V)
    values = {"W_y": np.eye(V, dtype=logits.dtype), "b_y": np.zeros((V, 1), logits.dtype)}
    head.bind(values, Grads({name: np.zeros_like(value) for name, value in values.items()}, OPS))
    ws = Workspace(OPS, str(logits.dtype))
    loss, gradient = head.loss_and_grad(logits[None], targets[None], scale, ws)
    gradient = gradient[0].copy()
    assert gradient.dtype == logits.dtype
    nats = head.nats(logits[None], targets[None], ws)[0]
    assert loss == pytest.approx(nats.sum(), rel=1e-6)
    return gradient, nats


def plain_loss(logits, targets):
    """Give -ln softmax(logits)[target] of each column, in float64."""
    nats = np.zeros(len(targets))
    for n in np.flatnonzero(targets >= 0):
        nats[n] = -np.log(softmax(logits[:, n].astype(float))[targets[n]])
    return nats


@pytest.mark.parametrize(("V", "N"), [(1, 3), (2, 1), (7, 5), (300, 40)])
def test_against_the_plain_version(dtype, rng, V, N):
    logits, targets = rng.normal(0, 3, (V, N)).astype(dtype), rng.integers(-1, V, N).astype(np.int32)
    targets[0] = V - 1
    gradient, nats = run(logits, targets, scale=0.25)
    expected = np.zeros((V, N))
    for n in np.flatnonzero(targets >= 0):
        expected[:, n] = softmax(logits[:, n].astype(float))
        expected[targets[n], n] -= 1
    close(gradient, 0.25 * expected, dtype)
    close(nats, plain_loss(logits, targets), dtype, scale=10)
    assert not gradient[:, targets < 0].any() and not nats[targets < 0].any()


def test_is_the_derivative_of_the_loss(rng):
    logits, targets = rng.normal(0, 2, (4, 5)), np.array([3, 0, -1, 0, 2])
    gradient, _ = run(logits, targets, scale=2.5)
    numeric = numeric_gradient(lambda: 2.5 * plain_loss(logits, targets).sum(), logits)
    np.testing.assert_allclose(gradient, numeric, rtol=0, atol=1e-10)


def test_without_targets(dtype, rng):
    gradient, nats = run(rng.normal(0, 1, (3, 4)).astype(dtype), np.full(4, -1))
    assert not gradient.any() and not nats.any()


def test_without_columns(dtype):
    gradient, nats = run(np.zeros((3, 0), dtype), np.zeros(0, int))
    assert gradient.shape == (3, 0) and nats.shape == (0,)


def test_extreme_logits(dtype):
    """No overflow, no warning, no NaN; all that is lost is what is too small to tell."""
    logits = np.array([[1e4, -1e4, 1e4, 0.0], [-1e4, 1e4, 1e4, -1e4], [0.0, -1e4, 1e4, 1e30]], dtype)
    targets = np.array([0, 0, 2, 2])
    with np.errstate(all="raise", under="ignore"):
        gradient, nats = run(logits, targets)
    np.testing.assert_allclose(nats, [0, 2e4, math.log(3), 0], rtol=1e-6)
    third = 1 / 3
    expected = [[0, -1, third, 0], [0, 1, third, 0], [0, 0, third - 1, 0]]
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [-1e30, -1e20, 1e9, 1e20, 1e30])
def test_logits_that_are_equal_are_a_choice_among_all(dtype, size):
    """Also where ln(sum of exponentials) is far below the rounding of a logit; with the likeliest asked for or not."""
    logits, targets = np.full((5, 3), size, dtype), np.array([0, 4, -1], np.int32)
    gradient, nats = run(logits, targets)
    close(nats, [math.log(5.0), math.log(5.0), 0.0], dtype)
    close(gradient[:, 0], [-0.8, 0.2, 0.2, 0.2, 0.2], dtype)
    head = Softmax(OPS, 5, 5)
    values = {"W_y": np.eye(5, dtype=dtype), "b_y": np.zeros((5, 1), dtype)}
    head.bind(values, Grads(values, OPS))
    best = np.empty((1, 3), np.int32)
    close(head.nats(logits[None], targets[None], Workspace(OPS, dtype), best=best)[0], nats, dtype)


def test_columns_do_not_know_of_each_other(dtype, rng):
    logits, targets = rng.normal(0, 3, (6, 5)).astype(dtype), np.array([1, 2, -1, 0, 5])
    gradient, nats = run(logits, targets)
    logits[:, 2:] = 77
    changed, changed_nats = run(logits, targets)
    np.testing.assert_array_equal(gradient[:, :2], changed[:, :2])
    np.testing.assert_array_equal(nats[:2], changed_nats[:2])

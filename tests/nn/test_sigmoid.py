"""The head of zeros and ones: the notes' binary cross-entropy, its gradient, and the numbers at its edges."""

import numpy as np
import pytest

from charlm.nn.heads import Sigmoid
from charlm.nn.workspace import Workspace
from charlm.text.batches.lanes import NO_TARGET, Batch
from tests.gradcheck import BAR, OPS, bind, compare, config_of, make_model
from tests.task_batches import BODIES

T, B, INPUTS = 4, 3, 2
each_width = pytest.mark.parametrize("units", [1, 3])


def make(units, *, seed=1, dtype="float64"):
    head = Sigmoid(OPS, INPUTS, units)
    return head, bind(head, seed, dtype=dtype)


def asked(units, rng):
    """Give targets, of which one step has none: [T, B] for one unit, as of tags, else [T, units, B]."""
    targets = rng.integers(0, 2, (T, units, B)).astype(np.int8)
    targets[1, :, 0] = targets[-1, :, -1] = NO_TARGET
    return targets[:, 0].astype(np.int32) if units == 1 else targets


def probabilities(head, y):
    z = np.einsum("kn,tnb->tkb", head.W_y, y) + head.b_y
    return 1 / (1 + np.exp(-z))


@each_width
def test_the_loss_is_the_notes_formula(units):
    rng = np.random.default_rng(2)
    head, _ = make(units)
    y, targets = rng.standard_normal((T, INPUTS, B)), asked(units, rng)
    truth = targets.reshape(T, units, B)
    p = probabilities(head, y)
    terms = np.where(truth == NO_TARGET, 0.0, -truth * np.log(p) - (1 - truth) * np.log(1 - p))
    nats = head.nats(y, targets, Workspace(OPS, "float64"))
    assert nats.dtype == np.float64 and np.count_nonzero(nats) == T * B - 2
    np.testing.assert_allclose(nats, terms.sum(axis=1), rtol=1e-13)
    loss, _ = head.loss_and_grad(y, targets, 1.0, Workspace(OPS, "float64"))
    assert loss == pytest.approx(terms.sum(), rel=1e-13)


@each_width
def test_gradients(units):
    """By W_y, b_y and the body's output; the scale is in the gradients and not in the loss."""
    rng = np.random.default_rng(3)
    head, parameters = make(units)
    y, targets, scale = rng.standard_normal((T, INPUTS, B)), asked(units, rng), 1.7 / 30
    ws, scratch = Workspace(OPS, "float64"), Workspace(OPS, "float64")
    parameters.grads[...] = 0
    _, dy = head.loss_and_grad(y, targets, scale, ws)
    gradients = {name: view.copy() for name, view in parameters.named(parameters.grads).items()} | {"y": dy.copy()}
    assert not dy[1, :, 0].any() and not dy[-1, :, -1].any() and np.count_nonzero(dy) == INPUTS * (T * B - 2)
    arrays = parameters.named(parameters.values) | {"y": y}
    errors = compare(lambda: scale * float(head.nats(y, targets, scratch).sum()), arrays, gradients)
    assert set(errors) == {"W_y", "b_y", "y"} and max(errors.values()) <= BAR, errors
    head.loss_and_grad(y, targets, scale, ws)
    for name, view in parameters.named(parameters.grads).items():  # they add to what is there
        np.testing.assert_allclose(view, 2 * gradients[name], rtol=1e-14)


@each_width
def test_log_probs_are_those_of_a_one(units):
    rng = np.random.default_rng(4)
    head, _ = make(units)
    y = rng.standard_normal((T, INPUTS, B))
    found = head.log_probs(y, Workspace(OPS, "float64")).reshape(units, T, B).transpose(1, 0, 2)
    np.testing.assert_allclose(found, np.log(probabilities(head, y)), rtol=1e-13)
    ones = np.ones((T, units, B), np.int8)
    nats = head.nats(y, ones[:, 0] if units == 1 else ones, Workspace(OPS, "float64"))
    np.testing.assert_allclose(nats, -found.sum(axis=1), rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_certain_answers_neither_overflow_nor_vanish(dtype):
    """ln(1 + e^z) at z of thousands, where e^z is infinite and 1 - y^ is 0, with warnings as errors."""
    head, parameters = make(1, dtype=dtype)
    parameters.value("W_y")[...] = [[1, 0]]
    parameters.value("b_y")[...] = 0
    parameters.grads[...] = 0
    z = np.array([5000.0, -5000.0, 40.0, -40.0, 0.0])
    y = np.zeros((5, INPUTS, 2), dtype)
    y[:, 0] = z[:, None]
    targets = np.array([[1, 0]] * 5, np.int32)
    with np.errstate(all="raise", under="ignore"):
        loss, dy = head.loss_and_grad(y, targets, 1.0, Workspace(OPS, dtype))
        nats = head.nats(y, targets, Workspace(OPS, dtype))
        log_probs = head.log_probs(y, Workspace(OPS, dtype))
    tiny = np.exp(-40.0)
    expected = [[0, 5000], [5000, 0], [tiny, 40], [40, tiny], [np.log(2)] * 2]
    np.testing.assert_allclose(nats, expected, rtol=1e-6, atol=1e-6)
    assert loss == pytest.approx(np.sum(expected), rel=1e-6)
    np.testing.assert_allclose(log_probs[0].reshape(5, 2)[:, 0], [0, -5000, -tiny, -40, -np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(dy[:, 0], [[0, 1], [-1, 0], [0, 1], [-1, 0], [-0.5, 0.5]], atol=1e-6)


def test_each_key_is_a_choice_of_its_own():
    """Unlike a softmax: another target of one key changes the gradients of that key's unit alone."""
    rng = np.random.default_rng(5)
    head, parameters = make(3)
    y, targets, grads = rng.standard_normal((T, INPUTS, B)), asked(3, rng), []
    for flipped in (False, True):
        parameters.grads[...] = 0
        targets[2, 1, 1] ^= flipped
        head.loss_and_grad(y, targets, 1.0, Workspace(OPS, "float64"))
        grads.append(parameters.grad("W_y").copy())
    assert np.array_equal(grads[0] != grads[1], [[False] * INPUTS, [True] * INPUTS, [False] * INPUTS])


def test_a_piece_counts_its_steps_and_a_sentence_its_tags():
    music = make_model(config_of("gru", "after", **BODIES["music"]))
    assert music.head.outputs == music.config.vocabulary_size - 2 == music.body.n_in == 4
    targets = np.zeros((T, 4, B), np.int8)
    targets[2:, :, 1] = NO_TARGET
    batch = Batch(np.zeros((T, 4, B), np.uint8), targets)
    assert (batch.count, batch.lanes) == (T * B - 2, B)
    nats, _ = music.nats(batch, music.zero_state(B), music.workspace())
    assert nats.shape == (T, B) and not nats[2:, 1].any() and nats.all(axis=0)[[0, 2]].all()
    music.loss_and_grads(batch, music.zero_state(B), music.workspace())
    tags = make_model(config_of("gru", "after", **BODIES["yes-no"]))
    assert tags.head.outputs == 1

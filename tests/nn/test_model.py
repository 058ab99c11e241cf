"""What can be asked of a whole model agrees with itself."""

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.text.batches.lanes import Batch
from tests.gradcheck import config_of, leaves, make_model, random_batch, random_state


@pytest.fixture
def model():
    return make_model(config_of("lstm", "", vocabulary_size=7, embedding_size=4), seed=10)


@pytest.fixture
def batch():
    return random_batch(7, 5, 3, np.random.default_rng(83), starts=False)


def test_losses_nats_and_probabilities(model, batch):
    state, ws = random_state(model.body, 3, np.random.default_rng(84)), model.workspace()
    nats, after = model.nats(batch, state, ws)
    loss, also_after = model.loss_and_grads(batch, state, ws)
    assert loss == pytest.approx(nats.sum(), rel=1e-13)
    for one, other in zip(leaves(after), leaves(also_after), strict=True):
        np.testing.assert_array_equal(one, other)
    at_once, _ = model.next_log_probs(batch.inputs, state, model.workspace())
    for t in range(5):
        log_probs, state = model.next_log_probs(batch.inputs[t : t + 1], state, ws)
        assert log_probs.shape == (7, 3)
        np.testing.assert_allclose(np.exp(log_probs).sum(axis=0), 1, rtol=1e-13)
        for column, target in enumerate(batch.targets[t]):
            expected = 0 if target < 0 else -log_probs[target, column]
            assert nats[t, column] == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(at_once, log_probs, rtol=0, atol=1e-13)
    for one, other in zip(leaves(after), leaves(state), strict=True):
        np.testing.assert_array_equal(one, other)


def test_gradients_are_those_of_the_mean_and_are_overwritten(model, batch):
    """The same batch twice side by side has the same mean loss and the same gradients."""
    grads = []
    for copies in (1, 2, 2):
        doubled = Batch(*(np.tile(ids, (1, copies)) for ids in (batch.inputs, batch.targets)))
        loss, _ = model.loss_and_grads(doubled, model.zero_state(3 * copies), model.workspace())
        grads.append((loss / copies, model.parameters.grads.copy()))
        assert doubled.count == copies * batch.count
    for loss, grad in grads[1:]:
        assert loss == pytest.approx(grads[0][0], rel=1e-13)
        np.testing.assert_allclose(grad, grads[0][1], rtol=0, atol=1e-15)


def test_nothing_but_gradients_changes(model, batch):
    before = model.parameters.values.copy()
    inputs, targets = batch.inputs.copy(), batch.targets.copy()
    model.loss_and_grads(batch, model.zero_state(3), model.workspace(), noise=4)
    np.testing.assert_array_equal(model.parameters.values, before)
    np.testing.assert_array_equal(batch.inputs, inputs)
    np.testing.assert_array_equal(batch.targets, targets)


def test_exploded_weights_show_in_the_loss_without_a_warning(model, batch):
    """Whatever NumPy would say of them: warnings are errors here."""
    for size in (1e308, np.inf):
        model.parameters.values[...] = np.copysign(size, model.parameters.values)
        loss, _ = model.loss_and_grads(batch, model.zero_state(3), model.workspace())
        assert not np.isfinite(loss)


def test_a_step_downhill_lowers_the_loss(model, batch):
    p, ws = model.parameters, model.workspace()
    before, _ = model.loss_and_grads(batch, model.zero_state(3), ws)
    for _ in range(5):
        p.values -= 0.1 * p.grads
        after, _ = model.loss_and_grads(batch, model.zero_state(3), ws)
        assert after < before
        before = after


def test_zero_state(model):
    state = model.zero_state(4)
    assert [array.shape for array in leaves(state)] == [(3, 4)] * 4
    assert not any(array.any() for array in leaves(state))
    assert {array.dtype for array in leaves(state)} == {np.dtype("float64")}


def test_the_backend_is_handed_down(model):
    assert isinstance(model.ops, NumpyBackend)
    assert all(layer.ops is model.ops for layer in model.body.layers.values()) and model.head.ops is model.ops

"""What training alone sees: masks over time, words and recurrent weights, and penalties on activations."""

import numpy as np
import pytest

from charlm.nn.dropout import Dropout, VariationalDropout
from charlm.nn.layer import Stack
from charlm.nn.penalties import ActivationPenalty, TemporalPenalty
from charlm.nn.weight_drop import WeightDrop
from charlm.nn.word_dropout import DroppedEmbedding
from charlm.nn.workspace import Workspace
from tests.gradcheck import (
    OPS,
    bind,
    compare,
    config_of,
    each_kind,
    holds,
    make_model,
    make_recurrent,
    random_batch,
    random_starts,
    random_state,
)

NOISE, RATE = 77, 0.4
REGULARISED = {
    **{"dropout": 0.4, "dropout_kind": "variational", "embedding_size": 5, "embedding_dropout": 0.5},
    **{"weight_drop": 0.4, "activation_penalty": 2.0, "temporal_penalty": 1.0},
}


def forward(layer, x, *, noise=NOISE, starts=None, state=None):
    state = layer.zero_state(x.shape[-1]) if state is None else state
    return layer.forward(x, state, Workspace(OPS, "float64"), starts=starts, noise=noise)[0].copy()


# --- dropout ---------------------------------------------------------------------------------------------------------


def test_a_variational_mask_is_the_same_at_all_steps_and_another_one_in_each_lane():
    x = np.ones((7, 30, 20))
    layer = VariationalDropout(OPS, 30, RATE, place=2)
    y = forward(layer, x)
    assert (y == y[0]).all()
    assert set(np.unique(y)) == {0.0, 1 / (1 - RATE)}
    assert np.mean(y[0] == 0) == pytest.approx(RATE, abs=0.07)
    assert len(np.unique(y[0].T, axis=0)) == 20
    assert not np.array_equal(y, forward(layer, x, noise=NOISE + 1))
    assert not np.array_equal(y, forward(VariationalDropout(OPS, 30, RATE, place=3), x))
    assert np.array_equal(forward(layer, x, noise=None), x)
    standard = forward(Dropout(OPS, 30, RATE, place=2), x)
    assert np.array_equal(standard[0], y[0]) and not np.array_equal(standard[1], y[1])


def test_a_dropped_word_is_dropped_wherever_it_is_read():
    ids = np.random.default_rng(1).integers(-1, 40, (30, 20))
    layer = DroppedEmbedding(OPS, 40, 3, rate=RATE, place=1)
    bind(layer, 0)
    y, plain = forward(layer, ids), forward(layer, ids, noise=None)
    is_dropped = {token: (y.transpose(0, 2, 1)[ids == token] == 0).all() for token in range(40)}
    assert 8 <= sum(is_dropped.values()) <= 24
    for token, dropped in is_dropped.items():
        factor = 0.0 if dropped else 1 / (1 - RATE)
        here = ids == token
        np.testing.assert_allclose(y.transpose(0, 2, 1)[here], factor * plain.transpose(0, 2, 1)[here], rtol=1e-15)
    assert not y.transpose(0, 2, 1)[ids == -1].any()


@each_kind
def test_dropped_weights_are_weights_of_zero_and_larger_other_ones(cell, variant):
    """Outputs and gradients are those of a layer with these weights; its gradient is then masked in the same way."""
    rng = np.random.default_rng(2)
    x, starts, H = rng.standard_normal((4, 3, 2)), random_starts(4, 2, rng), 4
    drop = WeightDrop(RATE, 9)
    layer, parameters = make_recurrent(cell, variant, weight_drop=drop)
    other, others = make_recurrent(cell, variant)
    state = random_state(layer, 2, rng)
    plain = forward(layer, x, noise=None, starts=starts, state=state)
    assert np.array_equal(plain, forward(other, x, starts=starts, state=state))
    masked = drop.dropped(layer.cell, Workspace(OPS, "float64"), NOISE).W_a
    factors = masked / layer.cell.W_a
    assert {0.0, round(1 / (1 - RATE), 9)} == set(np.unique(factors.round(9)))
    other.cell.W_a[...] = masked
    found = []
    for one, its in ((layer, parameters), (other, others)):
        ws = Workspace(OPS, "float64")
        y, _ = one.forward(x, state, ws, starts=starts, noise=NOISE)
        y = y.copy()
        dx, d_first = one.backward(np.cos(y), (), ws)
        found.append([y, dx.copy(), *d_first, its.grad("W").copy()])
    *mine, grad = found[0]
    *theirs, expected = found[1]
    for array, reference in zip(mine, theirs, strict=True):
        assert np.array_equal(array, reference)
    expected[:, :H] *= factors
    np.testing.assert_allclose(grad, expected, rtol=1e-12, atol=1e-15)


# --- penalties -------------------------------------------------------------------------------------------------------


def mean_square(y):
    return float(np.mean(y**2))


def mean_square_change(y, starts):
    """Over all pairs of steps that belong to one sequence."""
    continues = ~starts[1:]
    return float(np.mean((y[1:] - y[:-1]).transpose(0, 2, 1)[continues] ** 2))


@pytest.mark.parametrize("with_starts", [False, True])
def test_the_gradients_of_both_penalties(with_starts):
    """A recurrent layer, the penalty on its changes, dropout, and the penalty on what the dropout leaves."""
    rng = np.random.default_rng(3)
    x, starts = rng.standard_normal((5, 2, 3)), random_starts(5, 3, rng) if with_starts else None
    layers = {"cells": make_recurrent("lstm", "", 2, 3)[0], "temporal": TemporalPenalty(OPS, 3, 1.7)}
    stack = Stack({**layers, "dropout": Dropout(OPS, 3, RATE, place=1), "activation": ActivationPenalty(OPS, 3, 2.3)})
    parameters = bind(stack, 4)
    state, ws = random_state(stack, 3, rng), Workspace(OPS, "float64")
    y, _ = stack.forward(x, state, ws, starts=starts, noise=NOISE)
    dy = rng.standard_normal(y.shape)
    parameters.grads[...] = 0
    dx, _ = stack.backward(dy, (), ws)
    gradients = {name: view.copy() for name, view in parameters.named(parameters.grads).items()} | {"x": dx.copy()}

    def loss():
        y = forward(stack, x, starts=starts, state=state)
        before = forward(layers["cells"], x, starts=starts, state=state[0])
        changes = mean_square_change(before, np.zeros((5, 3), bool) if starts is None else starts)
        return float(np.sum(dy * y)) + 2.3 * mean_square(y) + 1.7 * changes

    holds(compare(loss, parameters.named(parameters.values) | {"x": x}, gradients))


@pytest.mark.parametrize("kind", [ActivationPenalty, TemporalPenalty])
def test_a_penalty_of_reading_changes_nothing(kind):
    layer, ws = kind(OPS, 4, 9.0), Workspace(OPS, "float64")
    x = np.random.default_rng(5).standard_normal((1, 4, 2))
    for noise in (None, NOISE):
        y, _ = layer.forward(x, (), ws, noise=noise)
        assert y is x
        dx, _ = layer.backward(x, (), ws)
        # The change of one step alone is no change.
        assert np.array_equal(dx, x) == (noise is None or kind is TemporalPenalty)


# --- whole models ----------------------------------------------------------------------------------------------------


def test_only_training_sees_any_of_it():
    plain = make_model(config_of("lstm", "", embedding_size=5), seed=6)
    model = make_model(config_of("lstm", "", **REGULARISED), seed=6)
    assert plain.parameters.shapes == model.parameters.shapes
    batch, found = random_batch(6, 5, 3, np.random.default_rng(7)), []
    for one in (plain, model):
        loss, _ = one.loss_and_grads(batch, one.zero_state(3), one.workspace())
        nats, _ = one.nats(batch, one.zero_state(3), one.workspace())
        found.append((loss, nats, one.parameters.grads.copy()))
    for array, other in zip(*found, strict=True):
        assert np.array_equal(array, other)
    noisy, _ = model.loss_and_grads(batch, model.zero_state(3), model.workspace(), noise=NOISE)
    assert noisy != found[0][0]


@pytest.mark.parametrize("task", ["cloze", "translate", "tag"])
def test_no_two_masks_of_a_network_share_a_place(task):
    more = {"labels": 3} if task == "tag" else {"target_size": 6} if task == "translate" else {}
    more |= {"bidirectional": task != "translate"}
    model = make_model(config_of("rnn", "tanh", task=task, **REGULARISED, **more, num_layers=3))
    places = [one.place for part in (model.body, model.encoder) if part is not None for one in _masks(part)]
    assert len(set(places)) == len(places) >= 7


def _masks(layer):
    """Yield everything of a layer that draws a mask."""
    drop = getattr(layer, "weight_drop", None)
    yield from [one for one in (layer, drop) if hasattr(one, "place")]
    for part in (*layer.parts.values(), *([layer.layer] if hasattr(layer, "layer") else [])):
        yield from _masks(part)


@each_kind
def test_dropped_weights_see_what_weights_see(cell, variant):
    """A change of an input is seen from its step on, and in its lane alone."""
    layer, _ = make_recurrent(cell, variant, weight_drop=WeightDrop(RATE, 3))
    x = np.random.default_rng(8).standard_normal((6, 3, 4))
    if variant == "relu":  # all rectified units on: those that are off see nothing
        layer.cell.W[...] = np.abs(layer.cell.W)
        x = np.abs(x)
    before = forward(layer, x)
    x[3, :, 2] += 0.5
    differs = (forward(layer, x) != before).any(axis=1)
    expected = np.zeros((6, 4), bool)
    expected[3:, 2] = True
    assert np.array_equal(differs, expected)

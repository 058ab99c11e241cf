"""Passes on several threads of NumPy: the same loss, gradients and states as on one, and lanes that stay apart."""

import threading

import numpy as np
import pytest

from charlm.backends import NumpyBackend, numpy_backend
from charlm.errors import NonFiniteOutputError
from tests import gradcheck
from tests.gradcheck import (
    BAR,
    KINDS,
    OPS,
    check_deep,
    check_task,
    config_of,
    leaves,
    make_model,
    random_batch,
    random_state,
)
from tests.task_batches import BODIES, random_task_batch

NOISE = 0x1234_5678_9ABC_DEF1


@pytest.fixture(autouse=True)
def everything_is_worth_sharing(monkeypatch):
    """However small it is."""
    monkeypatch.setattr(numpy_backend, "_WORTH_SPLITTING", 1)
    monkeypatch.setattr(numpy_backend, "_LOGITS", 8)
    monkeypatch.setattr(NumpyBackend, "block", 8)


@pytest.mark.thinned(2)
@pytest.mark.parametrize(("cell", "variant"), [("lstm", ""), ("gru", "after")], ids=["lstm", "gru-after"])
def test_gradients(cell, variant):
    """Of two kinds, as finite differences take their time; below, all are compared with a single thread."""
    with OPS.workers.limit(2):
        errors = check_deep(cell, variant)
    assert max(errors.values()) <= BAR, errors


# A batch this small has no target in the last cluster of an adaptive softmax: see test_adaptive.
@pytest.mark.thinned(3)
@pytest.mark.parametrize("body", [body for body in BODIES if body != "adaptive"])
def test_gradients_of_every_body(body):
    with OPS.workers.limit(3):
        errors = check_task("gru", "both", body, embedding_size=0 if BODIES[body]["task"] == "music" else 2)
    assert max(errors.values()) <= BAR, errors


def passes(model, batch, state):
    """Return what a training step, with dropout, and a judgement leave."""
    ws = model.workspace()
    results = []
    for noise in (None, NOISE):
        loss, after = model.loss_and_grads(batch, state, ws, noise=noise)
        results += [np.array(loss), model.parameters.grads.copy(), *(leaf.copy() for leaf in leaves(after))]
    best = np.zeros(batch.targets.shape, np.int32)
    nats, after = model.nats(batch, state, ws, best=best if best.ndim == 2 else None)
    return [*results, nats, best, *leaves(after)]


CASES = [(cell, variant, "") for cell, variant in KINDS] + [("lstm", "", body) for body in BODIES]


@pytest.mark.thinned(3)
@pytest.mark.parametrize(("cell", "variant", "body"), CASES, ids=lambda name: name or "-")
def test_the_same_with_any_number_of_workers(cell, variant, body):
    rng = np.random.default_rng(60)
    small = {"hidden_size": 4, "num_layers": 1 if body else 2, "dropout": 0.4}
    embedded = {} if BODIES.get(body, {}).get("task") == "music" else {"embedding_size": 3}
    model = make_model(config_of(cell, variant, **{**small, **embedded, **BODIES.get(body, {})}))
    batch = random_task_batch(model.config, rng) if body else random_batch(6, 5, 7, rng)
    state = random_state(model.body, batch.lanes, rng)
    with OPS.workers.limit(1):
        alone = passes(model, batch, state)
    for workers in (2, 3):
        with OPS.workers.limit(workers):
            shared, again = passes(model, batch, state), passes(model, batch, state)
        for one, other, repeated in zip(alone, shared, again, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
            np.testing.assert_array_equal(other, repeated)


def test_a_lane_does_not_know_what_the_others_read():
    rng = np.random.default_rng(61)
    model = make_model(config_of("lstm", ""))
    batch = random_batch(6, 5, 6, rng)
    state = random_state(model.body, 6, rng)
    with OPS.workers.limit(2):
        before, after_before = model.nats(batch, state, model.workspace())
        batch.inputs[:, 4] = 5 - batch.inputs[:, 4].clip(0)
        changed, after_changed = model.nats(batch, state, model.workspace())
    others = [0, 1, 2, 3, 5]
    np.testing.assert_array_equal(before[:, others], changed[:, others])
    assert not np.array_equal(before[:, 4], changed[:, 4])
    for one, other in zip(leaves(after_before), leaves(after_changed), strict=True):
        np.testing.assert_array_equal(one[:, others], other[:, others])
        assert not np.array_equal(one[:, 4], other[:, 4])


def test_an_error_is_raised_and_the_next_pass_is_right():
    rng = np.random.default_rng(63)
    model = make_model(config_of("rnn", "tanh"))
    batch, state = random_batch(6, 5, 4, rng), random_state(model.body, 4, rng)
    with OPS.workers.limit(2):
        right, _ = model.nats(batch, state, model.workspace())
        targets = batch.targets.copy()
        batch.targets[2, 3] = 10**6
        with pytest.raises(IndexError):
            model.nats(batch, state, model.workspace(), best=np.zeros(batch.targets.shape, np.int32))
        batch.targets[...] = targets
        again, _ = model.nats(batch, state, model.workspace())
    np.testing.assert_array_equal(right, again)


@pytest.mark.parametrize("lane", range(4))
def test_what_is_not_finite_is_refused_in_every_lane(lane):
    """One lane of four reads a token whose weights overflow."""
    rng = np.random.default_rng(68)
    model = make_model(config_of("lstm", ""))
    batch, state = random_batch(6, 5, 4, rng), random_state(model.body, 4, rng)
    batch.inputs[...] = 1
    batch.inputs[2, lane] = 3
    with OPS.workers.limit(2):
        model.nats(batch, state, model.workspace())
        model.parameters.value("layer0.W")[:, -1 - (config_of("lstm", "").vocabulary_size - 3)] = np.nan
        with pytest.raises(NonFiniteOutputError):
            model.nats(batch, state, model.workspace())


def test_where_no_thread_can_be_started_the_bytes_are_the_same(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    config, rng, results = config_of("lstm", "", dropout=0.4), np.random.default_rng(67), []
    batch, state = random_batch(6, 5, 4, rng), random_state(make_model(config).body, 4, rng)
    for refused in (False, True):
        monkeypatch.setattr(gradcheck, "OPS", NumpyBackend())
        if refused:
            monkeypatch.setattr(threading.Thread, "start", refuse)
        model, before = make_model(config), threading.active_count()
        with model.ops.workers.limit(2):
            results.append(passes(model, batch, state))
        assert (threading.active_count() > before) != refused
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)

"""A batch shared between workers: the same loss, gradients and states as with one, and lanes that stay apart."""

import gc
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from charlm.backends import process
from charlm.errors import NonFiniteOutputError
from charlm.nn import lanes as lanes_module
from tests.gradcheck import (
    BAR,
    KINDS,
    OPS,
    check_deep,
    check_task,
    config_of,
    fill_grads,
    leaves,
    make_model,
    random_batch,
    random_state,
)
from tests.task_batches import BODIES, random_task_batch

NOISE = 0x1234_5678_9ABC_DEF1


@pytest.fixture(autouse=True)
def every_lane_is_worth_a_worker(monkeypatch):
    monkeypatch.setattr(lanes_module, "_FEWEST_LANES", 1)


@pytest.mark.parametrize(("lanes", "workers"), [(1, 4), (7, 2), (64, 3), (5, 5), (3, 8)])
def test_shares_are_all_lanes_in_order(lanes, workers):
    """Here a single lane is worth a worker."""
    shares = lanes_module.shares_of(lanes, workers, 8)
    assert len(shares) == min(lanes, workers)
    assert [lane for share in shares for lane in range(share.start, share.stop)] == list(range(lanes))
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_large_weights_are_shared_for_more_lanes_alone():
    assert [len(lanes_module.shares_of(20, 2, hidden_size)) for hidden_size in (256, 257)] == [2, 1]
    assert len(lanes_module.shares_of(32, 2, 650)) == 2


@pytest.mark.thinned(2)
@pytest.mark.parametrize(("cell", "variant"), [("lstm", ""), ("gru", "after")], ids=["lstm", "gru-after"])
def test_gradients(cell, variant):
    """Of two kinds, as finite differences take their time; below, all others are held against one process alone."""
    with OPS.workers.limit(2):
        errors = check_deep(cell, variant)
    assert max(errors.values()) <= BAR, errors


@pytest.mark.thinned(3)
@pytest.mark.parametrize("body", BODIES)
def test_gradients_of_every_body(body):
    with OPS.workers.limit(3):
        errors = check_task("gru", "both", body, embedding_size=0 if BODIES[body]["task"] == "music" else 2)
    assert max(errors.values()) <= BAR, errors


def passes(model, batch, state):
    """Give what a training step, with dropout, and a judgement leave."""
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


def test_twins_share_the_values_and_have_gradients_of_their_own():
    rng = np.random.default_rng(62)
    model = make_model(config_of("gru", "after"))
    batch = random_batch(6, 4, 4, rng)
    state = random_state(model.body, 4, rng)
    with OPS.workers.limit(2):
        model.loss_and_grads(batch, state, model.workspace())
        assert len(model._twins) == 1
        assert not np.shares_memory(model._twins[0].grads, model.parameters.grads)
        first = model.parameters.grads.copy()
        model.parameters.values *= 2.0  # twins see what the optimizer does
        model.loss_and_grads(batch, state, model.workspace())
        doubled = model.parameters.grads.copy()
        model.parameters.values /= 2.0
        model.loss_and_grads(batch, state, model.workspace())
    np.testing.assert_array_equal(model.parameters.grads, first)
    assert not np.allclose(doubled, first)


def test_an_error_in_a_twin_is_raised_here_and_the_next_pass_is_right():
    rng = np.random.default_rng(63)
    model = make_model(config_of("rnn", "tanh"))
    batch, state = random_batch(6, 5, 4, rng), random_state(model.body, 4, rng)
    with OPS.workers.limit(2):
        right, _ = model.nats(batch, state, model.workspace())
        targets = batch.targets.copy()
        batch.targets[2, 3] = 10**6  # of the second share
        with pytest.raises(IndexError):
            model.nats(batch, state, model.workspace(), best=np.zeros(batch.targets.shape, np.int32))
        batch.targets[...] = targets
        again, _ = model.nats(batch, state, model.workspace())
    np.testing.assert_array_equal(right, again)


LOSSES = pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])


@LOSSES
def test_a_process_that_is_lost_costs_nothing(monkeypatch, number):
    """Killed or stopped: its share is done here, in the same bits, and another process takes its place."""
    monkeypatch.setattr(process, "_WAIT", 0.01)
    rng = np.random.default_rng(64)
    model = make_model(config_of("gru", "both"))
    batch, state = random_batch(6, 5, 4, rng), random_state(model.body, 4, rng)
    with OPS.workers.limit(2):
        loss, _ = model.loss_and_grads(batch, state, model.workspace())
        grads = model.parameters.grads.copy()
        pids = []
        for _ in range(8):
            if (pid := model._twins[0].pid) is not None:
                pids.append(pid)
                os.kill(pid, number)
            fill_grads(model, np.nan)
            again, _ = model.loss_and_grads(batch, state, model.workspace())
            assert loss == again
            np.testing.assert_array_equal(grads, model.parameters.grads)
            assert model.lost_processes == len(pids)
            assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
        assert len(pids) == 3, "after so many it is left at one process"


@LOSSES
def test_large_questions_come_back_and_a_lost_process_does_not_block_them(monkeypatch, number):
    """They are larger than what a socket holds."""
    monkeypatch.setattr(process, "_WAIT", 0.01)
    large = np.arange(1 << 20)
    with OPS.workers.limit(2):
        echo = OPS.workers.fork(lambda array: array + 1)
        for _ in range(2):
            echo.ask(large)
            np.testing.assert_array_equal(echo.answer(), large + 1)
        os.kill(echo.pid, number)
        with pytest.raises(process.ProcessLost):
            echo.ask(large)
        with pytest.raises(process.ProcessLost):
            echo.answer()


@pytest.mark.parametrize("lane", range(4))
def test_what_is_not_finite_is_refused_whichever_process_computes_it(lane):
    """One lane of four reads a token whose weights overflow; two processes share them."""
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


def test_where_no_process_can_be_started_the_work_is_done_here(monkeypatch):
    rng = np.random.default_rng(67)
    model = make_model(config_of("lstm", ""))
    batch, state = random_batch(6, 5, 4, rng), random_state(model.body, 4, rng)
    with OPS.workers.limit(2):
        shared, _ = model.nats(batch, state, model.workspace())
        model._twins.clear()

        def refused():
            raise BlockingIOError(11, "Resource temporarily unavailable")

        monkeypatch.setattr("charlm.backends.process.os.fork", refused)
        alone, _ = model.nats(batch, state, model.workspace())
    np.testing.assert_array_equal(shared, alone)
    assert model.lost_processes == 0


def test_twins_end_with_their_model():
    rng = np.random.default_rng(65)
    model = make_model(config_of("gru", "both"))
    with OPS.workers.limit(3):
        model.nats(random_batch(6, 5, 6, rng), model.zero_state(6), model.workspace())
    pids = [twin.pid for twin in model._twins]
    assert len(pids) == 2 and all(Path(f"/proc/{pid}").exists() for pid in pids)
    del model
    gc.collect()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_without_forks_one_process_does_all(monkeypatch):
    rng = np.random.default_rng(66)
    model = make_model(config_of("lstm", ""))
    batch, state = random_batch(6, 5, 6, rng), random_state(model.body, 6, rng)
    with OPS.workers.limit(2):
        shared, _ = model.nats(batch, state, model.workspace())
        monkeypatch.setattr("charlm.backends.pool.CAN_FORK", False)
        alone, _ = model.nats(batch, state, model.workspace())
    np.testing.assert_allclose(shared, alone, rtol=0, atol=1e-12)

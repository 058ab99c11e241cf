"""Work that is recorded once and launched as a graph, and what a training step costs with it."""

import numpy as np
import pytest

from charlm.config import ModelConfig
from charlm.nn import build as build_module
from charlm.text.batches import LineBatches
from charlm.training import OPTIMIZERS
from tests.cuda import hostcupy
from tests.cuda.test_parity import BARS
from tests.cuda.twins import differences, twins
from tests.gradcheck import config_of, each_kind, random_batch


@pytest.mark.parametrize("starts", [False, True])
@each_kind
def test_what_is_launched_again_does_it_with_the_new_numbers(ops, cell, variant, starts):
    """Other ids, states, starts, weights and gradients from above, in the same places: only these may be recorded."""
    config = config_of(cell, variant, hidden_size=5, num_layers=2, dtype="float64")
    host, device = twins(config, ops)
    spaces = host.workspace(), device.workspace()
    rng = np.random.default_rng(60)
    for number in range(5):
        batch = random_batch(6, 7, 3, rng, starts=starts)
        values = rng.normal(0, 0.6, host.parameters.values.shape)
        host.parameters.values[...] = values
        device.parameters.values[...] = ops.array(values)
        before = hostcupy.counts["graphs"]
        found = differences(host, device, batch, seed=number, spaces=spaces)
        assert max(found.values()) <= BARS["float64"], found
        # Of each layer three passes forward and one back; each the first time by itself, also after the first way back,
        # which asks for arrays that then belong to the pass.
        assert hostcupy.counts["graphs"] - before == {0: 2, 1: 6}.get(number, 8)


def test_lengths_that_come_by_turns_have_graphs_of_their_own(ops):
    host, device = twins(config_of("lstm", "", dtype="float64"), ops)
    spaces, rng = (host.workspace(), device.workspace()), np.random.default_rng(61)
    for steps, lanes in [(3, 2), (5, 2), (3, 2), (9, 4), (3, 2), (5, 2), (5, 2)]:
        batch = random_batch(6, steps, lanes, rng)
        found = differences(host, device, batch, spaces=spaces)
        assert max(found.values()) <= BARS["float64"], found


def counted_steps(ops, count, **network):
    """Count what each step of a training on lines takes."""
    model = build_module.build(ModelConfig(9, hidden_size=6, num_layers=2, **network), ops, seed=1)
    optimizer, ws = OPTIMIZERS["adam"](model.parameters, ops), model.workspace()
    rng = np.random.default_rng(62)
    lengths = rng.integers(3, 12, 200)
    ids = rng.integers(0, 9, lengths.sum(), dtype=np.int32)
    batches = LineBatches(ids, np.concatenate([[0], np.cumsum(lengths)]), batch_size=4, seq_length=8, seed=1)
    state, each, losses = model.zero_state(4), [], []
    for number, batch in enumerate(batches.epoch(0), start=1):
        before = hostcupy.counts.copy()
        loss, state = model.loss_and_grads(batch, state, ws, noise=number)
        norm = ops.norm(model.parameters.grads)
        optimizer.step(number, 0.01, ops.clipping(norm, 1.0, "float32"))
        losses.append((float(loss), float(norm)))
        each.append(hostcupy.counts - before)
        if number == count:
            break
    assert np.isfinite(losses).all()
    return each


@pytest.mark.parametrize("network", [{}, {"dropout": 0.2}, {"cell": "gru"}, {"dense": (5,)}], ids=str)
def test_a_training_step_takes_nothing_from_the_host_and_waits_for_two_numbers(ops, network):
    """The epoch's ids, targets and starts go up with its first batch; each batch is cut out on the device."""
    first, *others = counted_steps(ops, 12, **network)
    assert first["uploads"] == 3
    for step in others:
        assert step["uploads"] == 0 and step["downloads"] == 2
    graphs = [step["graphs"] for step in others]  # none where a batch is one step shorter for the first time
    assert max(graphs) == 4 and graphs.count(4) >= 7, "forward and backward, of two layers"
    assert others[-1]["allocations"] == others[-2]["allocations"]


def test_an_embedding_hands_over_the_order_of_its_ids(ops):
    steps = counted_steps(ops, 6, embedding_size=3)
    assert {step["uploads"] for step in steps[1:]} == {4}  # of the way back: which columns go to which row


def test_what_is_recorded_makes_and_moves_nothing(ops):
    x = ops.array(np.ones(3), "float32")

    def makes():
        x[...] = x * 2.0

    recorded = ops.recorded(makes)
    recorded()
    with pytest.raises(AssertionError, match="allocations within a step"):
        recorded()


def test_a_recording_that_is_broken_off_leaves_nothing_behind(ops):
    x, stop = ops.array(np.ones(3), "float32"), []

    def adds():
        np.add(x, 1.0, out=x)
        if stop:
            raise KeyboardInterrupt

    recorded = ops.recorded(adds)
    recorded()
    stop.append(1)
    with pytest.raises(KeyboardInterrupt):
        recorded()
    np.testing.assert_array_equal(ops.numpy(x), [2, 2, 2])
    stop.clear()
    recorded()
    recorded()
    np.testing.assert_array_equal(ops.numpy(x), [4, 4, 4])


def test_ids_that_may_change_are_handed_over_each_time(ops):
    ids = np.arange(5, dtype=np.int32)
    first = ops.handed_over(ids[1:3])
    ids[1] = 9
    assert ops.numpy(ops.handed_over(ids[1:3])).tolist() == [9, 2] and ops.numpy(first).tolist() == [1, 2]


def test_the_copy_of_an_epoch_goes_with_it(ops):
    def epoch(value):
        ids = np.full((6, 4), value, np.int32)
        ids.flags.writeable = False
        return ids

    for value in range(20):  # a new array often lies where the last one did
        ids = epoch(value)
        for start in (0, 2, 4):
            np.testing.assert_array_equal(ops.numpy(ops.handed_over(ids[start : start + 2])), value)
        np.testing.assert_array_equal(ops.numpy(ops.handed_over(ids[:, 1:3])), value)
        assert len(ops._resident) == 1
    del ids
    assert not ops._resident



"""What is recorded as a graph, and what a training step costs with it, counted on the host."""

import numpy as np
import pytest

from charlm.config import ModelConfig
from charlm.nn import build as build_module
from charlm.text.dataset import Dataset
from charlm.training import OPTIMIZERS
from tests.cuda import hostcupy
from tests.cuda.twins import found, on_device, state_for, twins
from tests.gradcheck import config_of, random_batch


def test_from_the_second_time_on_a_layer_is_one_launch(ops):
    host, device = twins(config_of("lstm", "", num_layers=2), ops)
    ws, rng, graphs = device.workspace(), np.random.default_rng(60), []
    for _ in range(4):
        batch = random_batch(6, 7, 3, rng)
        state = on_device(state_for(host, batch, rng), ops, "float64")
        before = hostcupy.counts["graphs"]
        found(device, batch, state, None, ws)
        graphs.append(hostcupy.counts["graphs"] - before)
    # Of each layer three passes forward and one back; what is new, in the first round, goes by itself.
    assert graphs == [4, 8, 8, 8]


DROPPED = {
    **{"dropout": 0.2, "dropout_kind": "variational", "weight_drop": 0.2},
    **{"activation_penalty": 2.0, "temporal_penalty": 1.0},
}


def counted_steps(ops, count, **network):
    """Count what each step of a training on lines takes."""
    model = build_module.build(ModelConfig(9, hidden_size=6, num_layers=2, **network), ops, seed=1)
    optimizer, ws = OPTIMIZERS["adam"](model.parameters, ops), model.workspace()
    rng = np.random.default_rng(62)
    lengths = rng.integers(3, 12, 200)
    ids = rng.integers(0, 9, lengths.sum(), dtype=np.int32)
    batches = Dataset.of(ids, np.concatenate([[0], np.cumsum(lengths)]), "line").batches(4, 8, seed=1)
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


@pytest.mark.parametrize("network", [{}, {"dropout": 0.2}, {"cell": "gru"}, {"dense": (5,)}, DROPPED], ids=str)
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

    recorded = ops.replayable(makes)
    recorded()
    with pytest.raises(AssertionError, match="allocations within a step"):
        recorded()


def test_a_recording_that_is_broken_off_leaves_nothing_behind(ops):
    x, stop = ops.array(np.ones(3), "float32"), []

    def adds():
        np.add(x, 1.0, out=x)
        if stop:
            raise KeyboardInterrupt

    recorded = ops.replayable(adds)
    recorded()
    stop.append(1)
    with pytest.raises(KeyboardInterrupt):
        recorded()
    np.testing.assert_array_equal(ops.numpy(x), [2, 2, 2])
    stop.clear()
    recorded()
    recorded()
    np.testing.assert_array_equal(ops.numpy(x), [4, 4, 4])

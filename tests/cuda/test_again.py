"""What is done again and again in the same places: steps that are recorded, batches that are cut out of an epoch."""

import numpy as np
import pytest

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
        found = differences(host, device, batch, seed=number, spaces=spaces)
        assert max(found.values()) <= BARS["float64"], found


def test_lengths_that_come_by_turns_have_graphs_of_their_own(ops):
    host, device = twins(config_of("lstm", "", dtype="float64"), ops)
    spaces, rng = (host.workspace(), device.workspace()), np.random.default_rng(61)
    for steps, lanes in [(3, 2), (5, 2), (3, 2), (9, 4), (3, 2), (5, 2), (5, 2)]:
        batch = random_batch(6, steps, lanes, rng)
        found = differences(host, device, batch, spaces=spaces)
        assert max(found.values()) <= BARS["float64"], found


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

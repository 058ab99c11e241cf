"""What is done again and again in the same places: steps that are recorded, batches that are cut out of an epoch."""

import numpy as np
import pytest

from charlm.nn.cells import CELLS
from charlm.nn.grads import Grads
from charlm.nn.recurrent import Recurrent
from charlm.nn.workspace import Workspace
from tests.cuda.test_parity import BARS
from tests.cuda.twins import differences, twins
from tests.gradcheck import OPS, config_of, each_kind, random_batch, random_starts


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


@pytest.mark.parametrize("starts", [False, True])
@each_kind
def test_all_that_a_layer_gives(ops, cell, variant, starts):
    """Also the gradient of the state that it took, zero where a sequence starts at once, and of those in between."""
    T, I, H, B = 5, 4, 3, 4
    rng, devices = np.random.default_rng(63), (OPS, ops)
    layers = [Recurrent(CELLS[cell][variant](device, I, H)) for device in devices]
    spaces = [Workspace(device, "float64") for device in devices]
    arrays = [{name: rng.normal(0, 0.5, shape) for name, shape in layers[0].shapes().items()} for _ in range(2)]
    for layer, device in zip(layers, devices, strict=True):
        values, grads = ({name: device.array(array) for name, array in views.items()} for views in arrays)
        layer.bind(values, Grads(grads, device))
    for _ in range(4):
        x, dy = rng.normal(size=(T, I, B)), rng.normal(size=(T, H, B))
        state, d_state = ([rng.normal(size=(H, B)) for _ in layers[0].cell.states] for _ in range(2))
        begins = random_starts(T, B, rng) if starts else None
        if starts:
            begins[0] = [True, False, True, False]
        found = []
        for layer, device, ws in zip(layers, devices, spaces, strict=True):
            given = [tuple(map(device.array, part)) for part in (state, d_state)]
            y, after = layer.forward(device.array(x), given[0], ws, starts=begins)
            y = device.numpy(y)
            dx, d_before = layer.backward(device.array(dy), given[1], ws)
            grads = [layer.cell.g[name] for name in layer.shapes()]
            results = [*after, dx, *d_before, layer.scan(ws).state_grads(), *grads]
            found.append([y, *map(device.numpy, results)])
        for one, other in zip(*found, strict=True):
            np.testing.assert_allclose(other, one, rtol=0, atol=1e-13)
        assert not starts or not found[1][3 if len(state) == 1 else 4][:, 0].any()


def test_lengths_that_come_by_turns_have_graphs_of_their_own(ops):
    host, device = twins(config_of("lstm", "", dtype="float64"), ops)
    spaces, rng = (host.workspace(), device.workspace()), np.random.default_rng(61)
    for steps, lanes in [(3, 2), (5, 2), (3, 2), (9, 4), (3, 2), (5, 2), (5, 2)]:
        batch = random_batch(6, steps, lanes, rng)
        found = differences(host, device, batch, spaces=spaces)
        assert max(found.values()) <= BARS["float64"], found


def test_ids_that_may_change_are_copied_each_time(ops):
    ids = np.arange(5, dtype=np.int32)
    first = ops.to_device(ids[1:3])
    ids[1] = 9
    assert ops.numpy(ops.to_device(ids[1:3])).tolist() == [9, 2] and ops.numpy(first).tolist() == [1, 2]


def test_the_copy_of_an_epoch_goes_with_it(ops):
    def epoch(value):
        ids = np.full((6, 4), value, np.int32)
        ids.flags.writeable = False
        return ids

    for value in range(20):  # a new array often lies where the last one did
        ids = epoch(value)
        for start in (0, 2, 4):
            np.testing.assert_array_equal(ops.numpy(ops.to_device(ids[start : start + 2])), value)
        np.testing.assert_array_equal(ops.numpy(ops.to_device(ids[:, 1:3])), value)
        assert len(ops._resident) == 1
    del ids
    assert not ops._resident

"""One network on two devices, with the same weights, and what both make of a batch."""

import numpy as np

from charlm.nn import build as build_module
from tests.gradcheck import make_model, random_batch, random_starts, random_state
from tests.task_batches import BODIES, random_task_batch

NOISE = 0x1234_5678_9ABC_DEF1


def twins(config, ops, *, seed=0):
    """Give the network on the host and on the device, all weights drawn at random."""
    host = make_model(config, seed=seed, scale=0.6)
    device = build_module.build(config, ops)
    device.parameters.values[...] = ops.array(host.parameters.values)
    return host, device


def batch_for(config, body, rng):
    """Give a batch of the body's task; of a language model with starts in the middle of lanes."""
    if body in BODIES:
        return random_task_batch(config, rng)
    return random_batch(config.vocabulary_size, 6, 3, rng, starts=body != "no starts")


def on_device(state, ops, dtype):
    """Give a state of host arrays as the device's."""
    return tuple(on_device(part, ops, dtype) if isinstance(part, tuple) else ops.array(part, dtype) for part in state)


def state_for(model, batch, rng):
    """Give a random state on the host."""

    def cast(state):
        return tuple(cast(part) if isinstance(part, tuple) else part.astype(model.config.dtype) for part in state)

    return cast(random_state(model.body, batch.lanes, rng))


def found(model, batch, state, noise, ws=None):
    """Give all that a model says of a batch, as host arrays by name."""
    ops, ws = model.ops, model.workspace() if ws is None else ws
    best = np.empty(batch.targets.shape, np.int32)
    loss, after = model.loss_and_grads(batch, state, ws, noise=noise)
    results = {name: ops.numpy(view) for name, view in model.parameters.named(model.parameters.grads).items()}
    results |= {f"state{i}": ops.numpy(leaf) for i, leaf in enumerate(_leaves(after))}
    wants_best = best.ndim == 2
    results["nats"], _ = model.nats(batch, state, ws, best=best if wants_best else None)
    results["nats alone"], _ = model.nats(batch, state, ws)
    if wants_best:
        results["best"] = best
    results["loss"] = np.array(float(loss))
    return results


def differences(host, device, batch, *, noise=None, seed=0, spaces=(None, None)):
    """Give by name how far the devices are apart, over the size of the largest number, but of 1 at least.

    spaces: workspaces of both that were used before
    """
    state = state_for(host, batch, np.random.default_rng(seed))
    one = found(host, batch, state, noise, spaces[0])
    other = found(device, batch, on_device(state, device.ops, device.config.dtype), noise, spaces[1])
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.shape == other[name].shape and array.dtype == other[name].dtype, name
        assert np.isfinite(array).all() and np.isfinite(other[name]).all(), f"{name} is not finite"
    return {
        name: float(np.max(np.abs(array - other[name]), initial=0) / max(1, np.max(np.abs(array), initial=0)))
        for name, array in one.items()
    }


def _leaves(state):
    return [leaf for part in state for leaf in (_leaves(part) if isinstance(part, tuple) else [part])]


__all__ = ["NOISE", "batch_for", "differences", "on_device", "random_starts", "state_for", "twins"]

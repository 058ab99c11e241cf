"""Shards on a GPU: what processes add up goes through the memory of the host, and comes back."""

import threading

import numpy as np

from charlm.backends import NumpyBackend
from charlm.config import ModelConfig
from charlm.nn.build import build
from charlm.processes import World
from charlm.text.batches.lanes import Batch
from charlm.training.shards import Shards
from charlm.training.state import leaves_of
from tests.processes.ranks import each_rank


def learned(backend, processes):
    """Return the loss, the gradients and the state after a batch, on the host."""
    ids = np.random.default_rng(1).integers(0, 9, (6, 8)).astype(np.int32)
    model = build(ModelConfig(9, hidden_size=5, num_layers=2), backend, seed=1)
    shards = Shards(model, 4, processes, carries=True)
    loss, state = shards.loss_and_grads(Batch(ids[:-1], ids[1:]), model.zero_state(8), model.workspace())
    shards.gather(state)
    return [np.array(loss), *map(backend.numpy, (model.parameters.grads, *leaves_of(state)))]


def test_gradients_and_states_are_exchanged_on_the_host(ops):
    alone, taking_turns = learned(ops, World()), threading.Lock()

    def work(processes):
        # The emulation of a GPU has one thread.
        exchanged = processes._exchanged

        def released(value):
            taking_turns.release()
            try:
                return exchanged(value)
            finally:
                taking_turns.acquire()

        processes._exchanged = released
        with taking_turns:
            return learned(ops, processes)

    for rank in each_rank(2, work):
        for one, other in zip(rank, alone, strict=True):
            np.testing.assert_array_equal(one, other)
    for one, other in zip(alone, learned(NumpyBackend(), World()), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)

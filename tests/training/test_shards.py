"""Mini-batches in shards: their sums are those of whole batches, in bits that the number of processes leaves alone."""

import numpy as np
import pytest

from charlm.backends import NumpyBackend, get_backend
from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.errors import NonFiniteOutputError, ResourceError
from charlm.nn.build import build
from charlm.processes import World
from charlm.session import prepare
from charlm.text.batches.lanes import NO_TARGET, Batch
from charlm.training.shards import Shards, edges, nodes_within, tree_sum
from charlm.training.state import leaves_of
from tests import forms
from tests.processes.ranks import each_rank
from tests.task_batches import BODIES, random_task_batch
from tests.trainings import assert_same, everything

LANES = 11


def batch_of(seed=0, steps=6):
    """Return a batch of a language model with sequences that begin inside it, and places without a target."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 9, (steps + 1, LANES)).astype(np.int32)
    targets = ids[1:].copy()
    targets[2:, 3] = NO_TARGET
    return Batch(ids[:-1], targets, rng.random((steps, LANES)) < 0.2)


def model_of(**network):
    config = {"vocabulary_size": 9, "hidden_size": 5, "num_layers": 2, "dtype": "float64", **network}
    return build(ModelConfig(**config), NumpyBackend(), seed=1)


def assert_close_to_whole(model, batch, count):
    state = model.zero_state(batch.lanes)
    for leaf in leaves_of(state):
        leaf += 0.1
    ws = model.workspace()
    loss, after = model.loss_and_grads(batch, state, ws)
    grads = model.parameters.grads.copy()
    found, reached = Shards(model, count, World(), carries=True).loss_and_grads(batch, state, ws)
    assert found == pytest.approx(float(loss), rel=1e-12)
    np.testing.assert_allclose(model.parameters.grads, grads, rtol=1e-9, atol=1e-12)
    for one, other in zip(leaves_of(reached), leaves_of(after), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@forms.each("count", [1, 2, 3, 8, 11, 16])
def test_the_sum_of_shards_is_the_gradient_of_the_batch(count):
    """Also with fewer lanes than shards, where some have nothing to learn."""
    assert_close_to_whole(model_of(), batch_of(), count)


@forms.each("name", BODIES, thinned=3)
def test_every_task_learns_in_shards(name):
    model = model_of(vocabulary_size=6, hidden_size=3, **BODIES[name])
    assert_close_to_whole(model, random_task_batch(model.config, np.random.default_rng(5)), 2)


@forms.each("name", ["conditioned", "tag", "translate", "music"])
def test_losses_in_shards_are_those_of_the_batch(name):
    model = model_of(vocabulary_size=6, hidden_size=3, **BODIES[name])
    batch, ws = random_task_batch(model.config, np.random.default_rng(5)), model.workspace()
    found = []
    for passes in (model, Shards(model, 3, World(), carries=True)):
        best = None if name == "music" else np.empty(batch.targets.shape, np.int32)
        found.append((*passes.nats(batch, passes.zero_state(batch.lanes), ws, best=best), best))
    (expected, after, choices), (nats, reached, best) = found
    np.testing.assert_allclose(nats, expected, rtol=1e-12)
    np.testing.assert_array_equal(best, choices)
    for one, other in zip(leaves_of(reached), leaves_of(after), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_all_ranks_find_the_losses_of_a_model_that_has_exploded():
    """Only the shard of the second rank reads the token whose weights are NaN."""
    batch = Batch(np.full((3, 4), 1, np.int32), np.full((3, 4), 2, np.int32))
    batch.inputs[1, 3] = 5

    def work(world):
        model = model_of()
        model.parameters.named(model.parameters.values)["layer0.W"][:, 5 + 5] = np.nan
        with pytest.raises(NonFiniteOutputError):
            Shards(model, 2, world, carries=True).nats(batch, model.zero_state(4), model.workspace())
        return True

    assert each_rank(2, work) == [True, True]


def test_no_two_shards_have_the_same_dropout():
    model = model_of(dropout=0.5)
    same = Batch(*(np.repeat(array[:, :1], 4, axis=1) for array in (batch_of().inputs, batch_of().targets)))
    losses = []
    for count in (1, 2, 4):
        shards = Shards(model, count, World(), carries=False)
        losses.append(shards.loss_and_grads(same, model.zero_state(4), model.workspace(), noise=7)[0])
    assert len(set(losses)) == 3
    again = Shards(model, 4, World(), carries=False)
    assert again.loss_and_grads(same, model.zero_state(4), model.workspace(), noise=7)[0] == losses[-1]


@forms.each("count", range(1, 18), thinned=5)
def test_the_order_of_the_sum_does_not_depend_on_the_processes(count):
    rng = np.random.default_rng(count)
    leaves = {(i, i + 1): rng.normal(size=50).astype(np.float32) for i in range(count)}

    def added_up(node):
        return tree_sum(node, lambda one: leaves[one].copy() if one in leaves else None)

    whole = added_up((0, count))
    for size in range(1, count + 1):
        own = edges(count, size)
        nodes = [list(nodes_within((0, count), (own[r], own[r + 1]))) for r in range(size)]
        assert [i for rank in nodes for first, last in rank for i in range(first, last)] == list(range(count))
        sums = {node: added_up(node) for rank in nodes for node in rank}
        assert tree_sum((0, count), sums.get).tobytes() == whole.tobytes()


TEXT = [f"{'ab' * (i % 4)}c{'de' * (i % 3)}" for i in range(60)]


def trained(world, unit, *, steps=6, state=None, minutes=None):
    """Train in step with the other ranks, from a state if there is one; return the trainer."""
    session = prepare(
        TEXT,
        TextConfig(unit=unit),
        {"hidden_size": 6, "num_layers": 2, "dropout": 0.3},
        TrainConfig(**({"minutes": minutes} if minutes else {"max_steps": 6}), batch_size=8, seq_length=5, shards=8),
        ops=get_backend("cpu"),
    )
    trainer = session.trainer
    trainer.share(world)
    if state is not None:
        trainer.restore(state)
    if steps:
        for _, _ in zip(range(steps), trainer.run(), strict=False):
            pass
    trainer.gather()
    return trainer


@pytest.mark.thinned(2)
@pytest.mark.parametrize("unit", ["stream", "line"])
def test_ranks_end_in_the_bits_of_one_process(unit):
    alone = everything(trained(World(), unit))
    for size in forms.times((3,), (2, 3, 5)):
        for rank in each_rank(size, lambda world: everything(trained(world, unit))):
            assert_same(rank, alone)


@pytest.mark.slow
def test_another_number_of_ranks_goes_on_in_the_same_bits():
    alone = everything(trained(World(), "stream"))
    stopped = each_rank(4, lambda world: trained(world, "stream", steps=4).state())
    for rank in each_rank(2, lambda world: everything(trained(world, "stream", state=stopped[3]))):
        assert_same(rank, alone)


def test_minutes_become_the_same_number_of_steps_on_all_ranks():
    """Each measures by the clock of the first; if they did not, they would wait for each other in vain."""
    planned = each_rank(3, lambda world: trained(world, "line", steps=0, minutes=0.005).plan())
    assert len(set(planned)) == 1 and planned[0] >= 1


def test_processors_that_compute_other_bits_are_refused():
    cores = ["v4", "v3"]

    def work(world):
        model = model_of()
        model.ops.core = cores[world.rank]
        Shards(model, 2, world, carries=False)

    with pytest.raises(ResourceError, match="v3, v4") as error:
        each_rank(2, work)
    assert "CHARLM_CORE" in error.value.hint

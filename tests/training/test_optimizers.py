"""Each optimizer against its formula, and the clipping before it."""

from itertools import pairwise

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.config import ModelConfig, TrainConfig
from charlm.nn.build import build
from charlm.nn.parameters import Parameters
from charlm.text.dataset import Dataset
from charlm.training import Trainer
from charlm.training.optimizers import OPTIMIZERS


class SmallBlocks(NumpyBackend):
    """A backend that cuts a short vector into many blocks, the last one shorter."""

    block = 7


def sgd(w, g, memory, lr, t):
    return w - lr * g, ()


def rmsprop(w, g, memory, lr, t):
    (v,) = memory or (0.0,)
    v = 0.95 * v + 0.05 * g**2
    return w - lr * g / (np.sqrt(v) + 1e-8), (v,)


def adam(w, g, memory, lr, t):
    m, v = memory or (0.0, 0.0)
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
    return w - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), (m, v)


FORMULAS = {"sgd": sgd, "rmsprop": rmsprop, "adam": adam}


def gradients(steps, size, seed=0):
    """Draw gradients of very different sizes, with zeros and tiny ones among them."""
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal((steps, size)) * 10.0 ** rng.integers(-12, 4, (steps, size))
    drawn[:, ::5] = 0.0
    return drawn


def test_every_optimizer_has_a_formula_here():
    assert set(OPTIMIZERS) == set(FORMULAS)


@pytest.mark.parametrize(
    ("backend", "size"), [(SmallBlocks, 100), (SmallBlocks, 5), (NumpyBackend, NumpyBackend.block + 333)]
)
@pytest.mark.parametrize("name", FORMULAS)
def test_steps_follow_the_formula(name, backend, size):
    parameters = Parameters({"w": (size,)}, backend(), "float64")
    optimizer = OPTIMIZERS[name](parameters, backend())
    w = np.random.default_rng(1).standard_normal(size)
    parameters.value("w")[...] = w
    memory = ()
    for t, g in enumerate(gradients(6, size), start=1):
        learning_rate, scale = 0.1 / t, (1.0, 0.3)[t % 2]
        parameters.grad("w")[...] = g
        optimizer.step(t, learning_rate, scale)
        w, memory = FORMULAS[name](w, scale * g, memory, learning_rate, t)
        np.testing.assert_allclose(parameters.value("w"), w, rtol=1e-12, atol=1e-14)
        for slot, expected in zip(optimizer.slots, memory, strict=True):
            np.testing.assert_allclose(optimizer.memory[slot][:size], expected, rtol=1e-12)
    assert len(optimizer.memory) == len(memory)


@pytest.mark.parametrize("name", FORMULAS)
def test_float32_follows_the_formula_as_far_as_it_can(name):
    parameters = Parameters({"w": (50,)}, SmallBlocks(), "float32")
    optimizer = OPTIMIZERS[name](parameters, SmallBlocks())
    w, memory = np.zeros(50), ()
    for t, g in enumerate(np.random.default_rng(2).standard_normal((5, 50)), start=1):
        parameters.grad("w")[...] = g
        optimizer.step(t, 0.01, 1.0)
        w, memory = FORMULAS[name](w, g, memory, 0.01, t)
    assert parameters.values.dtype == np.float32
    assert all(array.dtype == np.float32 for array in optimizer.memory.values())
    np.testing.assert_allclose(parameters.value("w"), w, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", FORMULAS)
def test_what_has_no_gradient_stays_put(name):
    """The gaps between parameters hold zeros and stay zero; a weight without a gradient is not moved."""
    parameters = Parameters({"a": (3,), "b": (2, 2)}, SmallBlocks(), "float64")
    optimizer = OPTIMIZERS[name](parameters, SmallBlocks())
    parameters.value("a")[...] = 5.0
    for t in range(1, 4):
        parameters.grad("b")[...] = 1.0
        optimizer.step(t, 0.1, 1.0)
    assert (parameters.value("a") == 5.0).all()
    assert (parameters.value("b") < 0).all()
    assert np.count_nonzero(parameters.values) == 3 + 4


@pytest.mark.parametrize("name", FORMULAS)
def test_every_optimizer_goes_downhill(name):
    """L = |w|^2 / 2 has the gradient w."""
    parameters = Parameters({"w": (4,)}, NumpyBackend(), "float64")
    optimizer = OPTIMIZERS[name](parameters, NumpyBackend())
    w = parameters.value("w")
    w[...] = [1.0, -1.0, 2.0, -3.0]
    norms = [np.linalg.norm(w)]
    for t in range(1, 21):
        parameters.grad("w")[...] = w
        optimizer.step(t, 0.03, 1.0)
        norms.append(np.linalg.norm(w))
    assert all(later < earlier for earlier, later in pairwise(norms))
    assert np.sign(w).tolist() == [1, -1, 1, -1]


# --- clipping, as a training step does it ----------------------------------------------------------------------------


def make_trainer(**options):
    model = build(ModelConfig(8, cell="gru", hidden_size=5, num_layers=2, dtype="float64"), NumpyBackend(), seed=4)
    ids = np.random.default_rng(6).integers(2, 8, 60).astype(np.int32)
    batches = Dataset.of(ids, np.arange(0, 61, 6), "line").batches(2, 10, seed=1)
    config = TrainConfig(optimizer="sgd", learning_rate=0.5, schedule="constant", max_steps=3, **options)
    return Trainer(model, config, batches, None)


def first_step(**options):
    """Take one step; return the weights before, its gradient before clipping, and the weights after."""
    twin, trainer = make_trainer(), make_trainer(**options)
    before = trainer.model.parameters.values.copy()
    assert np.array_equal(before, twin.model.parameters.values)
    batch = next(twin.train.epoch(0))
    twin.model.loss_and_grads(batch, twin.model.zero_state(2), twin.model.workspace())
    next(trainer.run())
    return before, twin.model.parameters.grads.copy(), trainer.model.parameters.values.copy()


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_gradient_that_is_too_long_is_clipped_as_a_whole(share):
    _, g, _ = first_step(clip=0.0)
    norm = np.linalg.norm(g)
    before, g, after = first_step(clip=share * norm)
    np.testing.assert_allclose(after, before - 0.5 * share * g, rtol=1e-12, atol=1e-15)
    assert np.linalg.norm(after - before) == pytest.approx(0.5 * share * norm, rel=1e-9)


@pytest.mark.parametrize("factor", [0.0, 1.001, 1e6])
def test_a_gradient_that_is_short_enough_is_not_clipped(factor):
    _, g, _ = first_step(clip=0.0)
    before, g, after = first_step(clip=factor * np.linalg.norm(g))  # 0 is for no clipping
    np.testing.assert_allclose(after, before - 0.5 * g, rtol=1e-12, atol=1e-15)
    assert np.linalg.norm(after - before) > 1e-3

"""From gradients to weights: decay, clipping of elements, accumulation, averages, momentum and Adam's betas."""

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.config import ModelConfig, TrainConfig
from charlm.nn.build import build
from charlm.randomness import WEIGHT_NOISE, generator
from charlm.text.dataset import Dataset
from charlm.training import Trainer

NETWORK = {"cell": "gru", "hidden_size": 5, "num_layers": 1, "dtype": "float64"}


def make(*, validated=False, init_scale=0.0, **options):
    """Return a trainer by plain gradient descent on batches of two sequences, with options of `TrainConfig`."""
    model = build(ModelConfig(8, **NETWORK), NumpyBackend(), seed=4, init_scale=init_scale)
    ids = np.random.default_rng(6).integers(2, 8, 60).astype(np.int32)
    batches = Dataset.of(ids, np.arange(0, 61, 6), "line").batches(2, 10, seed=1)
    valid = Dataset.of(ids[:24], np.arange(0, 25, 6), "line").batches(2, 10, context=3) if validated else None
    base = {"optimizer": "sgd", "learning_rate": 0.5, "schedule": "constant", "max_steps": 12, "clip": 0.0}
    return Trainer(model, TrainConfig(**{**base, **options}), batches, valid)


def weights_of(trainer):
    return trainer.model.parameters.values.copy()


def each_step(trainer):
    """Yield the weights after each step."""
    for _ in trainer.run():
        yield weights_of(trainer)


def gradients(*weights):
    """Return the gradients of the first batches, each at its own weights; a batch goes on from the state before it."""
    twin, found = make(), []
    state, ws = twin.model.zero_state(2), twin.model.workspace()
    for values, batch in zip(weights, twin.train.epoch(0), strict=False):
        twin.model.parameters.values[...] = values
        _, after = twin.model.loss_and_grads(batch, state, ws)
        state = after if twin.train.carries else state
        found.append(twin.model.parameters.grads.copy())
    return found


def test_weights_decay_beside_the_step():
    trainer = make(weight_decay=0.3)
    before = weights_of(trainer)
    (g,) = gradients(before)
    after = next(each_step(trainer))
    np.testing.assert_allclose(after, before - 0.5 * 0.3 * before - 0.5 * g, rtol=1e-12, atol=1e-15)


def test_adam_does_not_divide_the_decay():
    """The share that is subtracted is that of plain gradient descent, however large the gradient is."""
    plain, decaying = (make(optimizer="adam", weight_decay=share) for share in (0.0, 0.3))
    before = weights_of(plain)
    expected = next(each_step(plain)) - 0.5 * 0.3 * before
    np.testing.assert_allclose(next(each_step(decaying)), expected, rtol=1e-12, atol=1e-15)


def test_elements_are_clipped():
    trainer = make(clip_value=1e-3)
    before = weights_of(trainer)
    (g,) = gradients(before)
    assert (np.abs(g) > 1e-3).any() and (np.abs(g[g != 0]) < 1e-3).any()
    np.testing.assert_allclose(next(each_step(trainer)), before - 0.5 * np.clip(g, -1e-3, 1e-3), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("count", "steps"), [(1, 4), (2, 4), (3, 4)])
def test_some_batches_make_one_step_of_their_mean_gradient(count, steps):
    """The last step of a run learns from what has gathered by then."""
    trainer = make(accumulate=count, max_steps=steps)
    before, moved = weights_of(trainer), 0
    for step, after in enumerate(each_step(trainer), start=1):
        if step % count and step != steps:
            assert np.array_equal(after, before)
            continue
        if not moved:
            expected = before - 0.5 * sum(gradients(*[before] * count)) / count
            np.testing.assert_allclose(after, expected, rtol=1e-12, atol=1e-15)
        assert not np.array_equal(after, before)
        before, moved = after, moved + 1
    assert moved == -(-steps // count)


@pytest.mark.parametrize("validated", [True, False])
def test_the_model_file_gets_the_mean_of_the_weights_of_the_last_steps(validated):
    trainer = make(average=0.25, validated=validated)
    plain = list(each_step(make(average=0.0, validated=validated)))
    assert all(np.array_equal(one, other) for one, other in zip(each_step(trainer), plain, strict=True))
    assert trainer.update.has_average(trainer.numbers)
    mean = sum(plain[-3:]) / 3
    with trainer.update.with_average(trainer.numbers):
        np.testing.assert_allclose(weights_of(trainer), mean, rtol=1e-13, atol=1e-15)
        judged = trainer.validation.judge(0)[0] if validated else None
    assert np.array_equal(weights_of(trainer), plain[-1])
    if validated:
        assert trainer.numbers.history[-1]["valid_nats"] == judged
    else:
        best = trainer.best_weights()
        views = trainer.model.parameters.named(mean)
        assert all(np.allclose(best[name], views[name], rtol=1e-13, atol=1e-15) for name in views)


def test_a_new_plan_begins_a_new_average():
    trainer = make(average=0.5, max_steps=4)
    list(trainer.run())
    trainer.numbers.total_steps, trainer.numbers.spread_from = 8, 4
    assert not trainer.update.has_average(trainer.numbers)
    after = list(each_step(trainer))
    with trainer.update.with_average(trainer.numbers):
        np.testing.assert_allclose(weights_of(trainer), (after[-1] + after[-2]) / 2, rtol=1e-13, atol=1e-15)


def with_noise(values, step, scale=0.3):
    """Return float64 weights with the noise of a step of a training with seed 1."""
    noise = [
        generator(1, WEIGHT_NOISE, step, first).standard_normal(min(65536, values.size - first))
        for first in range(0, values.size, 65536)
    ]
    return values + scale * np.concatenate(noise)


def test_noisy_weights_give_the_gradient_and_clean_ones_move():
    trainer = make(weight_noise=0.3, max_steps=2)
    first = weights_of(trainer)
    second, third = each_step(trainer)
    g1, g2 = gradients(with_noise(first, 0), with_noise(second, 1))
    np.testing.assert_allclose(second, first - 0.5 * g1, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(third, second - 0.5 * g2, rtol=1e-12, atol=1e-15)
    assert not np.allclose(g1, *gradients(first), rtol=0.01, atol=1e-3)


def test_weights_come_back_from_noise_bit_by_bit_also_after_an_error():
    trainer = make(weight_noise=0.3)
    before = weights_of(trainer)
    with pytest.raises(MemoryError), trainer.update.noisy(0):
        assert not np.isclose(weights_of(trainer)[before != 0], before[before != 0]).any()
        raise MemoryError
    assert weights_of(trainer).tobytes() == before.tobytes()


def test_the_noise_of_weights_does_not_depend_on_threads():
    found = []
    for threads in (1, 3):
        network = {**NETWORK, "hidden_size": 160, "dtype": "float32"}
        model = build(ModelConfig(8, **network), NumpyBackend(), seed=4)
        assert model.parameters.values.size > 65536
        ids = np.arange(2, 8, dtype=np.int32)
        batches = Dataset.of(ids, np.array([0, 6]), "line").batches(1, 10, seed=1)
        trainer = Trainer(model, TrainConfig(weight_noise=0.1, max_steps=2), batches, None)
        with model.ops.workers.limit(threads):
            found.append([weights.tobytes() for weights in each_step(trainer)])
    assert found[0] == found[1]


def test_momentum_adds_up_the_gradients():
    trainer = make(momentum=0.9, max_steps=2)
    first = weights_of(trainer)
    second, third = each_step(trainer)
    g1, g2 = gradients(first, second)
    np.testing.assert_allclose(second, first - 0.5 * g1, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(third, second - 0.5 * (0.9 * g1 + g2), rtol=1e-12, atol=1e-15)


def test_the_first_step_of_adam_is_as_large_with_any_betas_and_the_second_is_not():
    runs = [
        list(each_step(make(optimizer="adam", max_steps=2, **betas))) for betas in ({}, {"beta1": 0.5, "beta2": 0.9})
    ]
    np.testing.assert_allclose(runs[0][0], runs[1][0], rtol=1e-5, atol=1e-7)
    assert not np.allclose(runs[0][1], runs[1][1], rtol=1e-3, atol=1e-3)


def test_the_initial_scale_is_the_reach_of_all_weights():
    found = weights_of(make(init_scale=0.05))
    drawn = found[found != 0]
    assert len(drawn) == make().model.parameters.count
    assert np.abs(drawn).max() <= 0.05
    assert np.std(drawn) == pytest.approx(0.05 / np.sqrt(3), rel=0.1)

"""Every cell, body and head on the GPU's backend gives what it gives on the processor; and its gradients are right."""

import numpy as np
import pytest

from charlm.config import ModelConfig, TrainConfig
from charlm.nn import build as build_module
from charlm.training import Trainer
from tests.cuda.twins import NOISE, batch_for, differences, on_device, state_for, twins
from tests.gradcheck import (
    BAR,
    KINDS,
    config_of,
    each_kind,
    fill_grads,
    holds,
    make_model,
    numeric_gradient,
    random_batch,
    relative_error,
)
from tests.task_batches import BODIES
from tests.training import test_trainer as trainers

BARS = {"float32": 1e-6, "float64": 1e-14}  # of what is summed in another order
OPTIONS = [
    ("plain", {}),
    ("no starts", {"num_layers": 3, "dense": (3,), "embedding_size": 4}),
    ("tied", {"embedding_size": 5, "dense": (5,), "tie_weights": True}),
    ("noisy", {"dropout": 0.3, "dense": (4, 2), "activation": "relu"}),
    ("look-up", {"largest_one_hot": 3, "dropout": 0.4}),
    ("regularised", {"dropout": 0.3, "dropout_kind": "variational", "weight_drop": 0.4, "temporal_penalty": 1.0}),
    ("words", {"embedding_size": 4, "embedding_dropout": 0.4, "activation_penalty": 2.0}),
    ("classify", {"weight_drop": 0.4, "temporal_penalty": 1.0}),
    *((body, {}) for body in BODIES),
    ("tag", {"crf": True}),
    ("cloze", {"embedding_size": 6, "tie_weights": True}),
    ("tag", {"largest_one_hot": 3}),
    ("classify", {"embedding_size": 2, "dense": (3, 2), "dropout": 0.3}),
    ("translate", {"embedding_size": 2, "dropout": 0.3, "num_layers": 2}),
    ("genre", {"num_layers": 2, "dropout": 0.3}),
]


@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize("T_B", [(6, 3), (1, 1), (2, 40)], ids=str)
@each_kind
def test_every_cell(ops, cell, variant, dtype, T_B):
    config = config_of(cell, variant, hidden_size=5, dtype=dtype)
    batch = random_batch(6, *T_B, np.random.default_rng(20), starts=T_B[0] > 2)
    batch.targets[0, 0] = 1  # of one step, too, something is asked
    holds(differences(*twins(config, ops), batch, noise=NOISE), BARS[dtype])


@pytest.mark.parametrize("dtype", BARS)
@each_kind
def test_a_cell_without_kernels_runs_the_reference(ops, monkeypatch, cell, variant, dtype):
    monkeypatch.setattr(ops, "scans", {})
    config = config_of(cell, variant, hidden_size=5, dtype=dtype)
    batch = random_batch(6, 6, 3, np.random.default_rng(20))
    holds(differences(*twins(config, ops), batch, noise=NOISE), BARS[dtype])


@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize(("body", "options"), OPTIONS, ids=lambda p: p if isinstance(p, str) else "-".join(p))
def test_every_body_and_head(ops, monkeypatch, body, options, dtype):
    options = dict(options)
    monkeypatch.setattr(build_module, "LARGEST_ONE_HOT", options.pop("largest_one_hot", 512))
    config = config_of("lstm", "", **{**BODIES.get(body, {}), "dtype": dtype, **options})
    batch = batch_for(config, body, np.random.default_rng(21))
    holds(differences(*twins(config, ops), batch, noise=NOISE), BARS[dtype])


@pytest.mark.parametrize("dtype", BARS)
def test_a_large_vocabulary_in_several_blocks(ops, monkeypatch, dtype):
    """Tied, so that the gradients of both uses come together, with columns that do not fill a block."""
    monkeypatch.setattr("charlm.nn.heads.softmax._LOGITS_AT_A_TIME", 1)
    config = config_of("lstm", "", vocabulary_size=700, hidden_size=4, embedding_size=4, tie_weights=True, dtype=dtype)
    batch = random_batch(700, 5, 27, np.random.default_rng(22))
    holds(differences(*twins(config, ops), batch), BARS[dtype])


@each_kind
def test_every_gradient_by_central_differences_on_the_device(ops, cell, variant):
    """Both the differences and the gradients are the device's; the state comes in from a sequence before."""
    config = config_of(cell, variant, vocabulary_size=3, hidden_size=2, num_layers=1)
    batch = random_batch(3, 3, 2, np.random.default_rng(23))
    model = build_module.build(config, ops)
    flat = make_model(config, seed=3).parameters.values
    state = on_device(state_for(model, batch, np.random.default_rng(24)), ops, "float64")
    ws = model.workspace()

    def loss():
        model.parameters.values[...] = ops.array(flat)
        return float(model.nats(batch, state, ws)[0].sum()) / batch.count

    numeric = numeric_gradient(loss, flat)
    model.parameters.values[...] = ops.array(flat)
    fill_grads(model, np.nan)
    model.loss_and_grads(batch, state, model.workspace())
    analytic = ops.numpy(model.parameters.grads)
    assert np.abs(numeric).max() > 1e-3
    assert relative_error(numeric, analytic) <= BAR


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
@pytest.mark.parametrize("dtype", BARS)
def test_a_training_run(ops, monkeypatch, optimizer, dtype):
    """Losses, evaluations, weights and the carried state of a run with dropout and clipping, step by step."""
    runs = []
    for device in (trainers.OPS, ops):
        monkeypatch.setattr(trainers, "OPS", device)
        network = {"dtype": dtype, "dropout": 0.2, "hidden_size": 8, "num_layers": 2}
        rate = 0.3 if optimizer == "sgd" else 0.01
        trainer = trainers.make(
            network=network, optimizer=optimizer, learning_rate=rate, clip=0.5, max_steps=20, weight_noise=0.01
        )
        told = [(p.train_nats, p.valid_nats or 0.0) for p in trainer.run()]
        assert told[-1][0] < told[0][0], "it does not learn"
        runs.append((np.array(told), trainer.state()))
    (host, host_state), (device, device_state) = runs
    bar = {"float32": 2e-4, "float64": 1e-11}[dtype]  # twenty steps let a difference grow
    np.testing.assert_allclose(device, host, rtol=0, atol=bar)
    assert host_state.arrays.keys() == device_state.arrays.keys()
    for name, array in host_state.arrays.items():
        np.testing.assert_allclose(device_state.arrays[name], array, rtol=0, atol=10 * bar, err_msg=name)


def test_a_checkpoint_of_one_device_goes_on_on_the_other(ops, monkeypatch):
    """States are host arrays, whichever device they come from."""
    network = {"dtype": "float64", "hidden_size": 8}
    monkeypatch.setattr(trainers, "OPS", ops)
    begun = trainers.make(network=network, max_steps=8)
    for progress in begun.run():
        if progress.step == 4:
            break
    results = []
    for device in (ops, trainers.NumpyBackend()):
        monkeypatch.setattr(trainers, "OPS", device)
        trainer = trainers.make(network=network, max_steps=8)
        trainer.restore(begun.state())
        list(trainer.run())
        assert isinstance(trainer, Trainer) and trainer.step == 8
        results.append(trainer.best_weights())
    for name, array in results[0].items():
        np.testing.assert_allclose(array, results[1][name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_one_token_after_the_other(ops, kind):
    """What drawing does: a stepper, from a state that a prompt has left, and again from it when a text is done."""
    config = config_of(*kind, hidden_size=4, num_layers=2)
    found = []
    for model in twins(config, ops):
        ws, stepper = model.workspace(), model.stepper()
        first, state = model.next_log_probs(np.array([[1], [4], [2]], np.int32), model.zero_state(1), ws)
        for token in (3, 3, 1, 0, 0):
            stepper.next_log_probs(token)
        stepper.load(state)
        found.append(np.stack([first[:, 0], *(stepper.next_log_probs(token) for token in (5, 0, 3, 1, 2, 4))]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-13, atol=1e-14)


def test_probabilities_at_some_places(ops):
    """What filling gaps asks for."""
    config = config_of("lstm", "", **BODIES["cloze"])
    batch = batch_for(config, "cloze", np.random.default_rng(25))
    steps, lanes = np.array([0, 3, 1]), np.array([1, 0, 1])
    found = [model.log_probs_at(batch, steps, lanes, model.workspace()) for model in twins(config, ops)]
    assert found[0].shape == (6, 3)
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-14)


def test_first_weights_are_those_of_the_seed_on_either_device(ops):
    config = ModelConfig(7, hidden_size=6, num_layers=2, embedding_size=3, cell="lstm-peephole")
    one, other = (build_module.build(config, device, seed=5) for device in (trainers.OPS, ops))
    np.testing.assert_array_equal(ops.numpy(other.parameters.values), one.parameters.values)
    assert TrainConfig().seed is not None

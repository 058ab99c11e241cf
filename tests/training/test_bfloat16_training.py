"""`--dtype bfloat16`: products of a training in bfloat16; weights, states and all that comes after in float32."""

import io
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from charlm import api
from charlm.backends import NumpyBackend
from charlm.backends.compiled import backend as backend_module
from charlm.backends.compiled import scan as scan_module
from charlm.checkpoint import load, save, save_training
from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.errors import ResourceError
from charlm.inference.evaluation import evaluate
from charlm.inference.scoring import Scorer
from charlm.nn.build import build, for_training
from charlm.session import prepare, resume
from charlm.storage.container import Container
from charlm.training import memory_needed
from charlm.training.warm_start import Matched, warm_start
from tests.bfloat16 import RoundedProducts, RoundingBackend, machine, rounded
from tests.trainings import assert_same, result

LINES = ["abcab", "abd", "abe", "bac", "ba", "cab", "dab", "eab"] * 6
NETWORK = {"hidden_size": 8, "num_layers": 2, "dropout": 0.1}
SIZES = {"max_steps": 12, "batch_size": 4, "seq_length": 5, "valid_fraction": 0.25}

each_machine = pytest.mark.parametrize("kind", ["numpy", "compiled"])


def session_of(ops, dtype="bfloat16", unit="stream", **network):
    return prepare(LINES, TextConfig(unit=unit), {**NETWORK, "dtype": dtype, **network}, TrainConfig(**SIZES), ops=ops)


def trained(session, steps=None):
    list(islice(session.trainer.run(), steps))
    return session


def test_rounding_is_to_the_nearest_bfloat16():
    one, step = 1.0, 2.0**-7
    numbers = [one + step / 4, one + 3 * step / 4, one + step / 2, one + 3 * step / 2, -one - 3 * step / 4, 0.0, np.inf]
    expected = [one, one + step, one, one + 2 * step, -one - step, 0.0, np.inf]
    assert rounded(np.array(numbers, np.float32)).tolist() == expected


@each_machine
@pytest.mark.parametrize("unit", ["line", "stream"])
def test_everything_but_the_products_is_in_float32(kind, unit):
    session = trained(session_of(machine(kind), unit=unit))
    model = session.trainer.model
    arrays = [model.parameters.values, model.parameters.grads, *session.trainer.optimizer.memory.values()]
    arrays += [*session.trainer.state().arrays.values(), *session.trainer.best_weights().values()]
    assert {array.dtype.name for array in arrays} == {"float32"}
    assert model.config.dtype == "bfloat16" and model.config.array_dtype == "float32"


@each_machine
@pytest.mark.parametrize("softmax", ["full", "adaptive"])
def test_the_losses_are_those_of_float32_but_for_rounding(kind, softmax):
    losses = {}
    for dtype in ("float32", "bfloat16"):
        session = session_of(machine(kind), dtype, softmax=softmax)
        losses[dtype] = [progress.train_nats for progress in session.trainer.run()]
    assert losses["bfloat16"] != losses["float32"]
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.02)


def test_the_trainer_multiplies_in_bfloat16_and_its_model_does_not():
    ops = RoundingBackend()
    session = session_of(ops)
    learns, opens = session.trainer.model, session.language_model.model
    assert isinstance(learns.ops, RoundedProducts) and opens.ops is ops and learns.ops.workers is ops.workers
    trained(session)
    assert np.shares_memory(learns.parameters.values, opens.parameters.values)
    assert not np.shares_memory(learns.parameters.grads, opens.parameters.grads)
    before = learns.ops.products
    assert before
    list(Scorer(session.language_model).score(["abc"]))
    assert learns.ops.products == before


def test_validation_multiplies_as_training_does():
    session = trained(session_of(RoundingBackend()))
    learns, opens = session.trainer.model, session.language_model.model
    as_trained, as_opened = (
        evaluate(model, session.trainer.valid, model.workspace()).nats_per_token for model in (learns, opens)
    )
    assert session.trainer.numbers.history[-1]["valid_nats"] == as_trained != as_opened


def test_without_bfloat16_the_network_that_learns_is_the_model_itself():
    for dtype in ("float32", "float64"):
        model = build(ModelConfig(5, hidden_size=3, dtype=dtype), RoundingBackend(), seed=1)
        assert for_training(model) is model


def test_any_number_of_threads_computes_the_same_bytes(monkeypatch):
    monkeypatch.setattr(backend_module, "_WORTH_SHARING", 1)
    monkeypatch.setattr(backend_module, "_ELEMENTS_WORTH_SHARING", 1)
    monkeypatch.setattr(scan_module, "_WORTH_SHARING", 8)
    results = []
    for count in (1, 2, 3):
        session = session_of(machine("compiled"), hidden_size=40)
        with session.language_model.model.ops.workers.limit(count):
            results.append(result(trained(session, 4).trainer))
    for other in results[1:]:
        assert_same(other, results[0])


@each_machine
def test_the_estimate_of_memory_is_float32s(kind):
    estimates = [memory_needed(session_of(machine(kind), dtype).trainer) for dtype in ("float32", "bfloat16")]
    assert estimates[1] == pytest.approx(estimates[0], rel=0.15)


# ---- machines without it


class Unread:
    """Lines that nobody may read."""

    def __iter__(self):
        raise AssertionError("the corpus was read")


def test_a_machine_without_it_refuses_before_the_corpus_is_read():
    network = {**NETWORK, "dtype": "bfloat16"}
    with pytest.raises(ResourceError, match="--dtype bfloat16: core numpy has no bfloat16 products") as refusal:
        prepare(Unread(), TextConfig(), network, TrainConfig(), ops=NumpyBackend())
    assert "--dtype float32" in refusal.value.hint and refusal.value.exit_code == 6


def test_a_machine_without_it_does_not_resume(tmp_path):
    path = tmp_path / "m.ckpt.safetensors"
    session = trained(session_of(RoundingBackend()), 3)
    save_training(path, session.language_model, session.trainer.state(), corpus="c0ffee")
    checkpoint = load(path, NumpyBackend())
    with pytest.raises(ResourceError, match="--dtype bfloat16"):
        resume(checkpoint, LINES, None, {})


# ---- files


@each_machine
def test_a_model_file_is_one_of_float32_everywhere(tmp_path, kind):
    """Its scores are, bit by bit, those of the same arrays in a file of a float32 training."""
    session = trained(session_of(machine(kind)))
    path, plain = tmp_path / "m.safetensors", tmp_path / "plain.safetensors"
    save(path, session.language_model, weights=session.trainer.best_weights())
    file = Container(path)
    assert file.header["model"]["dtype"] == "bfloat16"
    assert {dtype for dtype, _ in file.types.values()} == {"F32"}

    config = replace(session.language_model.model.config, dtype="float32")
    other = build(config, NumpyBackend())
    for name, view in other.parameters.named(other.parameters.values).items():
        view[...] = file.arrays()[name]
    save(plain, replace(session.language_model, model=other))
    scores = [
        [score.nats for score in Scorer(load(file, NumpyBackend()).language_model).score(LINES)]
        for file in (path, plain)
    ]
    assert scores[0] == scores[1]


@each_machine
@pytest.mark.parametrize("unit", ["line", "stream"])
def test_a_resumed_training_goes_on_in_the_same_precision(tmp_path, kind, unit):
    whole = trained(session_of(machine(kind), unit=unit))
    path = tmp_path / "m.ckpt.safetensors"
    broken = trained(session_of(machine(kind), unit=unit), 5)
    save_training(path, broken.language_model, broken.trainer.state(), corpus="c0ffee")
    checkpoint = load(path, machine(kind))
    assert checkpoint.language_model.model.config.dtype == "bfloat16"
    resumed = resume(checkpoint, LINES, None, {})
    assert_same(result(trained(resumed).trainer), result(whole.trainer))


@pytest.mark.parametrize(("old", "new"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_a_training_starts_from_weights_of_another_precision(old, new):
    source, target = session_of(RoundingBackend(), old), session_of(RoundingBackend(), new)
    trained(source)
    size = len(source.language_model.tokenizer.vocabulary)
    assert warm_start(target.language_model, source.language_model) == [Matched("tokens", size, size)]
    weights = source.language_model.model.parameters.values
    assert np.array_equal(target.trainer.model.parameters.values, weights)
    assert isinstance(target.trainer.model.ops, RoundedProducts) == (new == "bfloat16")


def test_the_python_api_trains_in_bfloat16_and_scores_in_float32(monkeypatch):
    monkeypatch.setattr("charlm.session.get_backend", lambda device: RoundingBackend())
    model = api.train(LINES, dtype="bfloat16", **NETWORK, **SIZES)
    assert type(model.model.ops) is RoundingBackend and model.model.config.dtype == "bfloat16"
    assert all(np.isfinite(score.nats) for score in api.score(model, io.StringIO("abc\nabd\n")))

"""Whole models on the compiled core compute what they do on NumPy's backend: losses, gradients, states, outputs."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.nn import build as build_module
from charlm.nn.heads import softmax as softmax_module
from charlm.nn.layer import pieces
from charlm.text.batches.lanes import NO_TARGET
from tests import forms, gradcheck
from tests.compiled import BEST_CORE, EACH_CORE, compiled_backend
from tests.gradcheck import KINDS, config_of, leaves, make_model, random_batch, random_state
from tests.task_batches import BODIES, random_task_batch

NOISE = 0x1234_5678_9ABC_DEF1
BARS = {"float64": 1e-12, "float32": 1e-5}
NUMPY = NumpyBackend()
ALL = {"lm": {}, **BODIES}
OPTIONS = {
    "plain": {"num_layers": 1},
    "dropout": {"dropout": 0.4},
    "embedding": {"embedding_size": 3, "dropout": 0.3},
    "look-up": {"largest_one_hot": 3},
    "dense": {"dense": (4, 5), "dropout": 0.2},
    "tied": {"embedding_size": 3, "dense": (3,), "tie_weights": True, "dropout": 0.4},
    "regularised": {
        **{"dropout": 0.4, "dropout_kind": "variational", "weight_drop": 0.4},
        **{"activation_penalty": 2.0, "temporal_penalty": 1.0},
    },
    "words": {"embedding_size": 3, "embedding_dropout": 0.4, "weight_drop": 0.3},
    "wide": {"hidden_size": 21, "num_layers": 3, "dropout": 0.5},
}


def is_possible(body, options):
    task, asked = ALL[body].get("task", "lm"), OPTIONS[options]
    if task == "music" and ("embedding_size" in asked or "largest_one_hot" in asked):
        return False
    return not (task in ("tag", "classify") and "tie_weights" in asked)


@pytest.fixture(params=BEST_CORE)
def ops(request):
    return compiled_backend(request.param)


def model_on(ops, config, monkeypatch, **options):
    """Return a model with the same random parameters on every backend, rounded to the precision of the model."""
    monkeypatch.setattr(gradcheck, "OPS", ops)
    return make_model(config, **options)


def float64(array):
    return np.array(array, np.float64)


def results(model, batch, state, *, noise):
    """Return all that a training step and a judgement leave, by name, from workspaces full of NaN."""
    ws, found = model.workspace(), {}
    for name, key in (("", None), ("noisy ", noise)):
        ws.fill(np.nan)
        loss, after = model.loss_and_grads(batch, state, ws, noise=key)
        found[f"{name}loss"] = float64(loss)
        grads = model.parameters.named(model.parameters.grads)
        found |= {f"{name}{parameter}": float64(grad) for parameter, grad in grads.items()}
        found |= {f"{name}state{number}": float64(leaf) for number, leaf in enumerate(leaves(after))}
    ws.fill(np.nan)
    best = None if batch.targets.ndim > 2 else np.full(batch.targets.shape, 77, np.int32)
    nats, after = model.nats(batch, state, ws, best=best)
    found |= {"nats": nats} | {f"state{number} of nats": float64(leaf) for number, leaf in enumerate(leaves(after))}
    if best is not None:
        found["best"] = best
    ws.fill(np.nan)
    steps, lanes = (places.ravel() for places in np.indices((len(batch.inputs), batch.lanes)))
    found["log_probs"] = float64(model.log_probs_at(batch, steps, lanes, ws))
    return found


def agree(found, right, bar):
    assert found.keys() == right.keys()
    for name, expected in right.items():
        if name == "best":
            np.testing.assert_array_equal(found[name], expected)
        else:
            assert np.isfinite(expected).all()
            size = max(1.0, np.abs(expected).max(initial=0.0))
            np.testing.assert_allclose(found[name], expected, rtol=0, atol=bar * size, err_msg=name)


def check(ops, monkeypatch, config, batch, *, dtype="float64", largest_one_hot=None, scale=0.8):
    """Compare a model with that of NumPy's backend in float64."""
    found = []
    for backend, kind in ((ops, dtype), (NUMPY, "float64")):
        model = model_on(
            backend, replace(config, dtype=kind), monkeypatch, largest_one_hot=largest_one_hot, scale=scale
        )
        model.parameters.values[...] = model.parameters.values.astype(dtype)
        state = random_state(model.body, batch.lanes, np.random.default_rng(5))
        found.append(results(model, batch, state, noise=NOISE))
    agree(*found, BARS[dtype])
    return found[0]


@pytest.mark.parametrize("body", ALL)
@forms.each("dtype, kind, options", product(BARS, KINDS, OPTIONS), thinned=23, in_long=4)
def test_every_body_with_every_option(ops, monkeypatch, kind, body, options, dtype):
    """Several sequences in a lane, of different lengths, some without a target."""
    if not is_possible(body, options):
        return
    asked = dict(OPTIONS[options])
    largest = asked.pop("largest_one_hot", None)
    config, rng = config_of(*kind, **{**ALL[body], **asked}), np.random.default_rng(3)
    if body == "lm":
        batch = random_batch(config.vocabulary_size, 7, 5, rng)
    else:
        batch = random_task_batch(config, rng, lengths=((5, 2), (3,), (6,), (1, 1)))
    scale = 0.3 if dtype == "float32" else 0.8  # rounding grows where units saturate or explode
    check(ops, monkeypatch, config, batch, dtype=dtype, largest_one_hot=largest, scale=scale)


@pytest.mark.parametrize("body", ALL)
def test_one_sequence_alone(ops, monkeypatch, body):
    for kind, length in ((("lstm", ""), 1), (("gru", "before"), 5), (("rnn", "tanh"), 5)):
        for hidden in (1, 17):
            config = config_of(*kind, **{**ALL[body], "hidden_size": hidden})
            rng = np.random.default_rng(length)
            if body == "lm":
                batch = random_batch(config.vocabulary_size, length, 1, rng, starts=False)
            else:
                batch = random_task_batch(config, rng, lengths=((length,),), missing=False)
            check(ops, monkeypatch, config, batch)


@pytest.mark.thinned(6)
@pytest.mark.parametrize("ops", EACH_CORE, indirect=True)
@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize(("batch_size", "hidden", "V"), [(64, 48, 65), (20, 100, 700), (3, 33, 1030), (33, 130, 17)])
def test_larger_models(ops, monkeypatch, batch_size, hidden, V, dtype):
    """Where the core's own products run, forward, back and for the weights; also with logits in several blocks."""
    rng = np.random.default_rng(7)
    for number, (kind, more) in enumerate(
        [
            (("lstm", ""), {}),
            (("gru", "after"), {"embedding_size": 40}),
            (("lstm-peephole", ""), {"embedding_size": 24}),
        ]
    ):
        config = config_of(*kind, vocabulary_size=V, hidden_size=hidden, dropout=0.3, **more)
        batch = random_batch(V, 9, batch_size, rng)
        with monkeypatch.context() as patch:
            if number == 1:
                patch.setattr(softmax_module, "_LOGITS_AT_A_TIME", 1)
            check(ops, monkeypatch, config, batch, dtype=dtype, scale=1 / np.sqrt(hidden))


@pytest.mark.thinned(4)
@pytest.mark.parametrize("ops", EACH_CORE, indirect=True)
@pytest.mark.parametrize("body", ["tag", "cloze", "classify", "translate", "lm"])
def test_long_sequences(ops, monkeypatch, body):
    """They are read in pieces for their outputs alone, the sources of a translation too."""
    length = 300
    assert len(list(pieces(length))) > 1
    config = config_of("gru", "after", **ALL[body], embedding_size=3)
    rng = np.random.default_rng(8)
    if body == "lm":
        batch = random_batch(config.vocabulary_size, length, 2, rng)
    else:
        batch = random_task_batch(config, rng, lengths=((length,), (40, 30)))
    check(ops, monkeypatch, config, batch, scale=0.4)


@pytest.mark.parametrize("body", ALL)
def test_batches_without_targets(ops, monkeypatch, body):
    config, rng = config_of("lstm", "", **ALL[body]), np.random.default_rng(9)
    batch = random_batch(config.vocabulary_size, 4, 3, rng) if body == "lm" else random_task_batch(config, rng)
    batch = replace(batch, targets=np.full_like(batch.targets, NO_TARGET))
    found = check(ops, monkeypatch, config, batch)
    assert (
        found["loss"] == 0 and not found["nats"].any() and not found["layer0.W" if body == "lm" else "head.W_y"].any()
    )


@forms.each("kind", KINDS)
def test_a_token_at_a_time(ops, monkeypatch, kind):
    """ln P of every next token of a stream: as on NumPy's backend, and as in a sequence."""
    for options in ({"hidden_size": 19}, {"embedding_size": 3, "dense": (4,)}, {"largest_one_hot": 3, "num_layers": 1}):
        largest = options.get("largest_one_hot")
        fields = {name: value for name, value in options.items() if name != "largest_one_hot"}
        found = []
        for backend in (ops, NUMPY):
            model = model_on(backend, config_of(*kind, **fields), monkeypatch, largest_one_hot=largest)
            stepper, ids = model.stepper(), [-1, 3, 0, 5, 5, 1]
            found.append(np.array([stepper.next_log_probs(token) for token in ids]))
            for end in (1, len(ids)):
                last, _ = model.next_log_probs(
                    np.array(ids[:end], np.int32)[:, None], model.zero_state(1), model.workspace()
                )
                np.testing.assert_allclose(found[-1][end - 1], last[:, 0], rtol=1e-12, atol=1e-12)
            if backend is ops:
                with pytest.raises(IndexError):
                    stepper.next_log_probs(6)
        np.testing.assert_allclose(*found, rtol=1e-12, atol=1e-12)


def test_the_models_are_the_same_ones(ops, monkeypatch):
    """The check compares what it says: a model whose weights differ in one place does not agree."""
    config, batch = config_of("lstm", ""), random_batch(6, 4, 3, np.random.default_rng(1))
    models = [model_on(backend, config, monkeypatch) for backend in (ops, NUMPY)]
    assert models[0].ops is ops and models[1].ops is NUMPY
    assert type(models[0].body.layers["layer0"].scan(models[0].workspace())).__name__ == "CompiledScan"
    models[0].parameters.value("layer1.W")[2, 1] += 1e-6
    found = [results(model, batch, model.zero_state(3), noise=NOISE) for model in models]
    with pytest.raises(AssertionError):
        agree(*found, BARS["float64"])
    assert build_module.LARGEST_ONE_HOT > 3

"""On the compiled core any number of threads computes the same bytes: outputs, gradients, trained models."""

import threading
from itertools import product

import numpy as np
import pytest

from charlm.backends import numpy_backend
from charlm.backends.compiled import backend as backend_module
from charlm.backends.compiled import scan as scan_module
from tests import forms, gradcheck
from tests.compiled import BEST_CORE, EACH_CORE, compiled_backend
from tests.gradcheck import KINDS, config_of, leaves, make_model, random_batch, random_state
from tests.task_batches import BODIES, random_task_batch

NOISE = 0x1234_5678_9ABC_DEF1
COUNTS = (1, 2, 3, 5, 2)
LEARNING_RATE = 0.01


@pytest.fixture(params=BEST_CORE)
def ops(request):
    return compiled_backend(request.param)


@pytest.fixture(autouse=True)
def everything_is_worth_sharing(monkeypatch):
    """However small it is."""
    monkeypatch.setattr(backend_module, "_WORTH_SHARING", 1)
    monkeypatch.setattr(backend_module, "_ELEMENTS_WORTH_SHARING", 1)
    monkeypatch.setattr(scan_module, "_WORTH_SHARING", 8)
    monkeypatch.setattr(numpy_backend, "_WORTH_SPLITTING", 1)


def model_on(ops, config, monkeypatch, **options):
    monkeypatch.setattr(gradcheck, "OPS", ops)
    return make_model(config, **options)


def passes(model, batch, state):
    """Return the bytes of all that a training step, with dropout, and a judgement leave."""
    ws, found = model.workspace(), []
    for noise in (None, NOISE):
        ws.fill(np.nan)
        loss, after = model.loss_and_grads(batch, state, ws, noise=noise)
        found += [np.array(loss), model.parameters.grads.copy(), *(leaf.copy() for leaf in leaves(after))]
    ws.fill(np.nan)
    best = np.zeros(batch.targets.shape, np.int32) if batch.targets.ndim == 2 else None
    nats, after = model.nats(batch, state, ws, best=best)
    found += [nats, *leaves(after), *([] if best is None else [best])]
    return [np.ascontiguousarray(array).tobytes() for array in found]


def assert_the_same(ops, compute):
    """Compare `compute()` with every number of threads."""
    results = []
    for count in COUNTS:
        with ops.workers.limit(count):
            results.append(compute())
    assert all(result == results[0] for result in results)


@forms.each("kind, batch_size, dtype", product(KINDS, [1, 2, 4, 13, 50], ["float32", "float64"]), thinned=7)
def test_every_cell(ops, monkeypatch, kind, batch_size, dtype):
    """Also with fewer lanes than threads."""
    model = model_on(ops, config_of(*kind, hidden_size=19, dropout=0.4, embedding_size=5, dtype=dtype), monkeypatch)
    rng = np.random.default_rng(1)
    batch, state = random_batch(6, 5, batch_size, rng), random_state(model.body, batch_size, rng)
    assert_the_same(ops, lambda: passes(model, batch, state))


@pytest.mark.parametrize("body", BODIES)
def test_every_body(ops, monkeypatch, body):
    model = model_on(ops, config_of("gru", "before", **BODIES[body], hidden_size=17, dropout=0.4), monkeypatch)
    batch = random_task_batch(model.config, np.random.default_rng(2), lengths=((5, 2), (3,), (6,), (1, 1)))
    state = random_state(model.body, batch.lanes, np.random.default_rng(3))
    assert_the_same(ops, lambda: passes(model, batch, state))


SHAPES = [(48, 40, 70), (20, 100, 300), (3, 64, 1030), (33, 8, 500), (64, 130, 17), (128, 12, 40), (9, 200, 20)]


@pytest.mark.parametrize("ops", EACH_CORE, indirect=True)
@forms.each("shape, dtype", product(SHAPES, ["float32", "float64"]), thinned=5)
def test_larger_models(ops, monkeypatch, shape, dtype):
    """Products that are shared by rows and by columns, and those that are left to NumPy."""
    batch_size, hidden, V = shape
    dropped = {"embedding_dropout": 0.3, "weight_drop": 0.3, "dropout_kind": "variational", "temporal_penalty": 1.0}
    for more in ({}, {"embedding_size": 33, **dropped}):
        config = config_of("lstm", "", vocabulary_size=V, hidden_size=hidden, dropout=0.3, dtype=dtype, **more)
        model = model_on(ops, config, monkeypatch, scale=1 / np.sqrt(hidden))
        rng = np.random.default_rng(4)
        batch, state = random_batch(V, 12, batch_size, rng), random_state(model.body, batch_size, rng)
        assert_the_same(ops, lambda model=model, batch=batch, state=state: passes(model, batch, state))


@pytest.mark.thinned(4)
@pytest.mark.parametrize("kind", [("lstm", ""), ("gru", "after"), ("rnn", "tanh")], ids="-".join)
@pytest.mark.parametrize("batch_size", [1, 3, 20])
def test_trained_models(ops, monkeypatch, kind, batch_size):
    """All arrays after twenty steps of Adam with clipping and dropout."""
    steps = 20
    config = config_of(*kind, vocabulary_size=40, hidden_size=37, dropout=0.3, embedding_size=20, dtype="float32")

    def train():
        model, rng = model_on(ops, config, monkeypatch, scale=0.2), np.random.default_rng(5)
        p, ws, state = model.parameters, model.workspace(), model.zero_state(batch_size)
        moments = [np.zeros_like(p.values) for _ in range(2)]
        for count in range(1, steps + 1):
            batch = random_batch(40, 11, batch_size, rng)
            _, state = model.loss_and_grads(batch, state, ws, noise=NOISE + count)
            scale = ops.clipping(ops.norm(p.grads), 0.5, p.grads.dtype)
            ops.adam(p.values, p.grads, *moments, learning_rate=LEARNING_RATE, count=count, scale=scale)
        assert np.isfinite(p.values).all()
        return [array.tobytes() for array in (p.values, *moments, *leaves(state))]

    assert_the_same(ops, train)


def test_the_work_is_shared(ops, monkeypatch):
    """By the time loops too: the check above would pass for one thread alone."""
    model = model_on(ops, config_of("lstm", "", hidden_size=19), monkeypatch)
    batch, calls = random_batch(6, 5, 7, np.random.default_rng(1)), []
    core = ops.core_of("float64")
    forward = core.forward

    def recorded(p, first, end):
        calls.append((threading.get_ident(), first, end))
        forward(p, first, end)

    monkeypatch.setattr(core, "forward", recorded)
    with ops.workers.limit(3):
        model.loss_and_grads(batch, model.zero_state(7), model.workspace())
    assert {(first, end) for _, first, end in calls} == {(0, 2), (2, 4), (4, 7)}


def test_an_error_in_a_thread_is_raised(ops):
    with ops.workers.limit(3), pytest.raises(IndexError):
        ops.cross_entropy(np.zeros((9, 70)).T, np.full(9, 70), scale=1.0)


def test_many_passes_at_the_same_time(ops, monkeypatch):
    """Threads of the caller, each with a model of its own, compute what each computes alone."""
    found, wrong = {}, []

    def work(number):
        config, rng = config_of("gru", "after", hidden_size=17, dtype="float32"), np.random.default_rng(number)
        model = make_model(config, seed=number)
        batch, state = random_batch(6, 5, 6, rng), random_state(model.body, 6, rng)
        for _ in range(5):
            result = passes(model, batch, state)
            if result != found.setdefault(number, result):
                wrong.append(number)

    monkeypatch.setattr(gradcheck, "OPS", ops)
    with ops.workers.limit(2):
        for number in range(3):
            work(number)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 3 and not wrong

"""Gradients of the other tasks' networks against central differences; `tests.gradcheck` has every cell of each body."""

from dataclasses import replace

import numpy as np
import pytest

from charlm.nn.directions import BothWays, LastSteps, Reversed, Towers
from charlm.nn.embedding import MultiHot
from charlm.nn.workspace import Workspace
from charlm.text.batches.lanes import NO_TARGET
from tests.gradcheck import OPS, check_task, config_of, each_kind, holds, make_model, model_errors
from tests.task_batches import BODIES, lay, random_sequence, random_task_batch

pytestmark = pytest.mark.usefixtures("each_backend")

NOISE = 0x1234_5678_9ABC_DEF1
NOISY = {"dropout": 0.3, "noise": NOISE}
TIED = {"embedding_size": 2, "dense": (2,), "tie_weights": True}
OPTIONS = [
    ("cloze", {}),
    ("cloze", {"largest_one_hot": 3}),
    ("cloze", {"embedding_size": 4, "tie_weights": True}),
    ("cloze", {**TIED, **NOISY}),
    ("tag", {"largest_one_hot": 3}),
    ("tag", {"embedding_size": 2, "dense": (2,), **NOISY}),
    ("tag-causal", {"embedding_size": 2, "dense": (3,)}),
    ("yes-no", {}),
    ("tag", {"crf": True, **NOISY}),
    ("spelled", {}),
    pytest.param("spelled", {"crf": True, "embedding_dropout": 0.3, **NOISY}, marks=pytest.mark.slow),
    ("classify", {"largest_one_hot": 3}),
    ("classify", {"embedding_size": 2, "dense": (3, 2), **NOISY}),
    ("classify-causal", {}),
    ("translate", {"largest_one_hot": 3}),
    ("translate", {**TIED, **NOISY}),
    ("music", {"num_layers": 2, **NOISY}),
    ("conditioned", {"largest_one_hot": 3}),
    ("conditioned", {"embedding_size": 2, "tie_weights": True}),
]


@pytest.mark.thinned(6)
@pytest.mark.parametrize(("body", "options"), OPTIONS, ids=lambda p: p if isinstance(p, str) else "-".join(p))
@pytest.mark.parametrize("kind", [("gru", "both"), ("lstm", "relevance")], ids="-".join)
def test_every_body_with_every_input(kind, body, options):
    errors = check_task(*kind, body, **options)
    holds(errors)
    if body == "cloze":
        towers = {name.split(".")[1] for name in errors if name.startswith("towers.")}
        assert towers == {"from_left", "from_right"}
        shared = bool(options.get("embedding_size"))
        assert shared == ("towers.from_left.input.E" in errors and "towers.from_right.input.E" not in errors)
    assert ("head.W_y" in errors) != bool(options.get("tie_weights"))


@each_kind
def test_the_loss_reaches_every_parameter_of_the_encoder(cell, variant):
    """By way of its last state alone; of `E` the rows of the tokens that are read, in padded sources too."""
    config = config_of(cell, variant, **BODIES["translate"], embedding_size=2, dense=(2,))
    rng = np.random.default_rng(1)
    sequences = [random_sequence(config, length, rng, source_length=s) for length, s in ((2, 4), (3, 1), (1, 2))]
    batch, _ = lay(config, [[one] for one in sequences])
    model = make_model(config, seed=3)
    for name in model.parameters.shapes:
        if variant == "relu":  # all units on
            model.parameters.value(name)[...] = np.abs(model.parameters.value(name)) * 0.3
    model.loss_and_grads(batch, model.zero_state(3), model.workspace())
    names = [name for name in model.parameters.shapes if name.startswith("encoder.")]
    assert {"encoder.input.E", "encoder.layer0.W", "encoder.layer1.W"} <= set(names)
    read = np.unique(np.concatenate([one.source for one in sequences]))
    assert 0 < read.size < config.vocabulary_size
    for name in names:
        grad = model.parameters.grad(name)
        if name.endswith(".E"):
            assert np.flatnonzero(grad.any(axis=1)).tolist() == read.tolist()
        else:
            assert grad.any(axis=tuple(range(1, grad.ndim))).all(), name


@pytest.mark.thinned(5)
@pytest.mark.parametrize("body", BODIES)
@each_kind
def test_packed_or_padded_gradients_are_the_sum_of_those_alone(cell, variant, body):
    """Loss and gradients of several sequences of different lengths, in one batch and one by one."""
    config = config_of(cell, variant, **BODIES[body])
    model, rng = make_model(config, seed=2), np.random.default_rng(3)
    lengths = ((3,), (1,), (4,)) if body == "translate" else ((3, 1), (5,), (1, 2))
    lanes = [[random_sequence(config, length, rng) for length in lane] for lane in lengths]
    batch, _ = lay(config, lanes)
    p = model.parameters
    loss, _ = model.loss_and_grads(batch, model.zero_state(batch.lanes), model.workspace())
    grads, loss_alone, grads_alone = p.grads * batch.count, 0.0, np.zeros_like(p.grads)
    for sequence in (one for lane in lanes for one in lane):
        alone, _ = lay(config, [[sequence]])
        loss_alone += model.loss_and_grads(alone, model.zero_state(1), model.workspace())[0]
        grads_alone += p.grads * alone.count
    assert loss == pytest.approx(loss_alone, rel=1e-12)
    np.testing.assert_allclose(grads, grads_alone, rtol=1e-11, atol=1e-11)
    assert np.abs(grads).max() > 1e-3


@pytest.mark.parametrize("body", BODIES)
def test_a_used_workspace_is_a_fresh_one(body):
    """Batches of other shapes in turn, NaN in all buffers before each pass, dropout now and then: the same bits."""
    more = {} if "music" in str(BODIES[body]) else {"embedding_size": 3}
    config = config_of("lstm-peephole", "", **{**BODIES[body], **more}, dropout=0.3, dense=(3,))
    model = make_model(config, seed=4)
    used = model.workspace()
    shapes = [((3, 2), (4,)), ((1,),), ((2,), (2,), (1, 1, 3)), ((3, 2), (4,)), ((6,), (1, 1)), ((1, 2),)]
    for number, lengths in enumerate(shapes):
        batch = random_task_batch(config, np.random.default_rng(number), lengths=lengths, missing=number % 2 == 0)
        state, noise = model.zero_state(batch.lanes), 100 + number if number % 2 else None
        results = []
        for ws in (used, model.workspace()):
            ws.fill(np.nan)
            nats, _ = model.nats(batch, state, ws)
            ws.fill(np.nan)
            loss, _ = model.loss_and_grads(batch, state, ws, noise=noise)
            results.append([nats, np.array(loss), model.parameters.grads.copy()])
        for one, other in zip(*results, strict=True):
            assert np.isfinite(one).all()
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("body", BODIES)
def test_float32_agrees_with_float64(body):
    results = []
    for dtype in ("float64", "float32"):
        config = config_of("lstm", "", **BODIES[body], dtype=dtype)
        model = make_model(config, seed=5)
        batch = random_task_batch(config, np.random.default_rng(6))
        loss, _ = model.loss_and_grads(batch, model.zero_state(batch.lanes), model.workspace())
        nats, _ = model.nats(batch, model.zero_state(batch.lanes), model.workspace())
        assert model.parameters.grads.dtype == dtype and nats.dtype == np.float64
        assert loss == pytest.approx(nats.sum(), rel=1e-5)
        results.append((loss, nats, model.parameters.grads.copy()))
    for exact, rounded in zip(*results, strict=True):
        np.testing.assert_allclose(rounded, exact, rtol=1e-4, atol=1e-4 * float(np.max(np.abs(exact))))


@pytest.mark.parametrize("body", BODIES)
def test_dropout_changes_training_and_nothing_else(body):
    config = config_of("gru", "after", **BODIES[body], dropout=0.5)
    model, plain = make_model(config, seed=7), make_model(config_of("gru", "after", **BODIES[body]), seed=7)
    batch = random_task_batch(config, np.random.default_rng(8))
    state = model.zero_state(batch.lanes)
    calm, first, again, other = (
        model.loss_and_grads(batch, state, model.workspace(), noise=noise)[0] for noise in (None, 1, 1, 2)
    )
    assert calm == plain.loss_and_grads(batch, plain.zero_state(batch.lanes), plain.workspace())[0]
    assert first == again and len({calm, first, other}) == 3


def test_both_sides_of_a_network_and_an_encoder_have_masks_of_their_own():
    """The towers' dropouts, and those of encoder and decoder, stand at different places, so no two share a mask."""
    for body in ("cloze", "translate"):
        model = make_model(config_of("rnn", "tanh", **BODIES[body], dropout=0.5, embedding_size=3))
        left, right = model.body.layers["towers"].sides if body == "cloze" else (model.body, model.encoder)
        stacks = [left, right.layer]
        places = [layer.place for stack in stacks for name, layer in stack.layers.items() if name.endswith("dropout")]
        assert len(places) == 6 and len(set(places)) == 6


def test_a_batch_without_targets_has_no_loss_and_no_gradient():
    for body in BODIES:
        config = config_of("lstm", "", **BODIES[body])
        model, batch = make_model(config), random_task_batch(config, np.random.default_rng(9))
        batch = replace(batch, targets=np.full_like(batch.targets, NO_TARGET))
        assert batch.count == 0
        loss, _ = model.loss_and_grads(batch, model.zero_state(batch.lanes), model.workspace())
        assert loss == 0.0 and not model.parameters.grads.any(), body


def test_keys_have_nothing_to_learn():
    layer, ws = MultiHot(OPS, 3), Workspace(OPS, "float32")
    assert layer.shapes() == {}
    x = np.array([[[1, 0], [0, 0], [1, 1]]], np.uint8)
    y, state = layer.forward(x, (), ws)
    assert y.dtype == np.float32 and state == ()
    np.testing.assert_array_equal(y, x)
    layer.backward(y, (), ws)


class TestTheCheckItself:
    """It finds what is left out: each mistake is one that a shape would not show."""

    @pytest.mark.parametrize(
        ("body", "layer", "wrong"),
        [
            ("classify", LastSteps, lambda back: lambda self, dy, d, ws: (dy, ())),
            ("tag", BothWays, lambda back: lambda self, dy, d, ws: back(self, dy * [[1], [1], [0], [0]], d, ws)),
            ("translate", Reversed, lambda back: lambda self, dy, d, ws: back(self, dy, (), ws)),
            ("cloze", Towers, lambda back: lambda self, dy, d, ws: back(self, dy[::-1], d, ws)),
            ("tag", Reversed, lambda back: lambda self, dy, d, ws: self.layer.backward(dy, d, ws)),
        ],
    )
    def test_it_finds_it(self, monkeypatch, body, layer, wrong):
        config = config_of("gru", "after", **BODIES[body], hidden_size=2, num_layers=2 if body == "tag" else 1)
        batch = random_task_batch(config, np.random.default_rng(5))
        model = make_model(config)
        monkeypatch.setattr(layer, "backward", wrong(layer.backward))
        assert max(model_errors(model, batch).values()) > 1e-3

"""Every gradient against central differences in float64: parameters, inputs and first states, of every cell."""

import numpy as np
import pytest

from charlm.nn.dense import Dense
from charlm.nn.dropout import Dropout
from charlm.nn.embedding import Embedding
from charlm.nn.heads import Softmax
from charlm.nn.heads import softmax as softmax_module
from charlm.nn.layer import Stack
from charlm.nn.recurrent import Recurrent
from charlm.nn.workspace import Workspace
from charlm.text.batches.lanes import Batch
from tests import forms, gradcheck
from tests.gradcheck import (
    BAR,
    CHECKS,
    KINDS,
    OPS,
    bind,
    compare,
    config_of,
    each_kind,
    fill_grads,
    first_clear,
    holds,
    layer_errors,
    make_model,
    make_recurrent,
    model_errors,
    numeric_gradient,
    random_batch,
    random_starts,
    random_state,
    relative_error,
)

pytestmark = pytest.mark.usefixtures("each_backend")


@forms.each("cell, variant, check", [(*kind, check) for kind in KINDS for check in CHECKS], thinned=5)
def test_every_cell(cell, variant, check):
    errors = CHECKS[check](cell, variant)
    holds(errors)
    if check in ("alone", "starts"):
        states = {"state0", "state1"} if cell.startswith("lstm") else {"state0"}
        extra = {"lstm-peephole": {"P"}, "gru": {"b_ca"} if variant == "after" else set()}
        assert set(errors) == {"W", "x"} | states | extra.get(cell, set())


@pytest.mark.thinned(5)
@pytest.mark.parametrize(("T", "I", "H", "B"), [(1, 1, 1, 1), (5, 1, 1, 1), (1, 2, 3, 1), (6, 1, 2, 1)])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != ("rnn", "relu")], ids="-".join)
def test_the_smallest_sizes(kind, T, I, H, B):
    """Not of the rectified unit: a single one is on or off, and off there is nothing to be checked."""
    layer, parameters = make_recurrent(*kind, I, H)
    holds(layer_errors(layer, parameters, np.random.default_rng(14).standard_normal((T, I, B))))


@each_kind
def test_a_layer_that_nothing_below_learns_from_gives_the_same_gradients(cell, variant):
    """Without dx all else is as with it, bit for bit but for the products' own rounding."""
    rng = np.random.default_rng(5)
    x, starts = rng.standard_normal((4, 3, 2)), random_starts(4, 2, rng)
    results = []
    for wants_dx in (True, False):
        layer, parameters = make_recurrent(cell, variant, wants_dx=wants_dx)
        rng = np.random.default_rng(6)
        ws = Workspace(OPS, "float64")
        y, last = layer.forward(x, random_state(layer, 2, rng), ws, starts=starts)
        dx, d_state = layer.backward(rng.standard_normal(y.shape), random_state(layer, 2, rng), ws)
        assert dx.shape == ((4, 3, 2) if wants_dx else (4, 0, 2))
        results.append((y.copy(), *last, parameters.grads.copy(), *d_state))
    for with_dx, without in zip(*results, strict=True):
        np.testing.assert_allclose(without, with_dx, rtol=1e-13, atol=1e-14)


@each_kind
def test_gradients_add_to_what_is_there_and_no_state_gradient_is_zero(cell, variant):
    rng = np.random.default_rng(7)
    x = rng.standard_normal((4, 3, 2))
    layer, parameters = make_recurrent(cell, variant)
    state, dy = random_state(layer, 2, rng), rng.standard_normal((4, layer.n_out, 2))
    zeros = tuple(np.zeros_like(part) for part in state)
    results = []
    for d_state, before in ((), 0.0), (zeros, 3.0):
        parameters.grads[...] = before
        ws = Workspace(OPS, "float64")
        layer.forward(x, state, ws)
        dx, d_first = layer.backward(dy, d_state, ws)
        grads = [view - before for view in parameters.named(parameters.grads).values()]
        results.append([dx.copy(), *d_first, *grads])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)


@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_a_stack_down_to_its_input(rate):
    """Three recurrent layers of different cells, dropout between, dense layers on top; dx and all states."""
    rng = np.random.default_rng(8)
    x, starts = rng.standard_normal((4, 4, 3)), random_starts(4, 3, rng)

    def make(seed):
        kinds = [("lstm", "relevance"), ("gru", "before"), ("rnn", "relu")]
        layers = {}
        for index, (n_in, kind) in enumerate(zip((4, 3, 3), kinds, strict=True)):
            layers[f"layer{index}"] = make_recurrent(*kind, n_in, 3)[0]
            layers[f"dropout{index}"] = Dropout(OPS, 3, rate, place=index)
        layers["dense0"], layers["dense1"] = Dense(OPS, 3, 4, "relu"), Dense(OPS, 4, 2, "tanh")
        stack = Stack(layers)
        return stack, bind(stack, seed)

    stack, parameters = first_clear(make, x, starts=starts, noise=99)
    assert (stack.n_in, stack.n_out) == (4, 2)
    errors = layer_errors(stack, parameters, x, starts=starts, noise=99)
    holds(errors)
    assert {"x", "state0", "state1", "state2", "state3"} < set(errors)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_dense(activation):
    x = np.random.default_rng(9).standard_normal((3, 4, 2))

    def make(seed):
        layer = Dense(OPS, 4, 5, activation)
        return layer, bind(layer, seed)

    errors = layer_errors(*first_clear(make, x), x)
    holds(errors)
    assert set(errors) == {"W", "b", "x"}


def test_dropout():
    """In x alone: the mask does not depend on it."""
    layer = Dropout(OPS, 4, 0.4, place=3)
    holds(layer_errors(layer, bind(layer, 0), np.random.default_rng(10).standard_normal((3, 4, 2)), noise=5))


def test_embedding():
    """A token that is read twice gathers both gradients; the zero vector has none."""
    ids = np.array([[2, 2, -1], [0, 2, 4], [-1, 0, 1]])
    layer = Embedding(OPS, 6, 3)
    parameters = bind(layer, 0)
    holds(layer_errors(layer, parameters, ids))
    dE = parameters.grad("E")
    assert not dE[[3, 5]].any()
    assert dE[[0, 1, 2, 4]].all()


@each_kind
def test_ids_are_one_hot_columns(cell, variant):
    """The same outputs and gradients as for the columns written out; the id -1 is the zero vector."""
    ids = np.array([[3, -1, 0], [1, 1, -1]])
    columns = np.zeros((2, 4, 3))
    columns[0, 3, 0] = columns[0, 0, 2] = columns[1, 1, 0] = columns[1, 1, 1] = 1
    found = []
    for x, one_hot in ((ids, True), (columns, False)):
        layer, parameters = make_recurrent(cell, variant, 4, 3, seed=5, one_hot=one_hot)
        ws = Workspace(OPS, "float64")
        y, _ = layer.forward(x, layer.zero_state(3), ws)
        y = y.copy()
        dx, _ = layer.backward(np.cos(y), (), ws)
        assert dx.shape[1] == (0 if one_hot else 4)
        found.append((y, parameters.grads.copy()))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-15)


@pytest.mark.parametrize("blocks", [1, 3])
def test_the_head(blocks, monkeypatch):
    """The loss by W_y, b_y and the body's output; also where the logits are made in several blocks of columns."""
    V, n, T, batch = 4, 3, 5, 26
    if blocks == 3:
        monkeypatch.setattr(softmax_module, "_LOGITS_AT_A_TIME", 1)  # 130 columns are then 64 + 64 + 2
    rng = np.random.default_rng(11)
    head = Softmax(OPS, n, V, tied=False)
    parameters = bind(head, 1)
    y = rng.standard_normal((T, n, batch))
    targets = rng.integers(-1, V, (T, batch))
    assert -1 in targets[:2] and -1 in targets[2:] and set(range(V)) <= set(targets.ravel().tolist())
    scale = 1.7 / 30
    ws, scratch = Workspace(OPS, "float64"), Workspace(OPS, "float64")
    loss, dy = head.loss_and_grad(y, targets, scale, ws)
    gradients = {name: view.copy() for name, view in parameters.named(parameters.grads).items()} | {"y": dy.copy()}
    nats = head.nats(y, targets, scratch)
    assert nats.dtype == np.float64 and nats.shape == targets.shape
    assert loss == pytest.approx(nats.sum(), rel=1e-13)
    assert not nats[targets < 0].any()
    assert not dy.transpose(0, 2, 1)[targets < 0].any()

    arrays = parameters.named(parameters.values) | {"y": y[:, :, ::13]}  # some columns of all blocks
    gradients["y"] = gradients["y"][:, :, ::13]
    holds(compare(lambda: scale * float(head.nats(y, targets, scratch).sum()), arrays, gradients))


@pytest.mark.parametrize("embedding_size", [0, 2])
def test_a_model_of_embedding_and_layers_without_noise(embedding_size):
    """The gradients without dropout, and one model in which V is above and one in which it is below its own size."""
    batch = random_batch(5, 4, 3, np.random.default_rng(12))
    for largest in (4, 512):
        config = config_of("gru", "after", vocabulary_size=5, embedding_size=embedding_size)
        holds(model_errors(make_model(config, seed=1, largest_one_hot=largest), batch))


def test_tied_weights_gather_the_gradients_of_both_uses():
    """dE of a tied model is dE + dW_y of the untied one with the same numbers."""
    V = 5
    batch = random_batch(V, 4, 2, np.random.default_rng(13))
    options = {"vocabulary_size": V, "hidden_size": 3, "embedding_size": 3, "num_layers": 1}
    tied = make_model(config_of("lstm", "", tie_weights=True, **options), seed=2)
    untied = make_model(config_of("lstm", "", **options), seed=3)
    for name in untied.parameters.shapes:
        untied.parameters.value(name)[...] = tied.parameters.value("input.E" if name == "head.W_y" else name)
    losses = [m.loss_and_grads(batch, m.zero_state(2), m.workspace())[0] for m in (tied, untied)]
    assert losses[0] == losses[1]
    both = untied.parameters.grad("input.E") + untied.parameters.grad("head.W_y")
    np.testing.assert_allclose(tied.parameters.grad("input.E"), both, rtol=0, atol=1e-15)
    for name in ("layer0.W", "head.b_y"):
        np.testing.assert_array_equal(tied.parameters.grad(name), untied.parameters.grad(name))


def test_a_batch_without_targets_has_no_loss_and_no_gradient():
    model = make_model(config_of("lstm", ""))
    empty = Batch(np.zeros((3, 2), np.int32), np.full((3, 2), -1, np.int32))
    assert empty.count == 0
    fill_grads(model, np.nan)
    loss, _ = model.loss_and_grads(empty, model.zero_state(2), model.workspace())
    assert loss == 0.0
    assert not model.parameters.grads.any()


class TestTheCheckItself:
    """What measures must be known to measure."""

    def test_differences_are_exact_to_the_bar_for_a_known_function(self):
        array = np.random.default_rng(0).standard_normal((3, 2))
        before = array.copy()
        numeric = numeric_gradient(lambda: float(np.sum(np.tanh(array) ** 3)), array)
        np.testing.assert_array_equal(array, before)
        exact = 3 * np.tanh(array) ** 2 * (1 - np.tanh(array) ** 2)
        assert relative_error(numeric, exact) < BAR / 100

    def test_one_wrong_element_shows(self):
        right = np.array([1.0, 1e-2, 1e-6])
        assert relative_error(right, right) == 0
        for index, size in ((0, 2e-6), (1, 2e-8), (2, 2e-9)):
            wrong = right.copy()
            wrong[index] += size
            assert relative_error(right, wrong) > BAR

    def test_all_zero_gradients_show(self):
        """The mistake of a library that many trust."""
        assert relative_error(np.array([0.5, 0.1]), np.zeros(2)) == 1.0
        with pytest.raises(AssertionError, match="nothing depends on x"):
            compare(lambda: 0.0, {"x": np.ones(2)}, {"x": np.zeros(2)})

    @pytest.mark.parametrize("is_long", [False, True])
    def test_one_wrong_element_of_many_shows_in_both_forms(self, monkeypatch, is_long):
        """By the slopes along directions, whichever element it is."""
        monkeypatch.setattr(forms, "is_long", is_long)
        array = np.random.default_rng(0).standard_normal((5, 7))
        right = 1 / np.cosh(array) ** 2
        for index in np.ndindex(array.shape):
            wrong = right.copy()
            wrong[index] *= 1.001
            for gradient, shows in ((right, False), (wrong, True)):
                errors = compare(lambda: float(np.sum(np.tanh(array))), {"x": array}, {"x": gradient})
                assert (errors["x"] > BAR) == shows

    def test_the_command_prints_every_cell(self, monkeypatch, capsys):
        monkeypatch.setattr(gradcheck, "every_element", False)  # put back afterwards: the command sets it
        monkeypatch.setattr(gradcheck, "CHECKS", {"alone": lambda cell, variant: {"W": 1e-9}})
        assert gradcheck.main() == 0
        printed = capsys.readouterr().out.splitlines()
        assert len(printed) == len(KINDS) + 2 and "1.0e-09" in printed[-1]
        monkeypatch.setattr(gradcheck, "CHECKS", {"alone": lambda cell, variant: {"W": 1e-5}})
        assert gradcheck.main() == 1

    def test_it_finds_a_gradient_that_is_left_out(self, monkeypatch):
        monkeypatch.setattr(Recurrent, "backward", _backward_without_time)
        errors = layer_errors(*make_recurrent("gru-simple", ""), np.random.default_rng(1).standard_normal((4, 3, 2)))
        assert max(errors.values()) > 1e-3


_backward = Recurrent.backward


def _backward_without_time(self, dy, d_state, ws):
    """Forget what comes back from the steps after the sequence."""
    return _backward(self, dy, (), ws)

"""The forward pass against a plain second version of the equations, at their corners, and against PyTorch's."""

import itertools

import numpy as np
import pytest

from charlm.nn.cells import CELLS
from charlm.nn.embedding import InputColumns
from charlm.nn.grads import Grads
from charlm.nn.recurrent import Recurrent
from charlm.nn.workspace import Workspace
from tests import naive
from tests.gradcheck import (
    KINDS,
    OPS,
    config_of,
    each_kind,
    make_model,
    make_recurrent,
    one_hot_columns,
    random_batch,
    random_starts,
)
from tests.gradcheck import random_state as state_of

RESETS = ("after", "before", "both")
SATURATED = 200.0  # a pre-activation at which sigma is 1 exactly, and 0 at its negative


def forward(layer, x, state, starts=None):
    """Give copies of y and of the last state, from a fresh workspace."""
    y, last = layer.forward(x, state, Workspace(OPS, "float64"), starts=starts)
    return y.copy(), last


def rows(layer, gate):
    """Give the rows of W that belong to a gate."""
    H = layer.n_out
    start = layer.cell.gates.index(gate) * H
    return slice(start, start + H)


def test_every_kind_of_cell_has_a_plain_version():
    assert set(naive.GATES) == set(KINDS)
    for (cell, variant), gates in naive.GATES.items():
        assert "".join(CELLS[cell][variant].gates) == gates


@pytest.mark.parametrize("with_starts", [False, True], ids=["whole", "starts"])
@pytest.mark.parametrize(("T", "I", "H", "B"), [(6, 3, 5, 4), (1, 2, 3, 1), (7, 1, 1, 3), (3, 6, 2, 1)])
@each_kind
def test_as_the_plain_version(cell, variant, T, I, H, B, with_starts):
    rng = np.random.default_rng([T, I, H, B])
    layer, parameters = make_recurrent(cell, variant, I, H, seed=T)
    x, state = rng.normal(0, 2, (T, I, B)), state_of(layer, B, rng)
    starts = random_starts(T, B, rng) if with_starts else None
    y, last = forward(layer, x, state, starts)
    plain_y, plain_last = naive.run(cell, variant, parameters.named(parameters.values), x, state, starts)
    np.testing.assert_allclose(y, plain_y, rtol=0, atol=1e-12)
    assert len(last) == len(plain_last) == len(state)
    for array, plain in zip(last, plain_last, strict=True):
        np.testing.assert_allclose(array, plain, rtol=0, atol=1e-12)
    assert y.size < 9 or np.abs(y).max() > 0.01


@each_kind
def test_columns_by_token_are_the_product_with_one_hot_columns(cell, variant):
    """W_x x<t> read from a table gives what the layer itself makes of the columns, on both sides."""
    rng = np.random.default_rng(20)
    layer, parameters = make_recurrent(cell, variant, 3, 4)
    W = parameters.value("W")
    values = parameters.named(parameters.values) | {"W": np.delete(W, [4, 5, 6], axis=1)}
    grads = {name: np.zeros_like(value) for name, value in values.items()}
    ids, state, starts = rng.integers(-1, 3, (5, 2)), state_of(layer, 2, rng), random_starts(5, 2, rng)
    y, last = forward(layer, one_hot_columns(ids, 3), state, starts)
    for side in (0, 1):
        table = InputColumns(OPS, 3, 2 * len(W))
        E = np.full((3, 2 * len(W)), np.nan)
        E[:, side * len(W) : (side + 1) * len(W)] = W[:, 4:7].T
        table.bind({"E": E}, Grads({"E": np.zeros_like(E)}, OPS))
        reading = Recurrent(CELLS[cell][variant](OPS, 0, 4), columns=table, side=side)
        reading.bind(values, Grads(grads, OPS))
        assert (reading.n_in, reading.n_out) == (3, 4)
        found_y, found_last = forward(reading, ids, state, starts)
        for one, other in zip((y, *last), (found_y, *found_last), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)


@pytest.mark.parametrize("largest_one_hot", [3, 512], ids=["look-up", "one-hot"])
@each_kind
def test_a_whole_model_as_the_plain_version(cell, variant, largest_one_hot):
    """Embedding or one-hot tokens, two layers, a dense one, and the softmax, from -ln P of each target."""
    rng = np.random.default_rng(21)
    V = 6
    model = make_model(config_of(cell, variant, vocabulary_size=V, dense=(4,)), seed=5, largest_one_hot=largest_one_hot)
    batch, p = random_batch(V, 5, 3, rng), model.parameters.named(model.parameters.values)
    state = state_of(model.body, 3, rng)
    x = one_hot_columns(batch.inputs, V)
    first = {name[7:]: value for name, value in p.items() if name.startswith("layer0.")}
    if "input.E" in p:  # W_x of the first layer is E^T
        W = first["W"]
        first = first | {"W": np.concatenate([W[:, :-1], p["input.E"].T, W[:, -1:]], axis=1)}
    second = {name[7:]: value for name, value in p.items() if name.startswith("layer1.")}
    at = list(model.body.layers).index("layer0")
    x, after0 = naive.run(cell, variant, first, x, state[at], batch.starts)
    x, after1 = naive.run(cell, variant, second, x, state[at + 1], batch.starts)
    x = np.einsum("mn,tnb->tmb", p["dense0.W"], x) + p["dense0.b"]
    x = np.maximum(x, 0) if variant == "relu" else np.tanh(x)
    plain = naive.cross_entropy(p["head.W_y"], p["head.b_y"], x, batch.targets)

    nats, after = model.nats(batch, state, model.workspace())
    np.testing.assert_allclose(nats, plain, rtol=0, atol=1e-12)
    for array, expected in zip((*after[at], *after[at + 1]), (*after0, *after1), strict=True):
        np.testing.assert_allclose(array, expected, rtol=0, atol=1e-12)
    loss, _ = model.loss_and_grads(batch, state, model.workspace())
    assert loss == pytest.approx(plain.sum(), rel=1e-13)


class TestCorners:
    """What the equations say where a gate is open or closed for good."""

    x = np.random.default_rng(22).standard_normal((5, 3, 2))

    @staticmethod
    def state(layer):
        return state_of(layer, 2, np.random.default_rng(23))

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[0].startswith("gru")], ids="-".join)
    def test_a_closed_update_gate_keeps_the_memory_exactly(self, kind):
        layer, parameters = make_recurrent(*kind)
        state = self.state(layer)
        parameters.value("W")[rows(layer, "u"), -1] = -SATURATED
        y, last = forward(layer, self.x, state)
        assert all(np.array_equal(step, state[0]) for step in y)
        assert np.array_equal(last[0], state[0])

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[0].startswith("gru")], ids="-".join)
    def test_an_open_update_gate_takes_the_candidate(self, kind):
        """c' = c~: with its weights for c at zero, the memory is a function of x alone."""
        layer, parameters = make_recurrent(*kind)
        W = parameters.value("W")
        W[rows(layer, "u"), -1] = SATURATED
        W[rows(layer, "c"), :4] = 0
        if "r" in layer.cell.gates:
            W[rows(layer, "r"), -1] = SATURATED
        if "b_ca" in parameters.shapes:
            parameters.value("b_ca")[...] = 0
        y, _ = forward(layer, self.x, self.state(layer))
        W_c = W[rows(layer, "c")]
        candidate = np.tanh(np.einsum("mi,tib->tmb", W_c[:, 4:7], self.x) + W_c[:, -1:])
        np.testing.assert_allclose(y, candidate, rtol=0, atol=1e-14)

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[0].startswith("lstm")], ids="-".join)
    def test_an_open_forget_gate_and_a_closed_update_gate_keep_the_memory_exactly(self, kind):
        layer, parameters = make_recurrent(*kind)
        state = self.state(layer)
        parameters.value("W")[rows(layer, "u"), -1] = -SATURATED
        parameters.value("W")[rows(layer, "f"), -1] = SATURATED
        y, last = forward(layer, self.x, state)
        assert np.array_equal(last[1], state[1])
        assert (np.abs(y) < np.abs(np.tanh(state[1]))).all()  # and the output gate still says what is shown

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[0].startswith("lstm")], ids="-".join)
    def test_closed_gates_forget_everything_and_show_nothing(self, kind):
        layer, parameters = make_recurrent(*kind)
        for gate in "uf":
            parameters.value("W")[rows(layer, gate), -1] = -SATURATED
        y, last = forward(layer, self.x, self.state(layer))
        assert not y.any() and not last[0].any() and not last[1].any()

        layer, parameters = make_recurrent(*kind)
        parameters.value("W")[rows(layer, "o"), -1] = -SATURATED
        y, last = forward(layer, self.x, self.state(layer))
        assert not y.any() and last[1].all()

    @pytest.mark.parametrize("kind", KINDS, ids="-".join)
    def test_without_weights_and_biases_nothing_happens(self, kind):
        """All z = 0: gates are 1/2, candidates 0; a memory halves at each step."""
        layer, parameters = make_recurrent(*kind)
        parameters.values[...] = 0
        state = self.state(layer)
        y, last = forward(layer, self.x, state)
        if kind[0] == "rnn":
            assert not y.any()
        else:
            np.testing.assert_allclose(last[-1], state[-1] / 2**5, rtol=1e-14)
        if kind[0].startswith("lstm"):
            np.testing.assert_allclose(y[0], np.tanh(state[1] / 2) / 2, rtol=1e-14)

    def test_relu_is_zero_below_and_open_above(self):
        layer, parameters = make_recurrent("rnn", "relu", 1, 1)
        parameters.value("W")[...] = [[1.0, 1.0, 0.0]]  # a sum that never falls below zero
        x = np.array([3.0, 4.0, -9.0, 2.0, 1e6]).reshape(5, 1, 1)
        y, _ = forward(layer, x, layer.zero_state(1))
        np.testing.assert_array_equal(y.ravel(), [3, 7, 0, 2, 1e6 + 2])

    def test_sigmoid(self):
        """Against the definition, and without overflow far out."""
        x = np.linspace(-30, 30, 1001)
        y = x.copy()
        OPS.sigmoid(y)
        np.testing.assert_allclose(y, 1 / (1 + np.exp(-x)), rtol=0, atol=1e-15)
        far = np.array([-1e308, -1e4, 0.0, 1e4, 1e308])
        OPS.sigmoid(far)
        np.testing.assert_array_equal(far, [0, 0, 0.5, 1, 1])


class TestWhereTheRelevanceGateActs:
    """The GRU's three forms differ where they must and agree where they must."""

    rng = np.random.default_rng(23)
    x, state = rng.standard_normal((4, 3, 2)), (rng.standard_normal((4, 2)),)

    def outputs(self, change, *, hidden=4, x=None, state=None):
        """Run the three forms with the same W, after `change(W, row blocks u r c, b_ca)`."""
        outputs = {}
        for reset in RESETS:
            layer, parameters = make_recurrent("gru", reset, hidden=hidden, seed=6)
            W = np.random.default_rng(24).normal(0, 0.8, parameters.value("W").shape)
            b_ca = np.random.default_rng(25).normal(0, 0.8, (hidden, 1))
            change(W, *(slice(k * hidden, (k + 1) * hidden) for k in range(3)), b_ca)
            parameters.value("W")[...] = W
            if reset == "after":
                parameters.value("b_ca")[...] = b_ca
            outputs[reset], _ = forward(layer, self.x if x is None else x, self.state if state is None else state)
        return outputs

    @staticmethod
    def equal(one, other):
        return np.allclose(one, other, rtol=0, atol=1e-14)

    def test_they_differ_in_general(self):
        def change(W, u, r, c, b_ca):
            b_ca[...] = 0

        y = self.outputs(change)
        for one, other in itertools.combinations(RESETS, 2):
            assert np.abs(y[one] - y[other]).max() > 1e-3

    def test_an_open_gate_makes_them_one(self):
        """Gamma_r = 1, and no second bias."""

        def change(W, u, r, c, b_ca):
            W[r, -1], b_ca[...] = SATURATED, 0

        y = self.outputs(change)
        assert self.equal(y["after"], y["before"]) and self.equal(y["after"], y["both"])

    def test_with_an_open_gate_the_second_bias_is_a_bias(self):
        def change(W, u, r, c, b_ca):
            W[r, -1] = SATURATED

        def summed(W, u, r, c, b_ca):
            W[r, -1] = SATURATED
            W[c, -1:] += b_ca
            b_ca[...] = 0

        assert self.equal(self.outputs(change)["after"], self.outputs(summed)["after"])

    def test_a_closed_gate_shuts_out_the_memory_or_all(self):
        """Gamma_r = 0: `before` and `after` leave x its way to the candidate, `both` leaves only the bias."""

        def change(W, u, r, c, b_ca):
            W[r, -1] = -SATURATED

        def only_bias(W, u, r, c, b_ca):
            W[c, :-1] = 0
            b_ca[...] = 0

        y = self.outputs(change)
        assert self.equal(y["after"], y["before"])
        assert np.abs(y["after"] - y["both"]).max() > 1e-3
        assert self.equal(y["both"], self.outputs(only_bias)["before"])

    def test_before_and_after_agree_where_units_do_not_mix(self):
        """Gamma_r (W_c c) = W_c (Gamma_r c) for a diagonal W_c."""

        def change(W, u, r, c, b_ca):
            W[c, :4] *= np.eye(4)
            b_ca[...] = 0

        y = self.outputs(change)
        assert self.equal(y["after"], y["before"])
        assert np.abs(y["after"] - y["both"]).max() > 1e-3

    def test_before_and_after_agree_on_the_first_step_from_nothing(self):
        def change(W, u, r, c, b_ca):
            b_ca[...] = 0

        y = self.outputs(change, state=(np.zeros((4, 2)),))
        assert self.equal(y["after"][0], y["before"][0])
        assert np.abs(y["after"][0] - y["both"][0]).max() > 1e-3
        assert np.abs(y["after"][1] - y["before"][1]).max() > 1e-3


class TestVariantsOfTheLstm:
    x = np.random.default_rng(26).standard_normal((5, 3, 2))

    def outputs(self, variant_cell, change):
        plain, parameters = make_recurrent("lstm", "", seed=7)
        other, others = make_recurrent(*variant_cell, seed=8)
        state = state_of(plain, 2, np.random.default_rng(27))
        for gate in "ufoc":
            others.value("W")[rows(other, gate)] = parameters.value("W")[rows(plain, gate)]
        change(other, others)
        return [(y, *last) for y, last in (forward(layer, self.x, state) for layer in (plain, other))]

    def test_an_open_relevance_gate_makes_it_the_lstm(self):
        def change(layer, parameters):
            parameters.value("W")[rows(layer, "r"), -1] = SATURATED

        for one, other in zip(*self.outputs(("lstm", "relevance"), change), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-14)
        one, other = self.outputs(("lstm", "relevance"), lambda layer, parameters: None)
        assert np.abs(one[0] - other[0]).max() > 1e-3

    @pytest.mark.parametrize("gate", [None, 0, 1, 2])
    def test_without_peepholes_it_is_the_lstm(self, gate):
        def change(layer, parameters):
            P = parameters.value("P").reshape(3, 4)
            P[[k for k in range(3) if k != gate]] = 0

        one, other = self.outputs(("lstm-peephole", ""), change)
        same = all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
        assert same == (gate is None)


class TestAsPytorch:
    """The lstm and the gru whose gate acts `after` are PyTorch's, in values and in gradients."""

    T, I, H, B = 6, 3, 4, 2

    def compare(self, kind, make_module, order, signs):
        """order: our gates in PyTorch's order; signs: -1 for the gate that PyTorch has the other way round."""
        torch = pytest.importorskip("torch")
        rng = np.random.default_rng(28)
        layer, parameters = make_recurrent(*kind, self.I, self.H, seed=9)
        x, state = rng.standard_normal((self.T, self.I, self.B)), state_of(layer, self.B, rng)
        dy, d_state = rng.standard_normal((self.T, self.H, self.B)), state_of(layer, self.B, rng)
        ws = Workspace(OPS, "float64")
        y, last = layer.forward(x, state, ws)
        y = y.copy()
        dx, d_first = layer.backward(dy, d_state, ws)

        module = make_module(torch)(self.I, self.H).double()
        index = np.concatenate([np.arange(*rows(layer, gate).indices(10**6)) for gate in order])
        sign = np.repeat(signs, self.H)
        W = parameters.value("W")[index] * sign[:, None]
        second_bias = np.zeros(len(W))
        if "b_ca" in parameters.shapes:
            second_bias[-self.H :] = parameters.value("b_ca")[:, 0]
        pieces = [W[:, self.H : -1], W[:, : self.H], W[:, -1], second_bias]  # of x, of a, and their biases
        with torch.no_grad():
            for weight, ours in zip(module.parameters(), pieces, strict=True):
                weight.copy_(torch.tensor(ours))

        def tensor(array, *, leaf=True):
            return torch.tensor(np.ascontiguousarray(np.swapaxes(array, -1, -2))).requires_grad_(leaf)

        xs, firsts = tensor(x), [tensor(array[None]) for array in state]
        ys, lasts = module(xs, tuple(firsts) if len(firsts) > 1 else firsts[0])
        lasts = lasts if isinstance(lasts, tuple) else (lasts,)
        total = (ys * tensor(dy, leaf=False)).sum()
        for array, d in zip(lasts, d_state, strict=True):
            total = total + (array[0] * tensor(d, leaf=False)).sum()
        total.backward()

        def close(ours, theirs):
            theirs = np.swapaxes(theirs.detach().numpy(), -1, -2)
            np.testing.assert_allclose(ours, theirs.reshape(ours.shape), rtol=0, atol=1e-12)

        close(y, ys)
        close(dx, xs.grad)
        for ours, theirs in zip((*last, *d_first), (*lasts, *(first.grad for first in firsts)), strict=True):
            close(ours, theirs)
        dW_x, dW_a, db, db_second = (weight.grad.numpy() for weight in module.parameters())
        dW = np.concatenate([dW_a, dW_x, db[:, None]], axis=1) * sign[:, None]
        np.testing.assert_allclose(parameters.grad("W")[index], dW, rtol=0, atol=1e-12)
        if "b_ca" in parameters.shapes:
            np.testing.assert_allclose(parameters.grad("b_ca")[:, 0], db_second[-self.H :], rtol=0, atol=1e-12)

    def test_lstm(self):
        """PyTorch's i, f, g, o are our u, f, c, o."""
        self.compare(("lstm", ""), lambda torch: torch.nn.LSTM, "ufco", [1, 1, 1, 1])

    def test_gru_after(self):
        """PyTorch's r, z, n are our r, 1 - u, c, and sigma(-z) = 1 - sigma(z)."""
        self.compare(("gru", "after"), lambda torch: torch.nn.GRU, "ruc", [1, -1, 1])

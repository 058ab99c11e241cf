"""A device's own stream of sampling draws what the reference draws: the same ids, ln P, banned mass and states."""

import itertools

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.backends.compiled import stream as stream_module
from charlm.config import SampleConfig
from charlm.errors import NonFiniteOutputError, UsageError
from charlm.nn.cells import CELLS
from charlm.nn.dense import Dense
from charlm.nn.drawing import draw, next_token_probs
from charlm.nn.embedding import Embedding, InputColumns
from charlm.nn.grads import Grads
from charlm.nn.heads import Sigmoid, Softmax
from charlm.nn.layer import Stack
from charlm.nn.recurrent import Recurrent
from charlm.nn.stepping import DeviceStepper, ReferenceStepper, stepper_of
from charlm.nn.workspace import Workspace
from charlm.text import UNK_ID
from tests import forms
from tests.compiled import EACH_CORE, compiled_backend
from tests.gradcheck import KINDS, each_kind
from tests.guarded import guard

NUMPY = NumpyBackend()
BARS = {"float64": 1e-12, "float32": 1e-5}
RULES = [
    SampleConfig(length=40, **rules)
    for rules in (
        {},
        {"temperature": 0.0},
        {"temperature": 0.7},
        {"temperature": 1e-9},
        {"temperature": 30.0},
        {"top_k": 1},
        {"top_k": 3},
        {"top_p": 0.0},
        {"top_p": 0.63},
        {"temperature": 1.5, "top_k": 5, "top_p": 0.87},
    )
]


@pytest.fixture(params=EACH_CORE)
def ops(request):
    return compiled_backend(request.param)


class Network:
    """A stack of recurrent layers, the first inputs and a softmax, with random weights that depend on the seed alone.

    layers: cell, variant and hidden units of each layer
    inputs: "one-hot", "looked up", or the size of an embedding
    dense: size and activation of each dense layer
    biases: what is done to the last column of each matrix, which is that of the biases, if it has any
    """

    def __init__(
        self, layers, V, *, inputs="one-hot", dense=(), dtype="float64", seed=0, head=Softmax, biases=np.asarray
    ):
        self.layers, self.V, self.inputs, self.dense = layers, V, inputs, dense
        self.dtype, self.seed, self.head, self.biases = dtype, seed, head, biases

    def on(self, ops):
        """Return the body, the head and the values of all parameters, in order, on a backend."""
        parts, n_in, columns = {}, self.V, None
        for number, (cell, variant, H) in enumerate(self.layers):
            kind = CELLS[cell][variant]
            if number == 0 and self.inputs == "looked up":
                parts["input"] = columns = InputColumns(ops, self.V, len(kind.gates) * H)
                n_in = 0
            elif number == 0 and self.inputs != "one-hot":
                parts["input"], n_in = Embedding(ops, self.V, self.inputs), self.inputs
            own = columns if number == 0 else None
            one_hot = number == 0 and self.inputs == "one-hot"
            parts[f"layer{number}"] = Recurrent(kind(ops, n_in, H), one_hot=one_hot, columns=own)
            n_in = H
        for number, (size, activation) in enumerate(self.dense):
            parts[f"dense{number}"] = Dense(ops, n_in, size, activation)
            n_in = size
        body, head = Stack(parts), self.head(ops, n_in, self.V)
        rng, values = np.random.default_rng(self.seed), []
        for part in (body, head):
            # Of larger weights a small difference would grow from token to token.
            drawn = {name: rng.normal(0, 1.5 / shape[1] ** 0.5, shape) for name, shape in part.shapes().items()}
            for array in drawn.values():
                array[:, -1] = self.biases(array[:, -1])
            own = {name: ops.array(array.astype("float32"), self.dtype) for name, array in drawn.items()}
            part.bind(own, Grads({name: ops.zeros(array.shape, self.dtype) for name, array in drawn.items()}, ops))
            values += own.values()
        return body, head, values

    def stepper(self, ops):
        """Return the stepper of a backend, in an untouched workspace."""
        body, head, _ = self.on(ops)
        return stepper_of(body, head, Workspace(ops, self.dtype))

    def first(self):
        """Return ln P [V] of a first token."""
        logits = np.random.default_rng(self.seed + 1).normal(0, 1, self.V).astype(self.dtype)
        NUMPY.log_softmax(logits)
        return logits


def drawn(stepper, network, config, *, seed=3, banned=(UNK_ID,), end=None):
    rng = np.random.default_rng(seed)
    return list(stepper.draws(network.first(), rng, config, banned=banned, end=end))


def states(stepper):
    """Return the states of all recurrent layers, arrays [H, 1]."""
    if isinstance(stepper, DeviceStepper):
        return list(itertools.chain(*stepper._own._states))
    steps = [stepper._first, *stepper._above]
    return [array for step in steps for array in getattr(step, "_state", ())]


def check(found, expected, bar):
    """Compare two lists of draws, but for the ids."""
    for one, other in zip(found, expected, strict=True):
        assert one[1] == pytest.approx(other[1], abs=bar * max(1, abs(other[1])))
        assert one[2] == pytest.approx(other[2], abs=bar)


@pytest.mark.thinned(2)
@each_kind
@forms.each("count", [1, 2, 3])
def test_every_cell_draws_what_the_reference_draws(ops, cell, variant, count):
    """In layers of sizes that are no multiples of a vector, below each other cell once."""
    at = KINDS.index((cell, variant))
    for number, H in enumerate((1, 7, 16, 33)):
        layers = [(*KINDS[(at + k) % len(KINDS)], (H + 6 * k) % 34) for k in range(count)]
        network = Network(layers, V=(2, 9, 33, 70)[number], inputs=("one-hot", "looked up", 3, 20)[number])
        network.seed = number
        stepper, reference = network.stepper(ops), network.stepper(NUMPY)
        assert isinstance(stepper, DeviceStepper) and isinstance(reference, ReferenceStepper)
        found, expected = (drawn(one, network, SampleConfig(length=50)) for one in (stepper, reference))
        assert [token[0] for token in found] == [token[0] for token in expected]
        check(found, expected, 1e-12)
        for array, right in zip(states(stepper), states(reference), strict=True):
            np.testing.assert_allclose(array, right, rtol=0, atol=1e-12)


@forms.each("config, banned", itertools.product(RULES, [(), (UNK_ID,), (0, 1, 5)]), thinned=4)
@pytest.mark.parametrize("V", [7, 65, 1000])
def test_every_rule_draws_what_the_reference_draws(ops, V, config, banned):
    network = Network([("lstm", "", 12), ("gru", "after", 9)], V, inputs=5, seed=V)
    stepper, reference = network.stepper(ops), network.stepper(NUMPY)
    zero = [np.zeros_like(array) for array in states(reference)]
    for seed in range(3):
        found = drawn(stepper, network, config, seed=seed, banned=banned)
        expected = drawn(reference, network, config, seed=seed, banned=banned)
        assert [token[0] for token in found] == [token[0] for token in expected]
        check(found, expected, 1e-12)
        for one in (stepper, reference):
            one.load(((), (zero[0], zero[1]), (zero[2],)))


@forms.each("config", RULES)
@pytest.mark.parametrize("dense", [(), ((17, "tanh"),), ((5, "relu"), (18, "tanh"))], ids=str)
def test_in_single_precision_all_but_close_draws_are_the_reference_s(ops, config, dense):
    """The reference reads in double precision what was drawn, so that one different draw does not change the next."""
    network = Network([("lstm", "relevance", 19), ("gru", "before", 23)], 50, inputs="looked up", dense=dense)
    exact, network.dtype, same = network.stepper(NUMPY), "float32", []
    numbers, log_probs = np.random.default_rng(3).random(config.length), network.first()
    for number, (token_id, log_prob, mass) in zip(numbers, drawn(network.stepper(ops), network, config), strict=True):
        probs, right_mass = next_token_probs(log_probs, config)
        same.append(token_id == draw(probs, At(number)))
        assert log_prob == pytest.approx(log_probs[token_id], abs=1e-5 * max(1, abs(log_prob)))
        assert mass == pytest.approx(right_mass, abs=1e-5)
        log_probs = exact.next_log_probs(token_id)
    assert np.mean(same) >= 0.95


class At:
    """A generator whose numbers are all the same."""

    def __init__(self, number):
        self.number = number

    def random(self, size=None):
        return self.number if size is None else np.full(size, self.number)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("dtype", BARS)
def test_any_log_probabilities_are_drawn_from_alike(ops, times, dtype):
    """With ties, gaps of 1e4 nats, the banned ones the likeliest, and, in double precision, numbers at the edges."""
    rng = np.random.default_rng(4)
    edges = itertools.product([0.0, 5e-324, 1e-8, 1.0, 1e8, 1e300], [None, 1, 3, 40, 1 << 40], [None, 0.0, 0.5171, 1.0])
    configs = [SampleConfig(length=1, temperature=t, top_k=k, top_p=p) for t, k, p in edges]
    for V in (2, 3, 16, 17, 61, 300)[: times(5, 6)]:
        network = Network([("rnn", "tanh", 2)], V, dtype=dtype)
        stepper = network.stepper(ops)
        for kind in ("spread", "ties", "same"):
            scores = rng.normal(0, rng.choice([1.0, 30.0, 1e4]), V) if kind == "spread" else rng.integers(0, 3, V) * 0.7
            log_probs = (np.zeros(V) if kind == "same" else scores).astype(dtype)
            NUMPY.log_softmax(log_probs)
            # The core's e^x is 0 where that of NumPy is denormal.
            numbers = [1e-290 if kind == "spread" else 0.0, 0.1237, 0.4327, 0.7351, 0.9173, np.nextafter(1.0, 0.0)]
            for config, banned in itertools.product(configs, ((), (1,), (int(log_probs.argmax()),))):
                at = At(rng.choice(numbers) if dtype == "float64" else rng.random())
                probs, mass = next_token_probs(log_probs, config, banned=banned)
                ((token_id, log_prob, found_mass),) = stepper.draws(log_probs, at, config, banned=banned)
                assert token_id == draw(probs, at)
                assert log_prob == pytest.approx(log_probs[token_id], rel=BARS[dtype], abs=BARS[dtype])
                assert found_mass == pytest.approx(mass, abs=BARS[dtype])


@pytest.mark.parametrize("most", [1, 2, 7, 1000])
def test_how_many_tokens_a_call_draws_changes_nothing(ops, monkeypatch, most):
    network = Network([("lstm", "", 6), ("lstm-peephole", "", 5)], 30, inputs=4)
    config = SampleConfig(length=41, temperature=1.1, top_k=20)
    expected = drawn(network.stepper(ops), network, config)
    monkeypatch.setattr(stream_module, "_MOST", most)
    assert drawn(network.stepper(ops), network, config) == expected
    monkeypatch.setattr(stream_module, "_WEIGHTS", 1)
    assert drawn(network.stepper(ops), network, config) == expected


@pytest.mark.parametrize("room", [1, 3, 10])
def test_there_may_be_room_for_a_few_tokens_alone(ops, monkeypatch, room):
    network = Network([("gru", "both", 6)], 30, inputs=4)
    expected = drawn(network.stepper(NUMPY), network, SampleConfig(length=100))
    monkeypatch.setattr(stream_module, "_KNOWN", room * 18)
    found = drawn(network.stepper(ops), network, SampleConfig(length=100))
    assert [token[0] for token in found] == [token[0] for token in expected]
    check(found, expected, 1e-12)


def test_nothing_is_drawn_after_the_end(ops):
    network = Network([("lstm", "", 6)], 9)
    without = [token[0] for token in drawn(network.stepper(ops), network, SampleConfig(length=60))]
    end = without[10]
    up_to_it = without[: without.index(end) + 1]
    for one in (ops, NUMPY):
        assert [
            token[0] for token in drawn(network.stepper(one), network, SampleConfig(length=60), end=end)
        ] == up_to_it
    assert drawn(network.stepper(ops), network, SampleConfig(length=0)) == []


@pytest.mark.parametrize("dtype", BARS)
@forms.each("value", [np.nan, np.inf, -np.inf])
@forms.each("where", ["never", "later", "b_y"])
def test_what_is_not_finite_is_an_error_after_the_tokens_before_it(ops, dtype, value, where):
    """In the embedding of a token that is never drawn, in that of one that is drawn later, and in the last layer."""
    network = Network([("rnn", "relu", 6)], 9, inputs=4, dtype=dtype, seed=2)
    expected = [token[0] for token in drawn(network.stepper(NUMPY), network, SampleConfig(length=30))]
    counts = []
    for one in (ops, NUMPY):
        body, head, values = network.on(one)
        if where == "b_y":
            values[-1][4] = value
        else:
            values[0][expected[20] if where == "later" else UNK_ID] = value
        stepper, got = stepper_of(body, head, Workspace(one, dtype)), []
        try:
            for token in stepper.draws(network.first(), np.random.default_rng(3), SampleConfig(length=30), banned=(1,)):
                got.append(token[0])
        except NonFiniteOutputError as error:
            assert "NaN or infinity" in error.message
        counts.append(len(got))
        assert got == expected[: len(got)]
    assert counts == [{"never": 30, "b_y": 1, "later": expected.index(expected[20]) + 1}[where]] * 2


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_token_is_left(ops, temperature):
    network = Network([("rnn", "tanh", 3)], 3)
    with pytest.raises(UsageError, match="no token is left to draw"):
        drawn(network.stepper(ops), network, SampleConfig(temperature=temperature), banned=(0, 1, 2))


@each_kind
def test_no_element_beyond_an_array_is_written(ops, cell, variant):
    made = guard(ops)
    for H, V in ((5, 9), (16, 33), (33, 70)):
        network = Network([(cell, variant, H), (cell, variant, H + 3)], V, inputs=H + 1, dense=((H + 2, "relu"),))
        drawn(network.stepper(ops), network, SampleConfig(length=20, top_k=4, top_p=0.9))
    assert len(made) > 20 and all(memory.is_whole() for memory in made)


def test_what_is_given_is_neither_changed_nor_followed(ops):
    network = Network([("gru", "after", 6)], 9)
    stepper, log_probs, state = network.stepper(ops), network.first(), ((np.full((6, 1), 0.5),),)
    stepper.load(state)
    expected = drawn(stepper, network, SampleConfig(length=20))
    np.testing.assert_array_equal(log_probs, network.first())
    assert (state[0][0] == 0.5).all()
    stepper.load(state)
    state[0][0][...] = 7.0
    found = []
    for token in stepper.draws(log_probs, np.random.default_rng(3), SampleConfig(length=20), banned=(UNK_ID,)):
        log_probs[...] = 7.0
        found.append(token)
    assert found == expected


def test_another_head_takes_the_reference(ops):
    network = Network([("rnn", "tanh", 3)], 5, head=Sigmoid)
    assert isinstance(network.stepper(ops), ReferenceStepper)

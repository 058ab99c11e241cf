"""What each output can see: only its own sequence, only what came before, and nothing from before a start.

What an output must not depend on leaves it bit-equal when it changes; what it must depend on changes it.
"""

import numpy as np
import pytest

from charlm.nn.dropout import Dropout
from charlm.nn.layer import Stack
from charlm.nn.workspace import Workspace
from tests.gradcheck import OPS, bind, config_of, each_kind, leaves, make_model, make_recurrent, random_state

pytestmark = pytest.mark.usefixtures("each_backend")

T, I, B = 6, 3, 3
AT, COLUMN = 3, 1  # where the change is made


@pytest.fixture
def rng():
    return np.random.default_rng(30)


def awake(cell, variant, n_in=I, **options):
    """Make a layer whose rectified units, if it has some, are all on for small inputs: one that is off sees nothing."""
    layer, parameters = make_recurrent(cell, variant, n_in, seed=2, **options)
    if variant == "relu":
        parameters.value("W")[...] = np.abs(parameters.value("W"))
        parameters.value("W")[:, -1] += 10
    return layer, parameters


def forward(layer, x, state, starts=None, noise=None):
    y, last = layer.forward(x, state, Workspace(OPS, "float64"), starts=starts, noise=noise)
    return y.copy(), leaves(last)


def same(one, other):
    return np.array_equal(one, other)


def assert_only_seen_later(before, after):
    """y [T, n, B]: changed in COLUMN from AT on, at each step, and bit-equal everywhere else."""
    others = np.arange(B) != COLUMN
    assert same(before[:, :, others], after[:, :, others])
    assert same(before[:AT], after[:AT])
    for t in range(AT, T):
        assert not same(before[t, :, COLUMN], after[t, :, COLUMN]), t


def assert_only_seen_in_column(before, after):
    """Arrays [n, B] of a state."""
    others = np.arange(B) != COLUMN
    for one, other in zip(before, after, strict=True):
        assert same(one[:, others], other[:, others])
        assert not same(one[:, COLUMN], other[:, COLUMN])


@each_kind
def test_an_input_is_seen_from_its_step_on_and_in_its_column(cell, variant, rng):
    layer, _ = awake(cell, variant)
    x, state = rng.standard_normal((T, I, B)), random_state(layer, B, rng)
    y, last = forward(layer, x, state)
    x[AT, 0, COLUMN] += 0.5
    changed, changed_last = forward(layer, x, state)
    assert_only_seen_later(y, changed)
    assert_only_seen_in_column(last, changed_last)


@each_kind
def test_a_state_is_seen_by_all_steps_of_its_column(cell, variant, rng):
    layer, _ = awake(cell, variant)
    x, state = rng.standard_normal((T, I, B)), random_state(layer, B, rng)
    y, last = forward(layer, x, state)
    for array in state:
        array[0, COLUMN] += 0.5
        changed, changed_last = forward(layer, x, state)
        assert same(np.delete(y, COLUMN, axis=2), np.delete(changed, COLUMN, axis=2))
        assert all(not same(y[t, :, COLUMN], changed[t, :, COLUMN]) for t in range(T))
        assert_only_seen_in_column(last, changed_last)
        y, last = changed, changed_last


@each_kind
def test_nothing_is_seen_across_a_start(cell, variant, rng):
    """What comes before the start of a column changes nothing in it from there on; in the other columns it does."""
    layer, _ = awake(cell, variant)
    x, state = rng.standard_normal((T, I, B)), random_state(layer, B, rng)
    starts = np.zeros((T, B), bool)
    starts[AT, COLUMN] = True
    y, last = forward(layer, x, state, starts)
    unmasked, _ = forward(layer, x, state)
    assert same(y[:AT], unmasked[:AT]) and not same(y[AT, :, COLUMN], unmasked[AT, :, COLUMN])
    assert same(np.delete(y, COLUMN, axis=2), np.delete(unmasked, COLUMN, axis=2))

    x[:AT] += rng.uniform(0.1, 0.5, (AT, I, B))
    for array in state:
        array += rng.uniform(0.1, 0.5, array.shape)
    changed, changed_last = forward(layer, x, state, starts)
    assert not same(y[:AT, :, COLUMN], changed[:AT, :, COLUMN])
    assert same(y[AT:, :, COLUMN], changed[AT:, :, COLUMN])
    assert all(same(one[:, COLUMN], other[:, COLUMN]) for one, other in zip(last, changed_last, strict=True))
    for column in set(range(B)) - {COLUMN}:
        assert all(not same(y[t, :, column], changed[t, :, column]) for t in range(T))


@each_kind
def test_a_start_at_the_first_step_forgets_the_given_state(cell, variant, rng):
    layer, _ = awake(cell, variant)
    x, state = rng.standard_normal((T, I, B)), random_state(layer, B, rng)
    starts = np.zeros((T, B), bool)
    starts[0] = True
    y, last = forward(layer, x, state, starts)
    zero_y, zero_last = forward(layer, x, layer.zero_state(B))
    assert same(y, zero_y)
    assert all(same(one, other) for one, other in zip(last, zero_last, strict=True))
    assert not same(y, forward(layer, x, state)[0])


@each_kind
def test_a_gradient_goes_back_to_its_start_and_no_further(cell, variant, rng):
    """A loss at one step, and one of the last state: dx is 0 exactly after the step, before the start, and beside."""
    layer, _ = awake(cell, variant)
    x, state = rng.standard_normal((T, I, B)), random_state(layer, B, rng)
    starts = np.zeros((T, B), bool)
    starts[2, COLUMN] = True
    ws, zeros = Workspace(OPS, "float64"), np.zeros((T, layer.n_out, B))

    dy = zeros.copy()
    dy[4, :, COLUMN] = 1
    layer.forward(x, state, ws, starts=starts)
    dx, d_state = layer.backward(dy, (), ws)
    seen = np.zeros((T, B), bool)
    seen[2:5, COLUMN] = True
    assert same(np.any(dx != 0, axis=1), seen)
    assert not any(array.any() for array in d_state)

    d_last = tuple(np.ones_like(array) for array in state)
    layer.forward(x, state, ws, starts=starts)
    dx, d_state = layer.backward(zeros, d_last, ws)
    seen[...] = True
    seen[:2, COLUMN] = False
    assert same(np.any(dx != 0, axis=1), seen)
    for array in d_state:
        assert not array[:, COLUMN].any() and np.delete(array, COLUMN, axis=1).any(axis=0).all()


@pytest.mark.parametrize("options", [{}, {"embedding_size": 3, "dense": (4, 3)}], ids=["one-hot", "embedding-dense"])
@each_kind
def test_a_model_sees_tokens_in_the_same_way(cell, variant, options, rng):
    """-ln P of every next token, by a change of one id; also from and to the zero vector."""
    model = make_model(config_of(cell, variant, vocabulary_size=7, hidden_size=4, **options), seed=3)
    p = model.parameters
    for name in p.shapes:
        if variant == "relu" and name.endswith(".W"):  # all rectified units on: those that are off see nothing
            p.value(name)[...] = np.abs(p.value(name))
            bias = p.value(name)[:, -1:] if name.startswith("layer") else p.value(name[:-1] + "b")
            bias += 10
    ids = rng.integers(0, 7, (T, B))
    state = random_state(model.body, B, rng)

    def log_probs(ids):
        y, _ = model.body.forward(ids, state, model.workspace())
        return model.head.log_probs(y, model.workspace()).reshape(7, T, B).transpose(1, 0, 2).copy()

    before = log_probs(ids)
    for token in ((ids[AT, COLUMN] + 1) % 7, -1):
        changed = ids.copy()
        changed[AT, COLUMN] = token
        assert_only_seen_later(before, log_probs(changed))


def test_dropout_does_not_mix_what_it_masks(rng):
    """With noise, a stack's outputs see as they do without."""
    layers = {"a": make_recurrent("lstm", "", I, 5)[0], "drop": Dropout(OPS, 5, 0.5, place=1)}
    stack = Stack({**layers, "b": make_recurrent("gru", "after", 5, 4)[0]})
    bind(stack, 1)
    x, state = rng.standard_normal((T, I, B)), random_state(stack, B, rng)
    y, _ = forward(stack, x, state, noise=7)
    assert not same(y, forward(stack, x, state)[0])
    x[AT, :, COLUMN] += 1
    assert_only_seen_later(y, forward(stack, x, state, noise=7)[0])

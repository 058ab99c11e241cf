"""The layers that read from both sides: against one that reads from the left, on sequences turned around by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.nn.cells import CELLS
from charlm.nn.directions import BothWays, LastSteps, Reversed, Towers, mirrored
from charlm.nn.embedding import Embedding, InputColumns
from charlm.nn.layer import Stack
from charlm.nn.recurrent import Recurrent
from charlm.nn.workspace import Workspace
from tests.forms import properties
from tests.gradcheck import (
    OPS,
    bind,
    each_kind,
    first_clear,
    holds,
    layer_errors,
    leaves,
    make_recurrent,
    random_starts,
    random_state,
)

H = 2
SEQUENCES = ([3, 1, 4], [8], [2, 5])  # lengths in three lanes; the last one ends a step early
T = 8


def spans():
    """Give lane, first and stop of each sequence, and the starts, the one of what is left of a lane among them."""
    starts, found = np.zeros((T, len(SEQUENCES)), bool), []
    for lane, lengths in enumerate(SEQUENCES):
        at = 0
        for length in lengths:
            starts[at, lane] = True
            found.append((lane, at, at + length))
            at += length
        starts[at : at + 1, lane] = True
    return found, starts


def workspace():
    return Workspace(OPS, "float64")


def alone(layer, x):
    """Run one sequence [n, I] or [n] by itself from the zero state; give [n, n_out]."""
    y, _ = layer.forward(x[..., None], layer.zero_state(1), workspace())
    return y[:, :, 0].copy()


def two(cell, variant, n_in, **options):
    return [Recurrent(CELLS[cell][variant](OPS, n_in, H), **options) for _ in range(2)]


def tower(cell, variant, tokens):
    """Two layers on tokens."""
    one, other = (Recurrent(CELLS[cell][variant](OPS, n_in, H)) for n_in in (tokens, H))
    return Stack({"input": Embedding(OPS, tokens, tokens), "layer0": one, "layer1": other})


# --- starts ----------------------------------------------------------------------------------------------------------


@properties(15, 60)
@given(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=6), min_size=1, max_size=4))
def test_turned_around_a_sequence_begins_where_it_ended(lanes):
    """Lanes of equal length, of sequences of these lengths: turned around, the lengths come in the other order."""
    length = max(map(sum, lanes))
    lanes = [[*lane, *[1] * (length - sum(lane))] for lane in lanes]
    starts = np.zeros((length, len(lanes)), bool)
    for number, lane in enumerate(lanes):
        starts[np.cumsum([0, *lane[:-1]]), number] = True
    turned = mirrored(starts)
    for number, lane in enumerate(lanes):
        begins = [*np.flatnonzero(turned[:, number]).tolist(), length]
        assert begins[0] == 0 and np.diff(begins).tolist() == lane[::-1]
    assert np.array_equal(mirrored(turned), starts)


def test_without_starts_there_are_none():
    assert mirrored(None) is None


# --- what is computed ------------------------------------------------------------------------------------------------


@each_kind
def test_a_reversed_layer_reads_each_sequence_from_its_end(cell, variant):
    layer, _ = make_recurrent(cell, variant, 3, 4)
    x = np.random.default_rng(1).standard_normal((T, 3, 3))
    found, starts = spans()
    y, _ = Reversed(layer).forward(x, random_state(layer, 3, np.random.default_rng(2)), workspace(), starts=starts)
    for lane, first, stop in found:
        expected = alone(layer, x[first:stop, :, lane][::-1])[::-1]
        np.testing.assert_allclose(y[first:stop, :, lane], expected, rtol=0, atol=1e-13)


@each_kind
def test_a_reversed_layers_state_comes_in_at_the_end_and_goes_out_at_the_beginning(cell, variant):
    layer, _ = make_recurrent(cell, variant, 3, 4)
    rng = np.random.default_rng(3)
    x, state = rng.standard_normal((5, 3, 2)), random_state(layer, 2, rng)
    y, last = Reversed(layer).forward(x, state, workspace())
    late, between = Reversed(layer).forward(x[3:], state, workspace())
    late = late.copy()
    early, end = Reversed(layer).forward(x[:3], between, workspace())
    np.testing.assert_array_equal(y, np.concatenate([early, late]))
    for one, other in zip(last, end, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.array_equal(last[0], y[0]) and not np.array_equal(last[0], y[-1])


@each_kind
def test_both_ways_is_both_one_below_the_other(cell, variant):
    left, right = two(cell, variant, 3)
    layer = BothWays(left, right)
    p = bind(layer, 4)
    assert {name.split(".")[0] for name in p.shapes} == {"from_left", "from_right"}
    x = np.random.default_rng(5).standard_normal((T, 3, 3))
    found, starts = spans()
    y = layer.forward(x, layer.zero_state(3), workspace(), starts=starts)[0].copy()
    for lane, first, stop in found:
        own = x[first:stop, :, lane]
        both = np.concatenate([alone(left, own), alone(right, own[::-1])[::-1]], axis=1)
        np.testing.assert_allclose(y[first:stop, :, lane], both, rtol=0, atol=1e-13)


@each_kind
def test_towers_have_read_what_is_before_and_what_is_after(cell, variant):
    """The left one the zero vector and all tokens but the last, the right one all but the first and the zero vector."""
    left, right = tower(cell, variant, 5), tower(cell, variant, 5)
    layer = Towers(left, right)
    bind(layer, 6)
    ids = np.random.default_rng(7).integers(0, 5, (T, 3))
    given = ids.copy()
    found, starts = spans()
    y = layer.forward(ids, layer.zero_state(3), workspace(), starts=starts)[0].copy()
    assert np.array_equal(ids, given)
    whole = layer.forward(ids[:, 1:2], layer.zero_state(1), workspace())[0]
    np.testing.assert_allclose(y[:, :, 1], whole[:, :, 0], rtol=0, atol=1e-13)  # a lane of one sequence needs no starts
    for lane, first, stop in found:
        own = ids[first:stop, lane]
        before, after = np.concatenate([[-1], own[:-1]]), np.concatenate([own[1:], [-1]])
        both = np.concatenate([alone(left, before), alone(right, after[::-1])[::-1]], axis=1)
        np.testing.assert_allclose(y[first:stop, :, lane], both, rtol=0, atol=1e-13)


def test_the_last_step_of_each_sequence_has_both_last_states():
    both = BothWays(*two("rnn", "tanh", 3))
    layer = LastSteps(both)
    x = np.random.default_rng(8).standard_normal((T, 2 * H, 3))
    found, starts = spans()
    y, state = layer.forward(x, (), workspace(), starts=starts)
    assert state == ()
    for lane, first, stop in found:
        assert np.array_equal(y[stop - 1, :, lane], [*x[stop - 1, :H, lane], *x[first, H:, lane]])
        assert np.array_equal(y[first : stop - 1, :H, lane], x[first : stop - 1, :H, lane])
        assert not y[first : stop - 1, H:, lane].any()
    without = layer.forward(x, (), workspace())[0]
    assert np.array_equal(without[-1, H:], x[0, H:]) and not without[:-1, H:].any()


# --- gradients -------------------------------------------------------------------------------------------------------


def check(make, x, *, states=True, **options):
    """Check a layer by differences, from random states, with and without starts."""
    for starts in (None, random_starts(x.shape[0], x.shape[-1], np.random.default_rng(9))):
        layer, parameters = first_clear(make, x, starts=starts, **options)
        errors = layer_errors(layer, parameters, x, starts=starts, **options)
        holds(errors)
        assert not states or sum(name.startswith("state") for name in errors) == len(leaves(layer.zero_state(1)))
    return errors


@each_kind
def test_gradients_of_a_reversed_layer(cell, variant):
    def make(seed):
        layer = Reversed(two(cell, variant, 2)[0])
        return layer, bind(layer, seed)

    assert "x" in check(make, np.random.default_rng(10).standard_normal((4, 2, 2)))


@each_kind
def test_gradients_of_both_ways(cell, variant):
    def make(seed):
        layer = BothWays(*two(cell, variant, 2))
        return layer, bind(layer, seed)

    errors = check(make, np.random.default_rng(11).standard_normal((4, 2, 2)))
    assert {"x", "from_left.W", "from_right.W"} <= set(errors)


@pytest.mark.parametrize(("cell", "variant"), [("gru", "both"), ("lstm-peephole", "")])
def test_gradients_of_both_ways_on_a_look_up(cell, variant):
    """The rows of one table are W_x x<t> of both sides, one beside the other."""

    def make(seed):
        kind = CELLS[cell][variant]
        columns = InputColumns(OPS, 3, 2 * len(kind.gates) * H)
        sides = [Recurrent(kind(OPS, 0, H), columns=columns, side=side) for side in (0, 1)]
        stack = Stack({"input": columns, "layer0": BothWays(*sides)})
        return stack, bind(stack, seed)

    check(make, np.random.default_rng(12).integers(-1, 3, (4, 2)))


@each_kind
def test_gradients_of_towers(cell, variant):
    def make(seed):
        sides = [Stack({"layer0": two(cell, variant, 3, one_hot=True)[0]}) for _ in range(2)]
        layer = Towers(*sides)
        return layer, bind(layer, seed)

    errors = check(make, np.random.default_rng(22).integers(0, 3, (4, 3)))
    assert {"from_left.layer0.W", "from_right.layer0.W"} <= set(errors)


def test_gradients_of_deep_towers_on_embeddings():
    def make(seed):
        layer = Towers(tower("gru", "after", 3), tower("lstm", "", 3))
        return layer, bind(layer, seed)

    check(make, np.random.default_rng(14).integers(-1, 3, (4, 2)))


def test_gradients_of_the_last_steps():
    """Of the layer alone, at every step, and of the two together, also with a sequence of one step."""
    both = BothWays(*two("gru", "after", 2))
    last = LastSteps(both)
    check(lambda _: (last, bind(last, 0)), np.random.default_rng(15).standard_normal((5, 2 * H, 2)), states=False)

    def make(seed):
        stack = Stack({"layer0": BothWays(*two("gru", "after", 2)), "ends": LastSteps(both)})
        return stack, bind(stack, seed)

    check(make, np.random.default_rng(16).standard_normal((5, 2, 2)))


def test_gradients_of_an_encoder():
    """A deep network that reads from the right, of which only the last states are asked for."""

    def make(seed):
        layer = Reversed(tower("lstm", "", 3))
        return layer, bind(layer, seed)

    errors = check(make, np.random.default_rng(17).integers(-1, 3, (4, 2)))
    assert {"input.E", "layer0.W", "layer1.W"} < set(errors)


@each_kind
def test_no_state_gradient_is_zero_and_gradients_add_up(cell, variant):
    layer = BothWays(*two(cell, variant, 2))
    parameters, rng = bind(layer, 18), np.random.default_rng(19)
    x, state = rng.standard_normal((4, 2, 2)), random_state(layer, 2, rng)
    dy, results = rng.standard_normal((4, 2 * H, 2)), []
    for d_state, before in ((), 0.0), (layer.zero_state(2), 3.0):
        parameters.grads[...] = before
        ws = workspace()
        layer.forward(x, state, ws)
        dx, d_first = layer.backward(dy, d_state, ws)
        results.append([dx.copy(), *leaves(d_first), parameters.grads - before])
    for one, other in zip(*results, strict=True):
        assert one.any()
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)

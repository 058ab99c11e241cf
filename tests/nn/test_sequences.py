"""A sequence is the same however it is cut, packed or computed: in chunks, in lanes, in used buffers, in float32."""

import itertools

import numpy as np
import pytest

from charlm.nn.dense import Dense
from charlm.nn.dropout import Dropout
from charlm.nn.layer import Stack
from charlm.nn.workspace import Workspace
from charlm.text.batches.lanes import Batch
from tests.gradcheck import (
    KINDS,
    OPS,
    bind,
    config_of,
    each_kind,
    leaves,
    make_model,
    make_recurrent,
    random_batch,
    random_starts,
    random_state,
)

OPTIONS = {  # of whole models
    "one-hot": {},
    "look-up": {"largest_one_hot": 3},
    "all": {"embedding_size": 4, "dense": (5, 4), "tie_weights": True, "dropout": 0.3},
}


def model_of(cell, variant, options="all", *, seed=0, **more):
    options = {**OPTIONS[options], **more}
    largest = options.pop("largest_one_hot", None)
    return make_model(config_of(cell, variant, **options), seed=seed, largest_one_hot=largest)


def cut(batch, *edges):
    """Cut a batch in time."""
    for start, stop in itertools.pairwise((0, *edges, len(batch.inputs))):
        mask = None if batch.starts is None else batch.starts[start:stop]
        yield Batch(batch.inputs[start:stop], batch.targets[start:stop], mask)


class TestChunks:
    T, B = 9, 3
    EDGES = (0, 1, 4, 9)

    @pytest.mark.parametrize("with_starts", [False, True], ids=["whole", "starts"])
    @each_kind
    def test_forward_is_bit_equal(self, cell, variant, with_starts):
        """Whoever trains on chunks, or generates token by token, computes the very same numbers."""
        rng = np.random.default_rng(40)
        stack = Stack({name: make_recurrent(cell, variant, 3, 3, seed=seed)[0] for seed, name in enumerate("ab")})
        bind(stack, 1)
        x, state = rng.standard_normal((self.T, 3, self.B)), random_state(stack, self.B, rng)
        starts = random_starts(self.T, self.B, rng) if with_starts else None
        y, last = stack.forward(x, state, Workspace(OPS, "float64"), starts=starts)
        ws = Workspace(OPS, "float64")
        for start, stop in itertools.pairwise(self.EDGES):
            mask = None if starts is None else starts[start:stop]
            chunk, state = stack.forward(x[start:stop], state, ws, starts=mask)
            np.testing.assert_array_equal(chunk, y[start:stop])
        for one, other in zip(leaves(state), leaves(last), strict=True):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("with_starts", [False, True], ids=["whole", "starts"])
    @each_kind
    def test_gradients_add_up_when_the_state_gradient_is_passed_back(self, cell, variant, with_starts):
        rng = np.random.default_rng(41)
        layer, parameters = make_recurrent(cell, variant, 3, 4)
        x, first = rng.standard_normal((self.T, 3, self.B)), random_state(layer, self.B, rng)
        dy, d_last = rng.standard_normal((self.T, 4, self.B)), random_state(layer, self.B, rng)
        starts = random_starts(self.T, self.B, rng) if with_starts else None
        ws = Workspace(OPS, "float64")
        layer.forward(x, first, ws, starts=starts)
        dx, d_first = layer.backward(dy, d_last, ws)
        whole = parameters.grads.copy()

        parameters.grads[...] = 0
        passes, state = [], first
        for start, stop in itertools.pairwise(self.EDGES):
            chunk_ws = Workspace(OPS, "float64")  # forward and backward alternate on one workspace
            mask = None if starts is None else starts[start:stop]
            _, state = layer.forward(x[start:stop], state, chunk_ws, starts=mask)
            passes.append((start, stop, chunk_ws))
        for start, stop, chunk_ws in reversed(passes):
            chunk, d_last = layer.backward(dy[start:stop], d_last, chunk_ws)
            np.testing.assert_allclose(chunk, dx[start:stop], rtol=0, atol=1e-12)
        np.testing.assert_allclose(parameters.grads, whole, rtol=0, atol=1e-12)
        for one, other in zip(d_last, d_first, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("options", OPTIONS)
    @each_kind
    def test_of_a_model(self, cell, variant, options):
        model = model_of(cell, variant, options)
        batch = random_batch(6, self.T, self.B, np.random.default_rng(42))
        state = random_state(model.body, self.B, np.random.default_rng(43))
        nats, last = model.nats(batch, state, model.workspace())
        ws, chunks = model.workspace(), []
        for chunk in cut(batch, 2, 3):
            one, state = model.nats(chunk, state, ws)
            chunks.append(one)
        np.testing.assert_allclose(np.concatenate(chunks), nats, rtol=0, atol=1e-12)
        for one, other in zip(leaves(state), leaves(last), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS)
@each_kind
def test_packed_lanes_are_each_line_alone(cell, variant, options):
    """Lines of several lengths one after the other in two lanes, a start at each: the same as each line by itself."""
    model, rng = model_of(cell, variant, options), np.random.default_rng(44)
    lanes = [[3, 1, 4], [2, 5, 1]]
    inputs, targets = rng.integers(0, 6, (2, 8, 2), dtype=np.int32)
    starts = np.zeros((8, 2), bool)
    lines = []
    for column, lengths in enumerate(lanes):
        for start, stop in itertools.pairwise(np.cumsum([0, *lengths])):
            starts[start, column], inputs[start, column] = True, -1
            lines.append((slice(start, stop), slice(column, column + 1)))
    batch, stale = Batch(inputs, targets, starts), random_state(model.body, 2, rng)
    nats, last = model.nats(batch, stale, model.workspace())
    loss, _ = model.loss_and_grads(batch, stale, model.workspace())
    grads, loss_alone, grads_alone = model.parameters.grads * batch.count, 0.0, 0.0
    for steps, column in lines:
        alone = Batch(inputs[steps, column], targets[steps, column])
        nats_alone, last_alone = model.nats(alone, model.zero_state(1), model.workspace())
        np.testing.assert_allclose(nats[steps, column], nats_alone, rtol=0, atol=1e-12)
        if steps.stop == 8:
            for packed, single in zip(leaves(last), leaves(last_alone), strict=True):
                np.testing.assert_allclose(packed[:, column], single, rtol=0, atol=1e-12)
        loss_alone += model.loss_and_grads(alone, model.zero_state(1), model.workspace())[0]
        grads_alone = grads_alone + model.parameters.grads * alone.count
    assert loss == pytest.approx(loss_alone, rel=1e-13)
    np.testing.assert_allclose(grads, grads_alone, rtol=0, atol=1e-12)


class TestBuffers:
    # Some in a row, so that what is remembered of a shape is used, and more than are remembered, so that some is not.
    SHAPES = (*[(7, 5)] * 5, (3, 2), (1, 1), (7, 5), (2, 6), (5, 4), (9, 1), (3, 2), (3, 2), (1, 7), (3, 2))

    @each_kind
    def test_a_used_layer_workspace_is_a_fresh_one(self, cell, variant):
        """Shapes in turn on one workspace, NaN in all its buffers before each pass: the same bits as from a new one.

        The weights change from pass to pass, as in training; starts and gradients of the state come and go.
        """
        layer, parameters = make_recurrent(cell, variant, 3, 4)
        used = Workspace(OPS, "float64")
        for number, (T, B) in enumerate(self.SHAPES):
            rng = np.random.default_rng(number)
            parameters.values += rng.normal(0, 0.1, parameters.values.shape)
            x, state = rng.standard_normal((T, 3, B)), random_state(layer, B, rng)
            dy = rng.standard_normal((T, 4, B))
            d_last = random_state(layer, B, rng) if number % 2 else ()
            starts = random_starts(T, B, rng) if number % 3 else None
            results = []
            for ws in (used, Workspace(OPS, "float64")):
                ws.fill(np.nan)
                parameters.grads[...] = 0
                y, last = layer.forward(x, state, ws, starts=starts)
                y = y.copy()
                dx, d_first = layer.backward(dy, d_last, ws)
                results.append([y, *last, dx.copy(), *d_first, parameters.grads.copy()])
            for one, other in zip(*results, strict=True):
                assert np.isfinite(one).all()
                np.testing.assert_array_equal(one, other)

    @pytest.mark.thinned(4)
    @pytest.mark.parametrize("options", OPTIONS)
    @each_kind
    def test_a_used_model_workspace_is_a_fresh_one(self, cell, variant, options):
        model = model_of(cell, variant, options)
        used = model.workspace()
        for number, (T, B) in enumerate(self.SHAPES):
            rng = np.random.default_rng(number)
            model.parameters.values += rng.normal(0, 0.1, model.parameters.values.shape)
            batch = random_batch(6, T, B, rng, starts=number % 3 != 0)
            state, noise = random_state(model.body, B, rng), 1000 + number if number % 2 else None
            results = []
            for ws in (used, model.workspace()):
                ws.fill(np.nan)
                nats, after = model.nats(batch, state, ws)
                ws.fill(np.nan)
                log_probs, _ = model.next_log_probs(batch.inputs, state, ws)
                ws.fill(np.nan)
                loss, last = model.loss_and_grads(batch, state, ws, noise=noise)
                results.append([nats, *leaves(after), log_probs, loss, *leaves(last), model.parameters.grads.copy()])
            for one, other in zip(*results, strict=True):
                assert np.isfinite(one).all()
                np.testing.assert_array_equal(one, other)

    @each_kind
    def test_what_is_returned_outlives_the_workspace(self, cell, variant):
        """States and nats are the caller's: a later pass does not change them."""
        model, rng = model_of(cell, variant), np.random.default_rng(45)
        batch, ws = random_batch(6, 4, 2, rng), model.workspace()
        state = random_state(model.body, 2, rng)
        given = [array.copy() for array in leaves(state)]
        nats, after = model.nats(batch, state, ws)
        log_probs, _ = model.next_log_probs(batch.inputs, state, ws)
        kept = [array.copy() for array in (nats, log_probs, *leaves(after))]
        model.loss_and_grads(batch, state, ws)
        ws.fill(np.nan)
        for array, before in zip((nats, log_probs, *leaves(after)), kept, strict=True):
            np.testing.assert_array_equal(array, before)
        for array, before in zip(leaves(state), given, strict=True):
            np.testing.assert_array_equal(array, before)

    def test_two_workspaces_are_two_passes(self):
        """A validation between a forward and a backward pass does not disturb it."""
        layer, parameters = make_recurrent("lstm", "", 3, 4)
        rng = np.random.default_rng(46)
        x, other = rng.standard_normal((4, 3, 2)), rng.standard_normal((6, 3, 2))
        grads = []
        for disturbed in (False, True):
            parameters.grads[...] = 0
            ws = Workspace(OPS, "float64")
            y, _ = layer.forward(x, layer.zero_state(2), ws)
            if disturbed:
                layer.forward(other, layer.zero_state(2), Workspace(OPS, "float64"))
            layer.backward(np.ones_like(y), (), ws)
            grads.append(parameters.grads.copy())
        np.testing.assert_array_equal(*grads)


@pytest.mark.parametrize("options", OPTIONS)
@each_kind
def test_float32_agrees_with_float64(cell, variant, options):
    double, single = model_of(cell, variant, options), model_of(cell, variant, options, dtype="float32")
    single.parameters.values[...] = double.parameters.values
    batch, results = random_batch(6, 6, 3, np.random.default_rng(47)), []
    for model in (double, single):
        state = model.zero_state(3)
        nats, after = model.nats(batch, state, model.workspace())
        log_probs, _ = model.next_log_probs(batch.inputs, state, model.workspace())
        loss, _ = model.loss_and_grads(batch, state, model.workspace(), noise=5)
        assert {array.dtype.name for array in (model.parameters.grads, *leaves(after))} == {model.config.dtype}
        assert nats.dtype == np.float64 and isinstance(loss, float)
        results.append((nats, log_probs, loss, *leaves(after), model.parameters.grads.copy()))
    for exact, rounded in zip(*results, strict=True):
        np.testing.assert_allclose(rounded, exact, rtol=1e-4, atol=1e-4 * float(np.max(np.abs(exact))) + 1e-6)


class TestDropout:
    RATE = 0.3

    @pytest.mark.parametrize("kind", KINDS[::4], ids="-".join)
    def test_none_without_noise(self, kind):
        """A model with dropout that does not train is the model without."""
        with_rate, without = model_of(*kind), model_of(*kind, dropout=0.0)
        batch = random_batch(6, 5, 3, np.random.default_rng(48))
        assert with_rate.parameters.shapes == without.parameters.shapes
        results = []
        for model, noise in ((with_rate, None), (without, None), (without, 77), (with_rate, 77)):
            state = tuple(layer.zero_state(3) for layer in model.body.layers.values())
            loss, _ = model.loss_and_grads(batch, state, model.workspace(), noise=noise)
            results.append((loss, model.parameters.grads.copy()))
        for loss, grads in results[1:3]:
            assert loss == results[0][0]
            np.testing.assert_array_equal(grads, results[0][1])
        assert results[3][0] != results[0][0]

    def test_the_same_key_is_the_same_step(self):
        model, batch = model_of("lstm", ""), random_batch(6, 5, 3, np.random.default_rng(49))
        losses = [
            model.loss_and_grads(batch, model.zero_state(3), model.workspace(), noise=noise)[0]
            for noise in (5, 5, 6, 5 + 2**40, 2**64 - 1, 0)
        ]
        assert losses[0] == losses[1]
        assert len(set(losses)) == 5

    def layer(self, place=0, rate=RATE):
        return Dropout(OPS, 16, rate, place)

    def mask(self, noise, **options):
        y, _ = self.layer(**options).forward(np.ones((50, 16, 20)), (), Workspace(OPS, "float64"), noise=noise)
        return y.copy()

    def test_values_share_and_mean(self):
        y = self.mask(1)
        assert set(np.unique(y)) == {0.0, 1 / (1 - self.RATE)}
        deviation = np.sqrt(self.RATE * (1 - self.RATE) / y.size)
        assert abs(np.mean(y == 0) - self.RATE) < 4 * deviation
        assert abs(y.mean() - 1) < 4 * deviation / (1 - self.RATE)
        for axes in ((1, 2), (0, 2), (0, 1)):  # no step, unit or column is favoured
            spread = np.sqrt(self.RATE * (1 - self.RATE) / (y.size / y.shape[({0, 1, 2} - set(axes)).pop()]))
            assert np.abs(np.mean(y == 0, axis=axes) - self.RATE).max() < 4.5 * spread

    def test_masks_of_other_keys_and_places_are_independent(self):
        first = self.mask(1) == 0
        others = {f"key {key:x}": self.mask(key) for key in (2, 3, 1 + 2**31, 1 + 2**32, 1 + 2**63, 2**64 - 1)}
        others |= {f"place {place}": self.mask(1, place=place) for place in (1, 2, 7)}
        both = self.RATE**2
        for name, other in others.items():
            share = np.mean(first & (other == 0))
            assert abs(share - both) < 5 * np.sqrt(both * (1 - both) / first.size), name

    def test_backward_masks_as_forward_did(self):
        layer, ws = self.layer(place=4), Workspace(OPS, "float64")
        rng = np.random.default_rng(50)
        x, dy = rng.uniform(1, 2, (2, 9, 16, 5))
        y = layer.forward(x, (), ws, noise=12)[0].copy()
        dx, state = layer.backward(dy, (), ws)
        assert state == ()
        np.testing.assert_array_equal(dx == 0, y == 0)
        np.testing.assert_allclose(dx, dy * (y / x), rtol=1e-14)
        layer.forward(x, (), ws)
        np.testing.assert_array_equal(layer.backward(dy, (), ws)[0], dy)

    def test_rate_zero_changes_nothing(self):
        np.testing.assert_array_equal(self.mask(3, rate=0.0), np.ones((50, 16, 20)))

    def test_a_high_rate_leaves_something(self):
        y = self.mask(3, rate=0.95)
        assert 0.03 < np.mean(y != 0) < 0.07
        assert y.max() == pytest.approx(20)


def test_dense_layers_work_on_each_step_alone():
    """No connection in time: steps in another order give outputs in that order."""
    layer = Dense(OPS, 3, 4, "tanh")
    bind(layer, 2)
    x, order = np.random.default_rng(51).standard_normal((5, 3, 2)), [3, 1, 4, 0, 2]
    y = layer.forward(x, (), Workspace(OPS, "float64"))[0].copy()
    shuffled, state = layer.forward(x[order], (), Workspace(OPS, "float64"))
    assert state == ()
    np.testing.assert_allclose(shuffled, y[order], rtol=0, atol=1e-15)

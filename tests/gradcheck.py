"""Gradients by central differences in float64, of parameters, inputs and first states.

    python -m tests.gradcheck      prints each cell's worst relative error, and ends with 1 if one is above the bar

In the tests some elements of each array are differentiated, in the long form more of them, and the whole array along
two random directions of length 1: the slope g . v is wrong as soon as one element of g is. Here every element is.

A layer is checked as the function L = sum of dy * y + sum of d_state * state, with random dy and d_state: its
gradients are what `backward(dy, d_state)` has to give. A model is checked as the mean loss of a batch.

The numbers. Differences are taken on six points, -3h ... 3h: their error is of the orders h^6 and 1e-16 |L| / h, about
1e-13 for both with h = 4e-3. The error of an element is |numeric - analytic| over the larger of the two, but over no
less than FLOOR times the largest element of its array: of smaller ones differences do not know enough digits.
"""

import sys
from functools import partial

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.backends.compiled.library import CORES
from charlm.config import ModelConfig, cell_fields
from charlm.nn import build as build_module
from charlm.nn.cells import CELLS
from charlm.nn.dense import Dense
from charlm.nn.embedding import InputColumns
from charlm.nn.grads import Grads
from charlm.nn.layer import Stack
from charlm.nn.parameters import Parameters
from charlm.nn.recurrent import Recurrent
from charlm.nn.workspace import Workspace
from charlm.text.batches.lanes import Batch
from tests import forms
from tests.task_batches import BODIES, random_task_batch

STEP = 4e-3
STENCIL = {1: 45 / 60, 2: -9 / 60, 3: 1 / 60}  # weight of L(+ih) - L(-ih)
FROM_KINK = 0.05  # of a rectified unit's z, at least
FLOOR = 1e-3
BAR = 1e-6
SAMPLED = 2, 12  # elements of an array, in the short form and in the long one
DIRECTIONS = 2
every_element = False  # the command sets it
ALIVE = 1e-9  # a gradient of which no element is larger than this has not been checked

OPS = NumpyBackend()
KINDS = [(cell, variant) for cell, variants in CELLS.items() for variant in variants]  # every cell in every variant
each_kind = forms.each("cell, variant", KINDS)


# --- what is checked -----------------------------------------------------------------------------------------------


def bind(layer, seed, *, dtype="float64", scale=0.8):
    """Bind a layer to parameters of its own, all drawn at random, biases too; return them."""
    parameters = Parameters(layer.shapes(), OPS, dtype)
    values, grads = parameters.named(parameters.values), parameters.named(parameters.grads)
    rng = np.random.default_rng(seed)
    for view in values.values():
        view[...] = rng.normal(0, scale, view.shape)
    layer.bind(values, Grads(grads, OPS))
    return parameters


def make_recurrent(cell, variant, n_in=3, hidden=4, *, seed=0, dtype="float64", **options):
    """Make a recurrent layer with random weights; give it and its parameters."""
    layer = Recurrent(CELLS[cell][variant](OPS, n_in, hidden), **options)
    return layer, bind(layer, seed, dtype=dtype)


def config_of(cell, variant, vocabulary_size=6, **options):
    """Return the configuration of a small float64 model with this cell."""
    small = {"hidden_size": 3, "num_layers": 2, "dtype": "float64"}
    return ModelConfig(vocabulary_size, **cell_fields(cell, variant), **{**small, **options})


def make_model(config, *, seed=0, scale=0.8, largest_one_hot=None):
    """Build a model, all its parameters random; one-hot tokens are looked up above `largest_one_hot`."""
    with pytest.MonkeyPatch.context() as patch:
        if largest_one_hot is not None:
            patch.setattr(build_module, "LARGEST_ONE_HOT", largest_one_hot)
        model = build_module.build(config, OPS)
    rng = np.random.default_rng(seed)
    for view in model.parameters.named(model.parameters.values).values():
        view[...] = rng.normal(0, scale, view.shape)
    return model


def random_state(layer, batch, rng):
    """Return a state of the layer's structure with random numbers."""

    def like(state):
        return tuple(like(part) if isinstance(part, tuple) else rng.normal(0, 0.7, part.shape) for part in state)

    return like(layer.zero_state(batch))


def leaves(state):
    """Return the arrays of a nested state in order."""
    return [array for part in state for array in (leaves(part) if isinstance(part, tuple) else [part])]


def random_starts(T, batch, rng):
    """Return a mask of starts; the first column starts at the first step, the last one not then but in the middle."""
    starts = rng.random((T, batch)) < 0.3
    starts[0, 0], starts[0, -1], starts[T // 2, -1] = True, False, True
    return starts


def random_batch(vocabulary_size, T, batch, rng, *, starts=True):
    """Return a batch in which some inputs are the zero vector and some targets are none."""
    inputs = rng.integers(0, vocabulary_size, (T, batch), dtype=np.int32)
    targets = rng.integers(0, vocabulary_size, (T, batch), dtype=np.int32)
    mask = random_starts(T, batch, rng) if starts else None
    if mask is not None:
        inputs[mask] = -1
    targets[T // 2, 0] = targets[-1, -1] = -1
    return Batch(inputs, targets, mask)


# --- the check ------------------------------------------------------------------------------------------------------


def slope_along(function, array, direction, step=STEP):
    """Return the slope of `function()` along a direction of length 1 in `array`, which is changed and put back."""
    value, slope = array.copy(), 0.0
    for number, weight in STENCIL.items():
        array[...] = value + number * step * direction
        above = function()
        array[...] = value - number * step * direction
        slope += weight * (above - function())
    array[...] = value
    return slope / step


def numeric_gradient(function, array):
    """Return the derivative of the number `function()` by each element of `array`, which is changed and put back."""
    return slopes_along(function, array, np.arange(array.size))


def slopes_along(function, array, elements):
    """Return the derivatives of `function()` by some elements of `array`, by their numbers in it."""
    slopes = []
    for element in elements:
        direction = np.zeros(array.size)
        direction[element] = 1.0
        slopes.append(slope_along(function, array, direction.reshape(array.shape)))
    return np.array(slopes).reshape(array.shape if len(slopes) == array.size else -1)


def relative_error(numeric, analytic):
    """Return the worst relative error of an array's elements; the module's docstring has the measure."""
    assert numeric.shape == analytic.shape
    assert np.isfinite(numeric).all() and np.isfinite(analytic).all()
    if not numeric.size:
        return 0.0
    size = np.maximum(np.abs(numeric), np.abs(analytic))
    floor = max(FLOOR * size.max(), np.finfo(float).tiny)
    return float(np.max(np.abs(numeric - analytic) / np.maximum(size, floor)))


def compare(function, arrays, gradients):
    """Return the worst relative error by name; an array that nothing depends on is a mistake of the check."""
    errors = {}
    for name, array in arrays.items():
        assert gradients[name].shape == array.shape
        numeric, analytic = _slopes(function, array, gradients[name])
        errors[name] = relative_error(numeric, analytic)
        assert not numeric.size or np.abs(numeric).max() > ALIVE, f"nothing depends on {name}"
    return errors


def _slopes(function, array, gradient):
    """Return the slopes of an array that are to be compared, by differences and by its gradient.

    Few on a compiled core, whose gradients are held to NumPy's.
    """
    sampled = SAMPLED[0] if OPS.core in CORES else forms.times(*SAMPLED)
    if every_element or array.size <= sampled + DIRECTIONS:
        return numeric_gradient(function, array), gradient
    rng = np.random.default_rng(array.size)
    likely = np.flatnonzero(gradient) if gradient.any() else np.arange(array.size)
    elements = rng.choice(likely, min(sampled, likely.size), replace=False)
    numeric, analytic = [*slopes_along(function, array, elements)], [*gradient.ravel()[elements]]
    for _ in range(DIRECTIONS):
        direction = rng.standard_normal(array.shape)
        direction /= np.linalg.norm(direction)
        numeric.append(slope_along(function, array, direction))
        analytic.append(float(np.sum(gradient * direction)))
    return np.array(numeric), np.array(analytic)


def holds(errors, bar=BAR):
    """Assert that there are errors, by name, and that none is above the bar."""
    assert errors
    assert max(errors.values()) <= bar, errors


def layer_errors(layer, parameters, x, *, starts=None, noise=None, seed=0):
    """Check a layer's backward pass: all parameters, the input unless it is ids, and the first state."""
    rng = np.random.default_rng(seed)
    state = random_state(layer, x.shape[-1], rng)
    ws = Workspace(OPS, "float64")
    y, _ = layer.forward(x, state, ws, starts=starts, noise=noise)
    dy = rng.standard_normal(y.shape)
    d_last = random_state(layer, x.shape[-1], rng)
    given = [array.copy() for array in (dy, *leaves(d_last), *leaves(state))]
    parameters.grads[...] = 0
    dx, d_first = layer.backward(dy, d_last, ws)
    for array, before in zip((dy, *leaves(d_last), *leaves(state)), given, strict=True):
        assert np.array_equal(array, before), "a pass changed what it was given"

    arrays = dict(parameters.named(parameters.values))
    gradients = {name: view.copy() for name, view in parameters.named(parameters.grads).items()}
    for number, (array, gradient) in enumerate(zip(leaves(state), leaves(d_first), strict=True)):
        arrays[f"state{number}"], gradients[f"state{number}"] = array, gradient
    if x.dtype.kind == "f" and dx.shape == x.shape:
        arrays["x"], gradients["x"] = x, dx.copy()
    scratch = Workspace(OPS, "float64")

    def loss():
        y, last = layer.forward(x, state, scratch, starts=starts, noise=noise)
        parts = zip((dy, *leaves(d_last)), (y, *leaves(last)), strict=True)
        return sum(float(np.sum(gradient * array)) for gradient, array in parts)

    return compare(loss, arrays, gradients)


def fill_grads(model, value):
    """Write a number to all gradients, but not to the gaps between them, which stay zero."""
    for view in model.parameters.named(model.parameters.grads).values():
        view[...] = value


def one_hot_columns(ids, size):
    """Return the one-hot columns [T, size, B] of ids [T, B]; the id -1 is the zero vector."""
    return np.concatenate([np.eye(size), np.zeros((1, size))])[ids].transpose(0, 2, 1)


def model_errors(model, batch, *, noise=None, seed=0):
    """Check a model's gradients of the mean loss, from a random state."""
    state = random_state(model.body, batch.lanes, np.random.default_rng(seed))
    ws, scratch = model.workspace(), model.workspace()
    parameters = model.parameters
    fill_grads(model, np.nan)  # they are overwritten
    model.loss_and_grads(batch, state, ws, noise=noise)
    gradients = {name: view.copy() for name, view in parameters.named(parameters.grads).items()}

    def loss():
        if noise is None:
            return float(model.nats(batch, state, scratch)[0].sum()) / batch.count
        return model.loss_and_grads(batch, state, scratch, noise=noise)[0] / batch.count

    return compare(loss, parameters.named(parameters.values), gradients)


# --- rectified units: they have no derivative at z = 0, and differences across it measure nothing --------------------


def rectified(layer, x, state, y, starts, W_a):
    """Return the pre-activations [T, H, B] of a layer's rectified units, None for a layer that has none."""
    if isinstance(layer, Dense) and layer.activation == "relu":
        return np.einsum("mn,tnb->tmb", layer.p["W"], x) + layer.p["b"]
    if isinstance(layer, Recurrent) and isinstance(layer.cell, CELLS["rnn"]["relu"]):
        H, W = layer.n_out, layer.cell.W
        a = np.concatenate([state[0][None], y[:-1]])
        if starts is not None:
            a = a * ~starts[:, None, :]
        if layer.one_hot:
            x = one_hot_columns(x, layer.n_in)
        if layer.columns is None:
            W_x_x = np.einsum("mn,tnb->tmb", W[:, H:-1], x)
        else:
            E = layer.columns.table[:, layer.own_columns]
            W_x_x = np.concatenate([E, 0 * E[:1]])[x].transpose(0, 2, 1)
        return np.einsum("mn,tnb->tmb", W_a, a) + W_x_x + W[:, -1:]
    return None


def clear_of_kinks(run):
    """Return whether all rectified units keep a distance from z = 0, in all layers that `run()` runs forward."""
    found = []

    def recorded(forward):
        def recording(self, x, state, ws, *, starts=None, noise=None):
            y, last = forward(self, x, state, ws, starts=starts, noise=noise)
            W_a = ws.kept("scan").cell.W_a if isinstance(self, Recurrent) else None
            found.append(rectified(self, x, state, y, starts, W_a))
            return y, last

        return recording

    with pytest.MonkeyPatch.context() as patch:
        for kind in (Dense, Recurrent):
            patch.setattr(kind, "forward", recorded(kind.forward))
        run()
    return all(np.abs(z).min() >= FROM_KINK and 0.2 < np.mean(z > 0) < 0.9 for z in found if z is not None)


def first_clear(make, x, *, starts=None, noise=None, seed=0):
    """Return what `make(seed)` makes, a tuple that begins with a layer, for the first seed that is clear of kinks."""

    def run(layer):
        state = random_state(layer, x.shape[-1], np.random.default_rng(seed))
        layer.forward(x, state, Workspace(OPS, "float64"), starts=starts, noise=noise)

    return next(made for made in map(make, range(5000)) if clear_of_kinks(partial(run, made[0])))


def first_clear_model(config, batch, *, noise=None, largest_one_hot=None, seed=0):
    """Return the first model that is clear of kinks on a batch, from the state of the check."""

    def run(model):
        state = random_state(model.body, batch.lanes, np.random.default_rng(seed))
        model.loss_and_grads(batch, state, model.workspace(), noise=noise)

    models = (make_model(config, seed=number, largest_one_hot=largest_one_hot) for number in range(5000))
    return next(model for model in models if clear_of_kinks(partial(run, model)))


# --- what every cell is put through ---------------------------------------------------------------------------------


def check_alone(cell, variant):
    """One recurrent layer, no starts."""
    x = np.random.default_rng(1).standard_normal((4, 3, 2))
    layer, parameters = first_clear(lambda seed: make_recurrent(cell, variant, seed=seed), x)
    return layer_errors(layer, parameters, x)


def check_starts(cell, variant):
    """One recurrent layer, of which some columns start anew at some steps."""
    rng = np.random.default_rng(2)
    x, starts = rng.standard_normal((5, 2, 3)), random_starts(5, 3, rng)
    layer, parameters = first_clear(lambda seed: make_recurrent(cell, variant, 2, 3, seed=seed), x, starts=starts)
    return layer_errors(layer, parameters, x, starts=starts)


def check_projected(cell, variant):
    """A recurrent layer on a look-up of W_x x<t>."""
    rng = np.random.default_rng(3)
    ids, starts = rng.integers(-1, 4, (5, 2)), random_starts(5, 2, rng)

    def make(seed):
        kind = CELLS[cell][variant]
        columns = InputColumns(OPS, 4, 3 * len(kind.gates))
        stack = Stack({"input": columns, "layer": Recurrent(kind(OPS, 0, 3), columns=columns)})
        return stack, bind(stack, seed)

    stack, parameters = first_clear(make, ids, starts=starts)
    return layer_errors(stack, parameters, ids, starts=starts)


def check_model(cell, variant, *, noise=None, largest_one_hot=None, **options):
    """A whole model, as `build` makes it."""
    config = config_of(cell, variant, **options)
    batch = random_batch(config.vocabulary_size, 4, 2, np.random.default_rng(4))
    model = first_clear_model(config, batch, noise=noise, largest_one_hot=largest_one_hot)
    return model_errors(model, batch, noise=noise)


def check_one_hot(cell, variant):
    """A model on one-hot tokens."""
    return check_model(cell, variant, vocabulary_size=4, hidden_size=2)


def check_look_up(cell, variant):
    """A model on one-hot tokens of a vocabulary too large for them."""
    return check_model(cell, variant, largest_one_hot=3)


def check_deep(cell, variant):
    """Three layers, dropout, two dense layers, and the embedding tied to the output layer's weights."""
    deep = {"num_layers": 3, "hidden_size": 2, "embedding_size": 4, "dense": (3, 4), "tie_weights": True}
    return check_model(cell, variant, noise=0x1234_5678_9ABC_DEF1, dropout=0.3, vocabulary_size=5, **deep)


def check_regularised(cell, variant):
    """Recurrent weights and whole words dropped, and one mask for all steps of a lane."""
    rates = {"weight_drop": 0.4, "embedding_dropout": 0.3, "dropout": 0.3, "dropout_kind": "variational"}
    return check_model(cell, variant, noise=0x1234_5678_9ABC_DEF2, embedding_size=3, **rates)


def check_task(cell, variant, body, *, noise=None, largest_one_hot=None, **options):
    """A model of another task, on several sequences of different lengths."""
    small = {"vocabulary_size": 4, "hidden_size": 2, "num_layers": 1}
    config = config_of(cell, variant, **{**small, **BODIES[body], **options})
    batch = random_task_batch(config, np.random.default_rng(5))
    model = first_clear_model(config, batch, noise=noise, largest_one_hot=largest_one_hot)
    return model_errors(model, batch, noise=noise)


def check_cloze(cell, variant):
    """Two towers of two layers on one embedding, and a dense layer on top."""
    return check_task(cell, variant, "cloze", num_layers=2, embedding_size=2, dense=(3,))


def check_tag(cell, variant):
    """Two layers, each both ways."""
    return check_task(cell, variant, "tag", num_layers=2)


def check_classify(cell, variant):
    """Both last states, brought together."""
    return check_task(cell, variant, "classify")


def check_translate(cell, variant):
    """An encoder and a decoder of two layers."""
    return check_task(cell, variant, "translate", num_layers=2)


def check_music(cell, variant):
    """A sigmoid for each key, and a genre."""
    return check_task(cell, variant, "genre")


CHECKS = {
    "alone": check_alone,
    "starts": check_starts,
    "projected": check_projected,
    "one-hot": check_one_hot,
    "look-up": check_look_up,
    "deep": check_deep,
    "regularised": check_regularised,
    "cloze": check_cloze,
    "tag": check_tag,
    "classify": check_classify,
    "translate": check_translate,
    "music": check_music,
}


def main():
    """Print a table of the worst errors, cells by checks; of every element."""
    global every_element
    every_element = True
    print(f"{'worst relative error':<20}", *(f"{check:>9}" for check in CHECKS))
    worst = 0.0
    for cell, variant in KINDS:
        errors = [max(check(cell, variant).values()) for check in CHECKS.values()]
        print(f"{f'{cell} {variant}':<20}", *(f"{error:9.1e}" for error in errors), flush=True)
        worst = max(worst, *errors)
    print(f"worst of all: {worst:.1e}; the bar is {BAR:g}")
    return worst > BAR


if __name__ == "__main__":
    sys.exit(main())

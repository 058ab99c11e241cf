"""One flat vector and its views: what aliases what, what lies between them, and how many numbers there are."""

import math

import numpy as np
import pytest

from charlm.nn.build import parameter_shapes
from charlm.nn.parameters import Parameters
from tests.gradcheck import OPS, config_of, each_kind, make_model, random_batch

SHAPES = {"W": (5, 7), "b": (5, 1), "one": (1,), "none": (4, 0), "full": (4, 4), "last": (3, 6)}
H, I = 5, 7
COUNTS = {  # of one layer, with H = 5 units on I = 7 inputs: gates times (weights of a, weights of x, a bias), and more
    ("rnn", "tanh"): 1 * (25 + 35 + 5),
    ("rnn", "relu"): 1 * (25 + 35 + 5),
    ("gru-simple", ""): 2 * (25 + 35 + 5),
    ("gru", "after"): 3 * (25 + 35 + 5) + 5,  # the second bias, b_ca
    ("gru", "before"): 3 * (25 + 35 + 5),
    ("gru", "both"): 3 * (25 + 35 + 5),
    ("lstm", ""): 4 * (25 + 35 + 5),
    ("lstm", "relevance"): 5 * (25 + 35 + 5),
    ("lstm-peephole", ""): 4 * (25 + 35 + 5) + 3 * 5,  # a diagonal for each gate
}


@pytest.fixture
def parameters():
    return Parameters(SHAPES, OPS, "float32")


def covered(parameters):
    """Say of each element of the flat vector whether a parameter owns it."""
    marks = np.zeros(parameters.values.size)
    for view in parameters.named(marks).values():
        view += 1
    return marks


def test_the_vectors_are_zero_and_of_the_dtype(parameters):
    for vector in (parameters.values, parameters.grads):
        assert vector.dtype == np.float32 and vector.ndim == 1 and vector.flags.c_contiguous
        assert not vector.any()
    assert parameters.values.size == parameters.grads.size
    assert not np.shares_memory(parameters.values, parameters.grads)


def test_views_are_the_vectors(parameters):
    """What is written to a view is in the vector, and the other way round."""
    for flat, view_of in ((parameters.values, parameters.value), (parameters.grads, parameters.grad)):
        flat[...] = np.arange(flat.size)
        for name, shape in SHAPES.items():
            view = view_of(name)
            assert view.shape == shape and view.flags.c_contiguous
            assert np.array_equal(view, parameters.named(flat)[name])
            if view.size:
                assert np.shares_memory(view, flat)
                view[...] = -1
        marks = covered(parameters)
        assert (flat[marks == 1] == -1).all()
        assert (flat[marks == 0] == np.flatnonzero(marks == 0)).all()


def test_no_two_parameters_overlap_and_each_begins_at_a_whole_cache_line(parameters):
    marks = covered(parameters)
    assert set(marks) == {0.0, 1.0}
    assert marks.sum() == parameters.count == sum(math.prod(shape) for shape in SHAPES.values())
    base = parameters.values.ctypes.data
    for name, shape in SHAPES.items():
        if math.prod(shape):
            assert (parameters.value(name).ctypes.data - base) % 64 == 0


def test_names_keep_their_order(parameters):
    assert list(parameters.named(parameters.values)) == list(SHAPES) == list(parameters.shapes)


def test_other_vectors_of_the_layout_have_the_same_views(parameters):
    moments = np.arange(parameters.values.size, dtype=np.float64)
    views = parameters.named(moments)
    assert views["W"][0, 0] == 0 and views["b"][0, 0] == 48  # 35 numbers and a gap up to 48
    views["last"][...] = 0.5
    assert (moments == 0.5).sum() == 18


@each_kind
def test_gaps_stay_zero(cell, variant):
    """Also after gradients have been added: the norm of the vector is the norm of the parameters."""
    model = make_model(config_of(cell, variant, vocabulary_size=7, embedding_size=5, dense=(5,), tie_weights=True))
    p = model.parameters
    gaps = covered(p) == 0
    assert gaps.any()
    state = model.zero_state(3)
    batch = random_batch(7, 4, 3, np.random.default_rng(60))
    p.grads[~gaps] = np.nan
    model.loss_and_grads(batch, state, model.workspace())
    assert not p.values[gaps].any() and not p.grads[gaps].any()
    assert p.grads[~gaps].any()


@each_kind
def test_the_number_of_a_layers_parameters(cell, variant):
    shapes = parameter_shapes(config_of(cell, variant, vocabulary_size=I, hidden_size=H, num_layers=1), OPS)
    layer = {name: math.prod(shape) for name, shape in shapes.items() if name.startswith("layer0.")}
    assert sum(layer.values()) == COUNTS[cell, variant]


def test_the_number_of_a_models_parameters():
    """A 2x128 LSTM over 65 characters, by hand: 4 * 128 rows of 128 + 65 + 1 and of 128 + 128 + 1, and the head's."""
    model = make_model(config_of("lstm", "", vocabulary_size=65, hidden_size=128))
    assert model.parameters.count == 512 * (128 + 65 + 1) + 512 * (128 + 128 + 1) + 65 * (128 + 1)


def test_the_number_of_a_models_parameters_with_everything():
    options = {"vocabulary_size": 50, "hidden_size": 8, "num_layers": 3, "embedding_size": 6, "dense": (9, 6)}
    body = 50 * 6 + 24 * (8 + 6 + 1) + 8 + 2 * (24 * (8 + 8 + 1) + 8) + 9 * (8 + 1) + 6 * (9 + 1)
    untied = make_model(config_of("gru", "after", **options))
    assert untied.parameters.count == body + 50 * (6 + 1)
    tied = make_model(config_of("gru", "after", tie_weights=True, **options))
    assert tied.parameters.count == body + 50

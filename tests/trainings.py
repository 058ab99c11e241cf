"""The whole state of a training, as a value that tests can keep and compare."""

import copy
import dataclasses

import numpy as np

from charlm import checkpoint
from charlm.backends import get_backend


def everything(trainer):
    """Return all numbers and arrays of a trainer's state, copied."""
    state = trainer.state()
    return copy.deepcopy(state.numbers), {name: array.copy() for name, array in state.arrays.items()}


def result(trainer):
    """Return everything that a training ends with: its state and its best weights, copied."""
    numbers, arrays = everything(trainer)
    return numbers, arrays | {f"best of {name}": array.copy() for name, array in trainer.best_weights().items()}


def assert_same(one, other):
    """Compare numbers and arrays, bit by bit."""
    assert one[0] == other[0]
    assert differing(one[1], other[1]) == []


def assert_equal_fields(one, other):
    """Compare arrays, and objects by their fields; what a dataclass has cached is no field."""
    if not hasattr(other, "__dict__"):
        np.testing.assert_equal(one, other)
        return
    assert type(one) is type(other)
    fields = [field.name for field in dataclasses.fields(other)] if dataclasses.is_dataclass(other) else vars(other)
    for field in fields:
        assert_equal_fields(getattr(one, field), getattr(other, field))


def differing(one, other):
    """Return the names of the arrays that differ in any bit."""
    assert one.keys() == other.keys()
    return [name for name in one if not np.array_equal(one[name], other[name])]


def through_file(session, path):
    """Save a training and open it again."""
    checkpoint.save_training(path, session.language_model, session.trainer.state(), corpus="0" * 64)
    return checkpoint.load(path, get_backend("cpu"))

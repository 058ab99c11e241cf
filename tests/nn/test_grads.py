"""Gradients: the first contribution of a pass overwrites, later ones add, also where weights are shared."""

import numpy as np
import pytest

from charlm.nn.grads import Grads, Rows
from tests.gradcheck import OPS, config_of, fill_grads, make_model, random_batch


def ones(*shape):
    return np.ones(shape)


@pytest.fixture
def grads():
    """A matrix, and shared weights of which two names are all rows and the first two."""
    arrays = {"one.W": np.full((3, 4), np.nan), "two.E": np.full((3, 2), np.nan)}
    return Grads(arrays, OPS, aliases={"head.W_y": Rows("two.E", 0, 2), "three.E": Rows("two.E", 0, 3)})


def test_the_first_contribution_of_a_pass_overwrites_and_the_next_adds(grads):
    for _ in range(2):
        grads.begin()
        grads.add("one.W", 1.0)
        np.testing.assert_array_equal(grads["one.W"], ones(3, 4))
        grads.add_product("one.W", ones(3, 2), ones(2, 4))
        np.testing.assert_array_equal(grads["one.W"], 3 * ones(3, 4))
    grads.begin()
    grads.add_product("one.W", ones(3, 2), ones(2, 4))
    np.testing.assert_array_equal(grads["one.W"], 2 * ones(3, 4))


def test_blocks_count_each_for_itself_and_as_parts_of_what_was_there(grads):
    left, right = slice(None, 1), slice(1, None)
    for _ in range(2):
        grads.begin()
        grads.add("one.W", 1.0, columns=left)
        grads.add_product("one.W", ones(3, 1), ones(1, 3), columns=right)
        np.testing.assert_array_equal(grads["one.W"], ones(3, 4))
        grads.add("one.W", 1.0, rows=slice(-1, None), columns=right)
        grads.add_product("one.W", ones(3, 1), ones(1, 1), columns=left)
        np.testing.assert_array_equal(grads["one.W"], [[2, 1, 1, 1], [2, 1, 1, 1], [2, 2, 2, 2]])


def test_a_block_that_is_only_in_part_new_is_refused(grads):
    grads.add("one.W", 1.0, columns=slice(2))
    with pytest.raises(ValueError, match=r"one\.W"):
        grads.add("one.W", 1.0, columns=slice(1, 3))


def test_what_is_scattered_is_added_to_zeros_or_to_what_is_there(grads):
    for _ in range(2):
        grads.begin()
        grads.zeroed("two.E")[0] += 1
        grads.zeroed("three.E")[0] += 1
        np.testing.assert_array_equal(grads["two.E"], [[2, 2], [0, 0], [0, 0]])


@pytest.mark.parametrize("scattered_first", [False, True])
def test_shared_rows_leave_nothing_of_the_pass_before_in_the_others(grads, scattered_first):
    for _ in range(2):
        grads.begin()
        if scattered_first:
            grads.zeroed("two.E")[0] += 1
        grads.add_product("head.W_y", ones(2, 1), ones(1, 2))
        if not scattered_first:
            grads.zeroed("two.E")[0] += 1
        np.testing.assert_array_equal(grads["two.E"], [[2, 2], [1, 1], [0, 0]])


def test_the_first_contribution_to_shared_rows_is_to_all_of_them(grads):
    with pytest.raises(ValueError, match=r"head\.W_y"):
        grads.add("head.W_y", 1.0, rows=slice(1))


def test_a_part_of_a_network_has_its_own_names_and_the_same_arrays(grads):
    of_one, of_head = grads.of("one."), grads.of("head.")
    assert of_one["W"] is grads["one.W"]
    grads.begin()
    of_head.add("W_y", 1.0)
    grads.add("two.E", 1.0)
    np.testing.assert_array_equal(grads["two.E"], [[2, 2], [2, 2], [1, 1]])
    with pytest.raises(KeyError):
        of_one["E"]


@pytest.mark.parametrize("labels", [0, 2])
def test_a_pass_with_tied_weights_overwrites_all_of_them(labels):
    """With labels, the embedding has more rows than the head's weights."""
    model = make_model(config_of("gru", "after", embedding_size=3, tie_weights=True, labels=labels))
    batch = random_batch(6, 4, 3, np.random.default_rng(1))
    found = []
    for before in (np.nan, 7.0):
        fill_grads(model, before)
        model.loss_and_grads(batch, model.zero_state(3), model.workspace())
        found.append(model.parameters.grads.copy())
    assert np.isfinite(found[0]).all()
    np.testing.assert_array_equal(*found)

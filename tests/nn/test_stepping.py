"""One token at a time: the same probabilities as the whole sequence at once, in every cell and body that draws."""

import numpy as np
import pytest

from charlm.nn import build as build_module
from tests.gradcheck import config_of, each_kind, make_model, random_state

BODIES = {
    "one-hot": {},
    "looked up": {"vocabulary_size": 600},  # one-hot tokens of a large vocabulary
    "embedded": {"embedding_size": 3},
    "tied": {"embedding_size": 4, "tie_weights": True},
    "dense": {"dense": (3,)},
    "adaptive": {"softmax": "adaptive", "cutoffs": (1, 3)},
    "adaptive, tied": {"softmax": "adaptive", "cutoffs": (1, 3), "embedding_size": 4, "tie_weights": True},
}


def log_probs(model, ids, state):
    """Give ln P of every token after each of `ids`, by `forward` over all of them."""
    ws = model.workspace()
    y, _ = model.body.forward(ids[:, None], state, ws)
    return model.head.log_probs(y, ws.scope("head")).T.copy()


@pytest.mark.parametrize("body", BODIES)
@each_kind
def test_steps_are_the_sequence(each_backend, cell, variant, body):
    rng = np.random.default_rng(70)
    model = make_model(config_of(cell, variant, hidden_size=4, num_layers=2, dropout=0.3, **BODIES[body]))
    assert (model.config.vocabulary_size > build_module.LARGEST_ONE_HOT) == (body == "looked up")
    ids = rng.integers(0, model.config.vocabulary_size, 9).astype(np.int32)
    state = random_state(model.body, 1, rng)
    wanted = log_probs(model, ids, state)
    stepper = model.stepper()
    stepper.load(state)
    for token_id, row in zip(ids.tolist(), wanted, strict=True):
        np.testing.assert_allclose(stepper.next_log_probs(token_id), row, rtol=0, atol=1e-12)


def test_two_steppers_do_not_know_of_each_other_and_leave_the_state_alone(each_backend):
    rng = np.random.default_rng(71)
    model = make_model(config_of("lstm", "", hidden_size=4, num_layers=2))
    state = random_state(model.body, 1, rng)
    kept = [array.copy() for layer in state for array in layer]
    ids = rng.integers(0, model.config.vocabulary_size, 8)
    alone = model.stepper()
    alone.load(state)
    wanted = [alone.next_log_probs(int(i)).copy() for i in ids]
    first, second = model.stepper(), model.stepper()
    first.load(state)
    for number, (token_id, row) in enumerate(zip(ids.tolist(), wanted, strict=True)):
        if number % 3 == 0:
            second.load(state)
        np.testing.assert_array_equal(first.next_log_probs(token_id), row)
        second.next_log_probs(number % model.config.vocabulary_size)
    for array, before in zip([array for layer in state for array in layer], kept, strict=True):
        np.testing.assert_array_equal(array, before)
    first.load(state)
    np.testing.assert_array_equal(first.next_log_probs(int(ids[0])), wanted[0])

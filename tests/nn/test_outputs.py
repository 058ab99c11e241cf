"""A long sequence read for its outputs alone: in pieces they are what they are whole, in less memory."""

from itertools import pairwise

import numpy as np
import pytest

from charlm.config import CELL_NAMES
from charlm.nn.layer import LONGEST_PIECE, pieces
from charlm.text.batches.lanes import Batch
from tests.task_models import KINDS, task_model

T = LONGEST_PIECE + 37
BODIES = {  # kind of model, and its network
    "tag": ("tag", {}),
    "tag-causal": ("tag", {"bidirectional": False}),
    "tag-dense": ("tag", {"dense": (4, 3), "dropout": 0.3, "embedding_size": 3}),
    "yes-no": ("yes-no", {"num_layers": 1, "embedding_size": 3}),
    "classify": ("classify", {}),
    "classify-three": ("classify", {"num_layers": 3, "dropout": 0.2}),
    "cloze": ("cloze", {}),
    "lm": ("lm", {}),
    "music": ("music", {}),
    "translate": ("translate", {"dense": (4,)}),
}


def batch_of(lm, lanes, *, steps=T, cut=True, seed=0):
    """Draw a batch in whose lanes several sequences lie end to end."""
    rng = np.random.default_rng(seed)
    config = lm.model.config
    starts = rng.random((steps, lanes)) < 0.01 if cut else np.zeros((steps, lanes), bool)
    starts[0] = True
    if config.task == "music":
        keys = rng.integers(0, 2, (steps, len(KINDS["music"][0]), lanes))
        return Batch(keys.astype(np.uint8), keys.astype(np.int8), starts)
    tokens = config.target_size or config.vocabulary_size
    choices = max(2, config.labels) if config.labels else tokens
    inputs = rng.integers(-1, tokens, (steps, lanes)).astype(np.int32)
    targets = rng.integers(-1, choices, (steps, lanes)).astype(np.int32)
    sources = rng.integers(0, config.vocabulary_size, (steps, lanes)).astype(np.int32)
    return Batch(inputs, targets, starts, *((sources, starts) if config.task == "translate" else ()))


def whole(model, batch):
    """Run a batch in one piece, as training does; return the outputs of the body and its state."""
    ws, state = model.workspace(), model.zero_state(batch.lanes)
    if batch.sources is not None:
        state = model._encoded(batch.sources, batch.source_starts, ws, None)
    return model.body.forward(batch.inputs, state, ws, starts=batch.starts)


def close(found, expected):
    """Compare; a product of fewer columns may round elsewhere."""
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.thinned(3)
@pytest.mark.parametrize(("lanes", "cut"), [(1, False), (3, True)])
@pytest.mark.parametrize("name", BODIES)
def test_pieces_give_what_the_whole_gives(name, cut, lanes):
    kind, network = BODIES[name]
    lm = task_model(kind, **network)
    model, batch = lm.model, batch_of(lm, lanes, cut=cut)
    zero = model.zero_state(lanes)
    y, state = whole(model, batch)
    ws = model.workspace()
    for _ in range(2):  # in fresh buffers, and in used ones
        found, after = model._outputs(batch, zero, ws)
        close(found, y)
        ws.fill(np.nan)
    for one, other in zip(np.ravel(flat(after)), np.ravel(flat(state)), strict=True):
        close(one, other)


def flat(state):
    """Give all numbers of a state."""
    if isinstance(state, tuple):
        return np.concatenate([flat(part) for part in state] or [np.empty(0)])
    return np.ravel(state)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_so_for_every_cell(cell):
    lm = task_model("tag", cell=cell)
    model, batch = lm.model, batch_of(lm, 2, seed=3)
    y, _ = whole(model, batch)
    found, _ = model._outputs(batch, model.zero_state(2), model.workspace())
    close(found, y)


@pytest.mark.parametrize("steps", [1, 128, 255, 256, 257, 512, 5000])
def test_pieces_cover_a_sequence(steps):
    cuts = list(pieces(steps))
    assert cuts[0][0] == 0 and cuts[-1][1] == steps
    assert all(end == first for (_, end), (first, _) in pairwise(cuts))
    assert all(end - first == LONGEST_PIECE for first, end in cuts[:-1])


@pytest.mark.parametrize("name", ["tag-dense", "classify-three", "yes-no"])
def test_memory_of_a_long_sequence_is_the_outputs_of_two_layers(name):
    """Twice the outputs of both directions; neither the input nor what only the way back needs is kept."""
    kind, network = BODIES[name]
    lm = task_model(kind, **{**network, "hidden_size": 16})
    sizes = []
    for steps in (600, 1200):
        ws = lm.model.workspace()
        lm.model._outputs(batch_of(lm, 1, steps=steps), lm.model.zero_state(1), ws)
        sizes.append(ws.nbytes)
    most = 2 * (2 * 16) * 8
    assert 0 < (sizes[1] - sizes[0]) / 600 <= most


def test_memory_of_a_long_source_is_that_of_a_piece():
    lm = task_model("translate", hidden_size=16)
    sizes = []
    for steps in (600, 1200):
        ws = lm.model.workspace()
        batch = batch_of(lm, 1, steps=steps)
        lm.model.encode(batch.sources, batch.source_starts, ws)
        sizes.append(ws.nbytes)
    assert sizes[0] == sizes[1]

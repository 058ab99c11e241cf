"""The buffers: the same memory for the same name, undefined contents, and views that do not outlive it."""

import numpy as np
import pytest

from charlm.nn.workspace import Workspace
from tests.gradcheck import OPS, config_of, make_model, random_batch


@pytest.fixture
def ws():
    return Workspace(OPS, "float32")


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 1, 5), (0, 7), (3, 0)])
def test_an_array_is_contiguous_of_its_shape_and_dtype(ws, shape):
    for _ in range(2):
        array = ws.array("x", shape)
        assert array.shape == shape and array.dtype == np.float32 and array.flags.c_contiguous
        ws.array("x", (9, 9))


def test_a_name_is_a_piece_of_memory(ws):
    first, other = ws.array("x", (4, 5)), ws.array("y", (4, 5))
    assert not np.shares_memory(first, other)
    first[...] = 7
    other[...] = 8
    smaller = ws.array("x", (2, 3))
    assert np.shares_memory(smaller, first) and (smaller == 7).all()
    assert ws.array("x", (5, 4)).ctypes.data == first.ctypes.data


def test_a_buffer_grows_and_does_not_shrink(ws):
    small = ws.array("x", (2,))
    large = ws.array("x", (100,))
    assert not np.shares_memory(small, large)
    ws.array("x", (1,))
    assert ws.array("x", (100,)).ctypes.data == large.ctypes.data


def test_what_is_made_once(ws):
    made = []
    first = ws.once("scan", lambda: made.append(1) or object())
    assert ws.once("scan", object) is first and made == [1]
    assert ws.once("other", object) is not first
    ws.free()
    assert ws.once("scan", object) is not first


def test_what_is_kept(ws):
    ids = np.arange(3)
    ws.keep("ids", ids)
    ws.keep("noise", None)
    assert ws.kept("ids") is ids and ws.kept("noise") is None
    ws.keep("ids", 4)
    assert ws.kept("ids") == 4


def test_scopes_are_apart(ws):
    one, other = ws.scope("one"), ws.scope("other")
    assert ws.scope("one") is one and one is not other
    arrays = [space.array("x", (3,)) for space in (ws, one, other, one.scope("one"))]
    for number, array in enumerate(arrays):
        array[...] = number
    assert [array[0] for array in arrays] == [0, 1, 2, 3]
    one.keep("x", 1)
    with pytest.raises(KeyError):
        other.kept("x")


def test_fill_reaches_everything(ws):
    arrays = [space.array(name, (3,)) for space in (ws, ws.scope("a"), ws.scope("a").scope("b")) for name in "xy"]
    ws.fill(np.nan)
    assert all(np.isnan(array).all() for array in arrays)


def test_a_training_step_allocates_next_to_nothing():
    """The second step of a shape takes no new buffer."""
    model = make_model(config_of("lstm", "", embedding_size=4, dropout=0.2, dense=(4,)))
    batch, ws = random_batch(6, 8, 4, np.random.default_rng(70)), model.workspace()

    def buffers(space):
        own = {id(buffer) for buffer in space._buffers.values()}
        return own.union(*(buffers(scope) for scope in space._scopes.values()))

    model.loss_and_grads(batch, model.zero_state(4), ws, noise=1)
    before = buffers(ws)
    assert len(before) > 20
    for _ in range(2):
        model.loss_and_grads(batch, model.zero_state(4), ws, noise=2)
    assert buffers(ws) == before

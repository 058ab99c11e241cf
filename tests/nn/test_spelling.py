"""Words that are read by their characters too: the equations, the gradients, and what a character is seen by."""

from dataclasses import replace

import numpy as np
import pytest

from charlm.config import cell_fields
from charlm.nn.cells import CELLS
from charlm.nn.embedding import Embedding
from charlm.nn.spelling import SpelledEmbedding
from charlm.nn.word_dropout import DroppedEmbedding
from charlm.nn.workspace import Workspace
from charlm.text.batches.whole import WholeBatches
from charlm.text.tokens.vocabulary import NOTHING
from tests import forms, naive
from tests.gradcheck import KINDS, OPS, bind, config_of, each_kind, holds, layer_errors, make_model

pytestmark = pytest.mark.usefixtures("each_backend")

V, C, D, N = 5, 4, 3, 2
NOISE = 0x1234_5678_9ABC_DEF1


def made(cell="lstm", variant="", *, seed=1, rate=0.0):
    words = Embedding(OPS, V, D) if not rate else DroppedEmbedding(OPS, V, D, rate=rate, place=1)
    layer = SpelledEmbedding(words, C, tuple(CELLS[cell][variant](OPS, N, N) for _ in range(2)), rms=1.0)
    return layer, bind(layer, seed)


def words_of(rng, count, longest=4):
    """Return words of the shape [count, 1 + longest], of 1 to `longest` characters, the first of them twice."""
    rows = rng.integers(0, C + 1, (count, 1 + longest), dtype=np.int32)
    rows[:, 0] %= V
    rows[:, 1:][np.arange(longest) >= rng.integers(1, longest + 1, count)[:, None]] = NOTHING
    rows[1:2] = rows[:1]
    return rows


def batch_of(words, T, B):
    """Lay words [T * B, 1 + K] in a batch, with a place where nothing is."""
    words = words.copy()
    words[-1] = NOTHING
    return np.ascontiguousarray(words.reshape(T, B, -1).transpose(0, 2, 1))


def vectors(layer, x):
    return layer.forward(x, (), Workspace(OPS, "float64"))[0].copy()


def plain(parameters, cell, variant, row):
    """Return a word's vector from the equations: one character after the other, from both ends."""
    p = parameters.named(parameters.values)
    if row[0] == NOTHING:
        return np.zeros(D + 2 * N)
    ends = [p["E"][row[0]]]
    x = p["characters.input.E"][row[1:][row[1:] != NOTHING]]
    for side, order in (("from_left", 1), ("from_right", -1)):
        prefix = f"characters.layer0.{side}."
        arrays = {name.removeprefix(prefix): p[name] for name in p if name.startswith(prefix)}
        a, c = np.zeros(N), np.zeros(N) if cell.startswith("lstm") else None
        for of_step in x[::order]:
            a, c = naive.step(cell, variant, arrays, a, c, of_step)
        ends.append(a)
    return np.concatenate(ends)


@each_kind
def test_a_word_is_its_vector_and_the_last_states_over_its_characters(cell, variant):
    layer, parameters = made(cell, variant)
    words = words_of(np.random.default_rng(2), 12)
    x = batch_of(words, 4, 3)
    y = vectors(layer, x)
    for t in range(4):
        for lane in range(3):
            expected = plain(parameters, cell, variant, x[t, :, lane])
            np.testing.assert_allclose(y[t, :, lane], expected, rtol=0, atol=1e-13)


@forms.each("cell, variant", KINDS, thinned=7)
def test_gradients(cell, variant):
    """Of words that occur once and more often, with a random gradient from above, and with dropout of words."""
    for rate, noise in ((0.0, None), (0.4, NOISE)):
        layer, parameters = made(cell, variant, rate=rate)
        if variant == "relu":  # all units are on: there is no kink
            parameters.values[...] = np.abs(parameters.values) * 0.4 + 0.05
        words = words_of(np.random.default_rng(3), 6)
        errors = layer_errors(layer, parameters, batch_of(words, 3, 2), noise=noise)
        names = {"E", "characters.input.E", "characters.layer0.from_left.W", "characters.layer0.from_right.W"}
        assert names <= set(errors)
        holds(errors)


def test_the_gradient_of_a_word_is_the_sum_over_its_places():
    layer, parameters = made()
    words = words_of(np.random.default_rng(4), 6)
    rng, ws = np.random.default_rng(5), Workspace(OPS, "float64")
    x, total = batch_of(words, 3, 2), np.zeros_like(parameters.grads)
    dy = rng.standard_normal(layer.forward(x, (), ws)[0].shape)

    def grads(x, dy):
        parameters.grads[...] = np.nan
        layer.words.g.begin()
        layer.forward(x, (), ws)
        layer.backward(dy, (), ws)
        return np.concatenate([view.ravel() for view in parameters.named(parameters.grads).values()])

    together = grads(x, dy)
    places = [(t, lane) for t in range(3) for lane in range(2)]
    total = sum(grads(x[t : t + 1, :, lane : lane + 1], dy[t : t + 1, :, lane : lane + 1]) for t, lane in places)
    np.testing.assert_allclose(together, total, rtol=1e-12, atol=1e-13)
    nothing = grads(np.full_like(x, NOTHING), dy)
    assert not nothing.any()  # overwritten with zeros, not left as they were


def test_a_character_changes_its_own_word_and_no_other():
    layer, _ = made()
    words = words_of(np.random.default_rng(6), 12)
    x = batch_of(words, 4, 3)
    before = vectors(layer, x)
    for place in range(11):
        t, lane = divmod(place, 3)
        for k in range(1, 1 + int((words[place, 1:] != NOTHING).sum())):
            changed = x.copy()
            changed[t, k, lane] = (changed[t, k, lane] + 1) % (C + 1)
            differs = np.abs(vectors(layer, changed) - before) > 1e-12
            assert differs[t, D:, lane].all() and not differs[t, :D, lane].any()
            differs[t, :, lane] = False
            assert not differs.any()


def test_characters_are_read_in_their_order_and_to_the_end_of_the_word():
    layer, _ = made()
    rows = [[1, 1, 2], [1, 2, 1], [1, 1, NOTHING], [1, NOTHING, NOTHING], [1, 1, 1]]
    y = vectors(layer, np.array(rows, np.int32).T[None])
    found = {tuple(np.round(y[0, :, lane], 9)) for lane in range(5)}
    assert len(found) == 5 and len({tuple(one[:D]) for one in found}) == 1
    assert not y[0, D:, 3].any()  # a word without characters


def test_a_words_vector_is_the_same_in_every_sentence_lane_and_batch():
    layer, _ = made()
    rng = np.random.default_rng(7)
    words = words_of(rng, 40, longest=6)
    alone = [vectors(layer, word[None, :, None])[0, :, 0] for word in words]
    offsets = np.array([0, 3, 3, 12, 13, 30, 40])
    table = np.concatenate([words, np.full_like(words[:1], NOTHING)])
    ids = np.arange(40, dtype=np.int32)
    for seed in range(2):
        batches = WholeBatches(ids, ids, offsets, 3, 5, seed, table)
        seen = 0
        for batch in batches.epoch():
            y = vectors(layer, batch.inputs)
            for t, lane in zip(*np.nonzero(batch.targets >= 0), strict=True):
                np.testing.assert_allclose(y[t, :, lane], alone[batch.targets[t, lane]], rtol=0, atol=1e-12)
                seen += 1
            assert not y.transpose(0, 2, 1)[batch.targets < 0].any()  # padding is the zero vector
        assert seen == 40


def test_padding_of_characters_changes_nothing():
    """A batch with a longer word somewhere has more columns of `NOTHING`."""
    layer, _ = made()
    x = batch_of(words_of(np.random.default_rng(8), 6), 3, 2)
    wide = np.concatenate([x, np.full((3, 5, 2), NOTHING, np.int32)], axis=1)
    np.testing.assert_array_equal(vectors(layer, x), vectors(layer, wide))


def test_a_long_sequence_is_read_in_pieces():
    config = config_of("lstm", "", task="tag", labels=3, bidirectional=True, embedding_size=D, **FEATURES)
    model, rng = make_model(config), np.random.default_rng(9)
    words = words_of(rng, 600)
    ws, zero = model.workspace(), model.zero_state(1)
    inputs = words[:, :, None]
    one, _ = model.body.outputs(inputs, zero, ws)
    other, _ = model.body.forward(inputs, zero, model.workspace())
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


FEATURES = {"char_features": N, "characters": C}


def test_without_characters_the_network_is_as_it_was():
    """The same names, and the same weights for the same seed."""
    from charlm.nn.build import build

    config = config_of("lstm", "", task="tag", labels=3, embedding_size=D)
    spelled = build(replace(config, **FEATURES), OPS, seed=3).parameters
    plain = build(config, OPS, seed=3).parameters
    assert set(spelled.shapes) - set(plain.shapes) == {
        f"input.characters.{name}" for name in ("input.E", "layer0.from_left.W", "layer0.from_right.W")
    }
    np.testing.assert_array_equal(spelled.value("input.E"), plain.value("input.E"))
    assert spelled.shapes["layer0.W"] == (12, 3 + D + 2 * N + 1)


@pytest.mark.parametrize("kind", [("lstm", ""), ("gru", "after")], ids="-".join)
def test_as_pytorch(kind):
    """`torch.nn.Embedding` beside the last states of a bidirectional layer over a packed sequence."""
    torch = pytest.importorskip("torch")
    layer, parameters = made(*kind)
    x = batch_of(words_of(np.random.default_rng(10), 6), 3, 2)[:, :, :]
    rows = [row for row in x.transpose(0, 2, 1).reshape(6, -1) if row[0] != NOTHING]
    dy = np.random.default_rng(11).standard_normal((6, D + 2 * N))
    dy[5] = 0
    ws = Workspace(OPS, "float64")
    y = layer.forward(x, (), ws)[0].copy()
    layer.backward(np.ascontiguousarray(dy.reshape(3, 2, -1).transpose(0, 2, 1)), (), ws)

    is_lstm = kind[0] == "lstm"
    order, signs = ("ufco", [1] * 4) if is_lstm else ("ruc", [1, -1, 1])
    cell = CELLS[kind[0]][kind[1]](OPS, N, N)
    index = np.concatenate([np.arange(N) + N * cell.gates.index(gate) for gate in order])
    sign = np.repeat(signs, N)[:, None]
    module = (torch.nn.LSTM if is_lstm else torch.nn.GRU)(N, N, bidirectional=True).double()
    tables = [torch.tensor(parameters.value(name)).requires_grad_() for name in ("E", "characters.input.E")]
    sides = ("from_left", "from_right")
    with torch.no_grad():
        for number, side in enumerate(sides):
            W = parameters.value(f"characters.layer0.{side}.W")[index] * sign
            second = np.zeros(len(W))
            if not is_lstm:
                second[-N:] = parameters.value(f"characters.layer0.{side}.b_ca")[:, 0]
            pieces = [W[:, N:-1], W[:, :N], W[:, -1], second]
            for weight, ours in zip(list(module.parameters())[4 * number :], pieces, strict=False):
                weight.copy_(torch.tensor(ours))
    spelled = [torch.tensor([int(i) for i in row[1:] if i != NOTHING]) for row in rows]
    packed = torch.nn.utils.rnn.pack_sequence([tables[1][one] for one in spelled], enforce_sorted=False)
    last = module(packed)[1]
    last = last[0] if is_lstm else last
    ids = torch.tensor([int(row[0]) for row in rows])
    found = torch.cat([tables[0][ids], last[0], last[1]], dim=1)
    (found * torch.tensor(dy[:5])).sum().backward()
    expected = y.transpose(0, 2, 1).reshape(6, -1)
    np.testing.assert_allclose(expected[:5], found.detach().numpy(), rtol=0, atol=1e-12)
    for name, table in zip(("E", "characters.input.E"), tables, strict=True):
        np.testing.assert_allclose(parameters.grad(name), table.grad.numpy(), rtol=0, atol=1e-12)
    for number, side in enumerate(sides):
        dW_x, dW_a, db, _ = (weight.grad.numpy() for weight in list(module.parameters())[4 * number : 4 * number + 4])
        dW = np.concatenate([dW_a, dW_x, db[:, None]], axis=1) * sign
        np.testing.assert_allclose(parameters.grad(f"characters.layer0.{side}.W")[index], dW, rtol=0, atol=1e-12)


def test_every_cell_has_fields_that_fit():
    """`--cell` is that of both networks."""
    for cell, variants in CELLS.items():
        for variant in variants:
            config = config_of(cell, variant, task="tag", labels=3, embedding_size=D, **FEATURES)
            names = make_model(config).parameters.shapes
            assert ("input.characters.layer0.from_left.P" in names) == (cell == "lstm-peephole")
            assert cell_fields(cell, variant).items() <= config.to_dict().items()

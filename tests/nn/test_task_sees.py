"""Who sees what, for every body and cell, and that a sequence is the same packed, padded or alone.

One token is changed: outputs that must not depend on it stay bit-equal, and those that must change, each.
"""

import numpy as np
import pytest

from charlm.nn.directions import BothWays, Towers
from charlm.nn.layer import Stack
from charlm.nn.workspace import Workspace
from charlm.text.dataset import Sequences
from tests.gradcheck import OPS, bind, config_of, each_kind, leaves, make_model, make_recurrent
from tests.task_batches import BODIES, lay, lay_sources, random_sequence

pytestmark = pytest.mark.usefixtures("each_backend")

V = 5
INPUTS = {
    "one-hot": {},
    "look-up": {"largest_one_hot": 3},
    "dense": {"embedding_size": 3, "dense": (4, 3)},
}
ONLY = {"music": "one-hot", "genre": "one-hot", "spelled": "dense"}  # whose input is of one kind
EVERY = [(body, kind) for body in BODIES for kind in INPUTS if ONLY.get(body, kind) == kind]
each_body = pytest.mark.parametrize(("body", "inputs"), EVERY)


def awake_model(cell, variant, body, inputs="one-hot"):
    """Make a model in which everything sees what it can: rectified units are all on, and do not explode."""
    options = {**BODIES[body], **INPUTS[inputs], "vocabulary_size": V, "hidden_size": 3}
    largest = options.pop("largest_one_hot", None)
    model = make_model(config_of(cell, variant, **options), seed=3, largest_one_hot=largest)
    for name in model.parameters.shapes:
        if variant == "relu" and not name.startswith("head."):
            view = model.parameters.value(name)
            view[...] = 0.3 * np.abs(view) + 0.05
    return model


def outputs(model, batch):
    """Give ln P of every choice, [T, choices, B]."""
    ws, T = model.workspace(), len(batch.inputs)
    state = model.zero_state(batch.lanes)
    if batch.sources is not None:
        state = model.encode(batch.sources, batch.source_starts, ws)
    y, _ = model.body.forward(batch.inputs, state, ws, starts=batch.starts)
    log_probs = model.head.log_probs(y, ws.scope("head"))
    return log_probs.reshape(-1, T, batch.lanes).transpose(1, 0, 2).copy()


def lanes_of(config, rng):
    """Draw sequences: two in a lane, a long one, and the shortest; of translation one in a lane."""
    lengths = ((4,), (1,), (3,)) if config.task == "translate" else ((3, 2), (6,), (1, 2))
    return [[random_sequence(config, length, rng) for length in lane] for lane in lengths]


def changed(config, sequence, t):
    """Give the sequence with another token at t."""
    tokens = sequence.tokens.copy()
    if config.char_features:
        place, count = (1, config.characters + 1) if t % 2 else (0, config.vocabulary_size)
        tokens[t, place] = (tokens[t, place] + 1) % count
    elif tokens.ndim == 2:
        tokens[t, t % tokens.shape[1]] ^= 1
    else:
        tokens[t] = (tokens[t] + 1) % (config.target_size or config.vocabulary_size)
    return sequence._replace(tokens=tokens)


def seeing(config, t, length):
    """Give the steps whose output depends on the token t of a sequence, by the definition of the task."""
    steps = np.arange(length)
    if config.task == "cloze":
        return steps != t
    if config.task == "tag":
        return np.ones(length, bool) if config.bidirectional else steps >= t
    return steps == length - 1 if config.task == "classify" else steps > t


def assert_seen(config, before, after, spans, number, seen):
    """Outputs of the sequence `number` differ at the steps that see and nowhere else, in no sequence."""
    for other, (lane, first, stop) in enumerate(spans):
        asked = slice(stop - 1, stop) if config.task == "classify" else slice(first, stop)
        differs = [not np.array_equal(a, b) for a, b in zip(before[asked, :, lane], after[asked, :, lane], strict=True)]
        expected = seen[-len(differs) :].tolist() if other == number else [False] * len(differs)
        assert differs == expected, (other, number)


@pytest.mark.thinned(10)
@each_body
@each_kind
def test_a_token_is_seen_where_the_task_says_and_nowhere_else(cell, variant, body, inputs):
    model = awake_model(cell, variant, body, inputs)
    config, rng = model.config, np.random.default_rng(11)
    lanes = lanes_of(config, rng)
    batch, spans = lay(config, lanes)
    before = outputs(model, batch)
    number = -1
    for lane in lanes:
        for place, sequence in enumerate(lane):
            number += 1
            length = len(sequence.tokens)
            for t in range(length):
                lane[place] = changed(config, sequence, t)
                after = outputs(model, lay(config, lanes)[0])
                assert_seen(config, before, after, spans, number, seeing(config, t, length))
            lane[place] = sequence
    assert number == len(spans) - 1


@pytest.mark.parametrize("body", ["conditioned", "genre"])
@each_kind
def test_a_label_is_seen_by_every_step_of_its_sequence(cell, variant, body):
    model = awake_model(cell, variant, body)
    lanes = lanes_of(model.config, np.random.default_rng(12))
    batch, spans = lay(model.config, lanes)
    before = outputs(model, batch)
    for number, (lane, place) in enumerate(((0, 0), (0, 1), (1, 0), (2, 0), (2, 1))):
        sequence = lanes[lane][place]
        lanes[lane][place] = sequence._replace(label=1 - sequence.label)
        after = outputs(model, lay(model.config, lanes)[0])
        assert_seen(model.config, before, after, spans, number, np.ones(len(sequence.tokens), bool))
        lanes[lane][place] = sequence


@pytest.mark.parametrize("inputs", INPUTS)
@each_kind
def test_a_translation_sees_its_whole_source_and_no_other(cell, variant, inputs):
    model = awake_model(cell, variant, "translate", inputs)
    lanes = lanes_of(model.config, np.random.default_rng(13))
    batch, spans = lay(model.config, lanes)
    before = outputs(model, batch)
    for number, lane in enumerate(lanes):
        sequence = lane[0]
        for s in range(len(sequence.source)):
            source = sequence.source.copy()
            source[s] = (source[s] + 1) % V
            lane[0] = sequence._replace(source=source)
            after = outputs(model, lay(model.config, lanes)[0])
            assert_seen(model.config, before, after, spans, number, np.ones(len(sequence.tokens), bool))
        lane[0] = sequence


@pytest.mark.thinned(5)
@pytest.mark.parametrize("body", BODIES)
@each_kind
def test_padding_is_not_seen(cell, variant, body):
    """What the unused steps hold, of sources and of targets, changes no output, no loss and no gradient."""
    model = awake_model(cell, variant, body)
    lanes = lanes_of(model.config, np.random.default_rng(14))
    results = []
    for padding in (-1, 0, 1):
        batch, spans = lay(model.config, lanes, padding=padding)
        y = outputs(model, batch)
        loss, _ = model.loss_and_grads(batch, model.zero_state(batch.lanes), model.workspace())
        assert (batch.inputs[-1, ..., 2] == max(padding, 0 if model.config.task == "music" else -1)).all()
        results.append([loss, model.parameters.grads.copy(), *(y[first:stop, :, lane] for lane, first, stop in spans)])
    # What is spelled in the padding moves other words to other lanes, where sums are rounded differently.
    bar = 1e-12 if model.config.char_features else 0.0
    for one, other in zip(results[1], results[2], strict=True):
        np.testing.assert_allclose(one, other, rtol=bar, atol=bar)
    for one, other in zip(results[0][2:], results[2][2:], strict=True):
        np.testing.assert_allclose(one, other, rtol=bar, atol=bar)


@each_kind
def test_stacked_both_ways_the_middle_token_would_come_back_by_its_neighbours(cell, variant):
    """Why there are towers: the same test that passes for them fails for layers that read both sides of those below."""

    def side(seed):
        layers = {}
        for index, n_in in enumerate((V, 6)):
            one, other = (make_recurrent(cell, variant, n_in, 3, one_hot=not index)[0] for _ in range(2))
            layers[f"layer{index}"] = BothWays(one, other)
        return Stack(layers)

    towers = Towers(side(0), side(1))
    p = bind(towers, 5)
    p.values[...] = 0.2 * np.abs(p.values) + 0.05 if variant == "relu" else p.values
    ids = np.array([[0, 1, 2, 3, 4, 1]]).T
    before = towers.forward(ids, towers.zero_state(1), Workspace(OPS, "float64"))[0].copy()
    ids[3, 0] = 0
    after = towers.forward(ids, towers.zero_state(1), Workspace(OPS, "float64"))[0]
    assert not np.array_equal(before[3], after[3])


@pytest.mark.thinned(5)
@each_body
@each_kind
def test_packed_or_padded_is_alone(cell, variant, body, inputs):
    """-ln P of each sequence, long and short ones together, is that of the sequence alone."""
    model = awake_model(cell, variant, body, inputs)
    lanes = lanes_of(model.config, np.random.default_rng(15))
    batch, spans = lay(model.config, lanes)
    nats, _ = model.nats(batch, model.zero_state(batch.lanes), model.workspace())
    sequences = [sequence for lane in lanes for sequence in lane]
    for sequence, (lane, first, stop) in zip(sequences, spans, strict=True):
        alone, _ = lay(model.config, [[sequence]])
        expected, _ = model.nats(alone, model.zero_state(1), model.workspace())
        assert expected.any()
        np.testing.assert_allclose(nats[first:stop, lane], expected[:, 0], rtol=1e-12, atol=1e-12)


@pytest.mark.thinned(5)
@pytest.mark.parametrize("body", ["cloze", "tag", "tag-causal", "yes-no", "classify", "classify-causal"])
@each_kind
def test_batches_of_whole_sequences_give_what_each_gives_alone(cell, variant, body):
    """As the corpus makes them: long and short, of one token, and empty ones, which have no output at all."""
    model, rng = awake_model(cell, variant, body), np.random.default_rng(16)
    lengths = [9, 0, 1, 2, 30, 0, 1, 3, 5, 1, 0]
    offsets = np.cumsum([0, *lengths])
    sequences = [random_sequence(model.config, length, rng) for length in lengths]
    parts = [lay(model.config, [[one]])[0] if len(one.tokens) else None for one in sequences]
    ids, targets = (
        np.concatenate([getattr(part, field)[:, 0] for part in parts if part]) for field in ("inputs", "targets")
    )
    whole = Sequences(ids, targets, offsets)
    seen = []
    for batch, numbers, begins, lanes in whole.batches(*whole.fit(3, 8)).placed():
        nats, _ = model.nats(batch, model.zero_state(batch.lanes), model.workspace())
        asked = 0.0
        for number, begin, lane in zip(numbers, begins, lanes, strict=True):
            seen.append(int(number))
            if not lengths[number]:
                continue
            alone, _ = model.nats(parts[number], model.zero_state(1), model.workspace())
            own = nats[begin : begin + lengths[number], lane]
            np.testing.assert_allclose(own, alone[:, 0], rtol=1e-12, atol=1e-12)
            asked += alone.sum()
        assert nats.sum() == pytest.approx(asked, rel=1e-12) and asked
    assert sorted(seen) == list(range(len(lengths)))


@each_kind
def test_an_encoders_state_is_the_same_however_long_the_padding(cell, variant):
    model, rng = awake_model(cell, variant, "translate"), np.random.default_rng(17)
    short, long = rng.integers(0, V, 2), rng.integers(0, V, 9)
    both = model.encode(*lay_sources([short, long]), model.workspace())
    for column, source in enumerate((short, long)):
        alone = model.encode(source[:, None].astype(np.int32), None, model.workspace())
        assert len(leaves(alone)) >= 2
        for padded, own in zip(leaves(both), leaves(alone), strict=True):
            assert own.any()
            np.testing.assert_allclose(padded[:, column], own[:, 0], rtol=1e-12, atol=1e-13)

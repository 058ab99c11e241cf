"""Whole sequences in batches: each once an epoch, none cut, each told from its neighbours, little of it padding."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charlm.text.batches.lanes import NO_TARGET
from charlm.text.batches.whole import PairBatches, WholeBatches, padded
from charlm.text.dataset import Pairs, Sequences
from charlm.text.tokens.vocabulary import NOTHING
from tests.forms import properties

quick = properties(20, 80)
sequence_lengths = st.lists(st.integers(0, 20), min_size=1, max_size=30)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 12))
seeds = st.sampled_from([None, 0, 7])
FAR = 10_000  # from an id to its target


def corpus(lengths):
    """Return sequences of these lengths; no id occurs twice, so that each tells where it is from."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.arange(offsets[-1], dtype=np.int32)
    return Sequences(ids, ids + FAR, offsets)


def parts(ids, offsets):
    return [tuple(ids[a:b].tolist()) for a, b in pairwise(offsets)]


def sequences_in(batch):
    """Cut each lane at its starts, as a network does; check the targets, and what lies after the last sequence."""
    found = []
    for lane in range(batch.lanes):
        inputs, targets, starts = (a[:, lane] for a in (batch.inputs, batch.targets, batch.starts))
        used = int(np.count_nonzero(inputs != NOTHING))
        assert starts[0] and (inputs[:used] != NOTHING).all()
        assert (inputs[used:] == NOTHING).all() and (targets[used:] == NO_TARGET).all()
        assert np.array_equal(targets[:used], inputs[:used] + FAR)
        assert starts[used : used + 1].all() and not starts[used + 1 :].any()
        edges = [*np.flatnonzero(starts[:used]).tolist(), used]
        found += [tuple(inputs[a:b].tolist()) for a, b in pairwise(edges)]
    return found


def waste(batches):
    """Return the share of steps that are padding."""
    read = sum(int(np.count_nonzero(batch.inputs != NOTHING)) for batch in batches)
    return 1 - read / sum(batch.inputs.size for batch in batches)


# --- sequences -------------------------------------------------------------------------------------------------------


@quick
@given(sequence_lengths, sizes, seeds, st.integers(0, 3))
@example([0], (3, 3), None, 0)
@example([0, 0, 0], (2, 5), 1, 0)
@example([1], (4, 3), 1, 0)
@example([20, 1, 1, 0, 1], (5, 4), None, 1)
def test_each_sequence_is_whole_and_once_an_epoch(lengths, size, seed, epoch):
    whole = corpus(lengths)
    batches = whole.batches(*whole.fit(*size), seed=seed)
    assert isinstance(batches, WholeBatches) and not batches.carries
    found = list(batches.epoch(epoch))
    assert len(found) == batches.steps(epoch)
    seen = sorted(one for batch in found for one in sequences_in(batch))
    assert seen == sorted(one for one in parts(whole.ids, whole.offsets) if one)
    assert all(batch.count for batch in found) or not whole.size
    assert all(batch.lanes <= size[0] for batch in found)


@quick
@given(sequence_lengths, sizes)
@example([0], (3, 3))
@example([0, 5, 0], (2, 2))
def test_placed_sequences_lie_where_it_says(lengths, size):
    whole = corpus(lengths)
    numbers = []
    for batch, group, begins, lanes in whole.batches(*whole.fit(*size)).placed():
        for number, begin, lane in zip(group.tolist(), begins.tolist(), lanes.tolist(), strict=True):
            numbers.append(number)
            own = whole.ids[whole.offsets[number] : whole.offsets[number + 1]]
            assert np.array_equal(batch.inputs[begin : begin + own.size, lane], own)
            assert not own.size or batch.starts[begin, lane]
            assert not batch.starts[begin + 1 : begin + own.size, lane].any()
    assert numbers == list(range(len(lengths)))  # empty ones too, and in order


@quick
@given(sequence_lengths, sizes, seeds)
def test_no_lane_is_longer_than_its_share_and_one_sequence(lengths, size, seed):
    """Graham 1969; and no lane stays empty while another has two sequences."""
    whole = corpus(lengths)
    for batch in whole.batches(*whole.fit(*size), seed=seed).epoch():
        tokens = (batch.inputs != NOTHING).sum(axis=0)
        longest = max(map(len, sequences_in(batch)), default=0)
        assert len(batch.inputs) <= max(1, tokens.sum() / batch.lanes + longest)
        assert tokens.min() > 0 or batch.starts.sum(axis=0).max() <= 2


@pytest.mark.parametrize(("batch_size", "seq_length"), [(8, 64), (16, 32), (64, 64)])
def test_batches_are_of_the_size_that_was_asked_for_and_hardly_padded(batch_size, seq_length):
    rng = np.random.default_rng(1)
    whole = corpus(rng.geometric(0.05, 4000))
    fitted = whole.fit(batch_size, seq_length)
    assert fitted == (batch_size, seq_length)
    found = list(whole.batches(*fitted, seed=3).epoch(1))
    tokens = [int(np.count_nonzero(batch.inputs != NOTHING)) for batch in found]
    assert len(found) > 3
    for count in tokens:
        assert abs(count / np.mean(tokens) - 1) < 0.4
    assert 0.9 < np.mean(tokens) / (batch_size * seq_length) < 1.1
    assert waste(found) < 0.1
    longest = int(np.diff(whole.offsets).max())
    assert max(len(batch.inputs) for batch in found) <= longest + seq_length


def test_one_long_sequence_among_short_ones_takes_a_lane_of_its_own():
    """Without it the lanes would be short; with it the short ones fill the other lanes as high."""
    whole = corpus([100, *[4] * 75])
    (batch,) = whole.batches(8, 50).epoch()
    assert batch.inputs.shape == (100, 4)
    assert (batch.inputs != NOTHING).all()
    assert sorted(batch.starts.sum(axis=0).tolist()) == [1, 25, 25, 25]


def test_one_long_sequence_does_not_make_the_other_batches_larger():
    whole = corpus([2000, *[10] * 1000])
    assert whole.fit(8, 32) == (8, 32)
    counts = sorted(int(np.count_nonzero(b.inputs != NOTHING)) for b in whole.batches(8, 32, seed=1).epoch())
    assert counts[-1] <= 2000 + 256 and counts[-2] <= 2 * 256


def test_fitting_never_asks_for_more_than_there_is():
    assert corpus([10] * 1000).fit(64, 64) == (64, 64)
    assert corpus([100] + [1] * 900).fit(64, 64) == (15, 64)
    assert corpus([3, 2]).fit(64, 64) == (1, 5)
    assert corpus([0, 0]).fit(64, 64) == (1, 1)


def test_without_a_seed_the_order_is_kept_and_with_one_it_is_of_seed_and_epoch():
    whole = corpus([2] * 60)

    def order(batches, epoch):
        return [tuple(sorted(sequences_in(batch))) for batch in batches.epoch(epoch)]

    plain = whole.batches(3, 8)
    assert order(plain, 0) == order(plain, 5)
    flat = [one for batch in order(plain, 0) for one in batch]
    assert flat == parts(whole.ids, whole.offsets)
    used = whole.batches(3, 8, seed=5)
    orders = [order(used, epoch) for epoch in range(4)]
    assert order(whole.batches(3, 8, seed=5), 3) == orders[3]  # without having gone through the epochs before
    assert order(used, 0) == orders[0]
    assert len({tuple(one) for one in orders}) == 4
    assert order(whole.batches(3, 8, seed=6), 0) != orders[0]


def equal(one, other):
    pairs = zip(one, other, strict=True)
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for a, b in pairs for f in ("inputs", "targets", "starts"))


@pytest.mark.parametrize("epoch", [0, 2])
def test_skipping_is_dropping(epoch):
    whole, pairs = corpus([7, 3, 8, 2, 9, 4, 6, 5] * 3), pairs_of([2, 3, 4, 1, 5, 2, 2], [3, 1, 2, 2, 4, 6, 1])
    for batches in (whole.batches(3, 9, seed=2), pairs.batches(2, 9, seed=2)):
        found = list(batches.epoch(epoch))
        assert len(found) > 3
        for skip in range(len(found) + 1):
            assert equal(list(batches.epoch(epoch, skip=skip)), found[skip:])


# --- pairs -----------------------------------------------------------------------------------------------------------


def pairs_of(sources, targets):
    """Return pairs of these lengths; no id occurs twice."""
    sides = [corpus(lengths) for lengths in (sources, targets)]
    return Pairs((sides[0].ids, sides[0].offsets), (sides[1].ids + FAR, sides[1].offsets))


def pairs_in(batch):
    """Return the pairs of a batch; check padding, starts and that the inputs are the targets of the step before."""
    found = []
    assert batch.starts is None and batch.source_starts[0].all()
    for lane in range(batch.lanes):
        source, target, inputs = batch.sources[:, lane], batch.targets[:, lane], batch.inputs[:, lane]
        S, T = int(np.count_nonzero(source != NOTHING)), int(np.count_nonzero(target != NO_TARGET))
        assert (source[S:] == NOTHING).all() and (target[T:] == NO_TARGET).all()
        assert inputs.tolist() == [NOTHING, *target[: T - 1].tolist(), *[NOTHING] * (len(inputs) - T)]
        begins = {0, S} - {len(source)}
        assert set(np.flatnonzero(batch.source_starts[:, lane]).tolist()) == begins
        found.append((tuple(source[:S].tolist()), tuple(target[:T].tolist())))
    assert batch.sources[-1].max() != NOTHING and batch.targets[-1].max() != NO_TARGET  # no longer than needed
    return found


both_lengths = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=40)


@quick
@given(both_lengths, st.integers(1, 9), seeds, st.integers(0, 3))
@example([(1, 1)], 4, None, 0)
def test_each_pair_comes_once_an_epoch(lengths, batch_size, seed, epoch):
    pairs = pairs_of(*zip(*lengths, strict=True))
    batches = pairs.batches(*pairs.fit(batch_size, 1), seed=seed)
    assert isinstance(batches, PairBatches) and not batches.carries
    found = list(batches.epoch(epoch))
    assert len(found) == batches.steps(epoch) == -(-len(lengths) // min(batch_size, len(lengths)))
    assert sorted(pair for batch in found for pair in pairs_in(batch)) == sorted(
        zip(parts(*pairs.sources), parts(*pairs.targets), strict=True)
    )
    assert sum(batch.count for batch in found) == pairs.size


def test_pairs_of_like_length_stand_side_by_side():
    rng = np.random.default_rng(2)
    lengths = rng.integers(1, 40, 640)
    pairs = pairs_of(lengths + rng.integers(0, 3, 640), lengths)
    found = list(pairs.batches(16, 1, seed=1).epoch())
    for field in ("targets", "sources"):
        assert np.mean(np.concatenate([getattr(batch, field).ravel() for batch in found]) == NO_TARGET) < 0.1
    lengths_in_turn = [len(batch.targets) for batch in found]
    assert lengths_in_turn != sorted(lengths_in_turn)  # yet not the short ones first


def test_the_order_of_pairs_is_of_seed_and_epoch():
    pairs = pairs_of([2] * 40, [3] * 40)

    def order(seed, epoch):
        return [tuple(pairs_in(batch)) for batch in pairs.batches(4, 1, seed=seed).epoch(epoch)]

    orders = [order(5, epoch) for epoch in range(4)]
    assert len({tuple(one) for one in orders}) == 4 and order(5, 2) == orders[2] != order(6, 2)
    assert order(None, 0) == order(None, 3)
    assert [pair for batch in order(None, 0) for pair in batch] == list(
        zip(parts(*pairs.sources), parts(*pairs.targets), strict=True)
    )


def test_side_by_side_the_shorter_are_padded_at_their_ends():
    columns, starts = padded(np.arange(10, 16), np.array([0, 1, 4, 6]), np.array([1, 0, 2]), NOTHING)
    assert columns.T.tolist() == [[11, 12, 13], [10, -1, -1], [14, 15, -1]]
    assert starts.T.tolist() == [[True, False, False], [True, True, False], [True, False, True]]

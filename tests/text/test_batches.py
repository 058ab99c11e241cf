"""Batches: every token asked for exactly once, with the right token before it, whatever the cut."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charlm.text.batches.lanes import NO_TARGET, LineBatches
from charlm.text.batches.stream import StreamBatches
from charlm.text.dataset import Dataset
from charlm.text.tokens.vocabulary import NOTHING
from tests.batches import joined, lines_of, same
from tests.forms import properties

quick = properties(15, 60)
line_lengths = st.lists(st.integers(1, 20), min_size=1, max_size=30)  # a length of 1 is an empty line: its <EOS> alone
sizes = st.tuples(st.integers(1, 9), st.integers(1, 12))


def corpus(lengths):
    """Return ids and offsets of lines with these lengths; no id occurs twice, so that each tells where it is from."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return np.arange(offsets[-1], dtype=np.int32), offsets


def lanes_as_lines(whole):
    """Cut each lane at its starts; check that what follows the last token of a lane asks for nothing and reads none."""
    lanes = []
    for lane in range(whole.targets.shape[1]):
        inputs, targets, starts = whole.inputs[:, lane], whole.targets[:, lane], whole.starts[:, lane]
        length = int(np.count_nonzero(targets != NO_TARGET))
        assert (targets[:length] != NO_TARGET).all()
        assert (inputs[length:] == NOTHING).all()
        assert not starts[length:].any()
        begins = np.flatnonzero(starts)
        assert length == 0 or begins[0] == 0
        edges = [*begins.tolist(), length]
        lanes.append([(tuple(inputs[a:b].tolist()), tuple(targets[a:b].tolist())) for a, b in pairwise(edges)])
    return lanes


def check_lengths(batches, epoch):
    """All batches of an epoch are of one length, give or take a step, and none is too long; `steps` counts them."""
    found = list(batches.epoch(epoch))
    assert batches.steps(epoch) == len(found)
    lengths = [len(batch.inputs) for batch in found]
    assert -(-sum(lengths) // batches.seq_length) == len(found)
    assert max(lengths) - min(lengths) <= 1
    assert min(lengths) >= 1 and max(lengths) <= batches.seq_length
    return found


# --- lines -----------------------------------------------------------------------------------------------------------


@quick
@given(line_lengths, sizes, st.sampled_from([None, 0, 7]), st.integers(0, 3))
@example([5], (4, 3), 1, 0)  # one line
@example([1, 1, 1], (2, 5), 1, 0)  # empty lines
@example([1], (3, 3), None, 0)
@example([20, 1, 1, 1, 1], (5, 4), None, 1)
@example([4, 4, 4, 4], (4, 2), 3, 2)
def test_each_line_is_learned_whole_and_once_an_epoch(lengths, size, seed, epoch):
    ids, offsets = corpus(lengths)
    dataset = Dataset.of(ids, offsets, "line")
    batch_size, seq_length = dataset.fit(*size)
    batches = dataset.batches(batch_size, seq_length, seed=seed)
    assert isinstance(batches, LineBatches)
    lanes = lanes_as_lines(joined(check_lengths(batches, epoch)))
    found = [line for lane in lanes for line in lane]
    assert sorted(targets for _, targets in found) == sorted(lines_of(dataset))
    assert all(inputs == (NOTHING, *targets[:-1]) for inputs, targets in found)
    lane_lengths = [sum(len(targets) for _, targets in lane) for lane in lanes]
    assert len(lanes) == batch_size and min(lane_lengths) > 0
    cuts = np.cumsum(lane_lengths) - ids.size * np.arange(1, batch_size + 1) / batch_size
    assert np.abs(cuts).max() <= max(lengths) / 2  # each lane ends within half a line of where it ideally would


@quick
@given(line_lengths, sizes)
def test_fitting_only_shrinks_and_only_what_the_corpus_cannot_fill(lengths, size):
    ids, offsets = corpus(lengths)
    batch_size, seq_length = Dataset.of(ids, offsets, "line").fit(*size)
    assert 1 <= batch_size <= size[0] and 1 <= seq_length <= size[1]
    if len(lengths) >= size[0] and ids.size >= size[0] * max(lengths):
        assert batch_size == size[0]
        if ids.size >= size[0] * size[1]:
            assert seq_length == size[1]


def test_a_large_corpus_is_not_shrunk_to_fit():
    ids, offsets = corpus([10] * 1000)
    assert Dataset.of(ids, offsets, "line").fit(64, 64) == (64, 64)
    assert Dataset.of(ids, np.array([0, ids.size]), "stream").fit(64, 64) == (64, 64)


def test_lanes_of_like_lines_are_equally_long():
    ids, offsets = corpus([6] * 40)
    whole = joined(list(Dataset.of(ids, offsets, "line").batches(8, 10).epoch(0)))
    assert (whole.targets != NO_TARGET).all()
    assert whole.targets.shape == (30, 8)


def test_without_a_seed_the_lines_keep_their_order():
    ids, offsets = corpus([3, 1, 4, 1, 5, 9, 2, 6])
    batches = Dataset.of(ids, offsets, "line").batches(2, 4)
    for epoch in (0, 1):
        whole = joined(list(batches.epoch(epoch)))
        columns = [column[column != NO_TARGET] for column in whole.targets.T]
        assert np.concatenate(columns).tolist() == ids.tolist()


def order_of(batches, epoch):
    """Return the lines of an epoch by the id of their first token, lane after lane."""
    return [targets[0] for lane in lanes_as_lines(joined(list(batches.epoch(epoch)))) for _, targets in lane]


def test_the_order_is_a_function_of_seed_and_epoch():
    ids, offsets = corpus([2] * 30)

    def make(seed):
        return Dataset.of(ids, offsets, "line").batches(3, 8, seed=seed)

    used = make(5)
    orders = [order_of(used, epoch) for epoch in range(4)]
    assert order_of(make(5), 3) == orders[3]  # without having gone through the epochs before
    assert order_of(used, 0) == orders[0]
    assert len({tuple(order) for order in orders}) == 4
    assert order_of(make(6), 0) != orders[0]
    assert sorted(order_of(make(6), 0)) == sorted(orders[0]) == list(range(0, 60, 2))


@pytest.mark.parametrize("epoch", [0, 2])
@pytest.mark.parametrize("unit", ["line", "stream"])
def test_skipping_is_dropping(unit, epoch):
    ids, offsets = corpus([7, 3, 8, 2, 9, 4, 6, 5] * 3)
    batches = Dataset.of(ids, offsets, unit).batches(3, 5, seed=2, context=4 if unit == "stream" else 0)
    whole = list(batches.epoch(epoch))
    assert len(whole) > 4
    for skip in range(len(whole) + 1):
        assert same(list(batches.epoch(epoch, skip=skip)), whole[skip:]), skip


def test_a_batch_in_which_no_line_starts_says_so():
    ids, offsets = corpus([12])
    found = list(Dataset.of(ids, offsets, "line").batches(1, 4).epoch())
    assert [batch.starts is None for batch in found] == [False, True, True]
    assert [batch.count for batch in found] == [4, 4, 4]


def test_the_ragged_end_is_not_counted():
    ids, offsets = corpus([5, 2])
    (batch,) = Dataset.of(ids, offsets, "line").batches(2, 9).epoch()
    assert batch.targets.T.tolist() == [[0, 1, 2, 3, 4], [5, 6, *[NO_TARGET] * 3]]
    assert batch.inputs.T.tolist() == [[NOTHING, 0, 1, 2, 3], [NOTHING, 5, *[NOTHING] * 3]]
    assert batch.starts.T.tolist() == [[True, *[False] * 4]] * 2
    assert batch.count == 7


# --- one stream ------------------------------------------------------------------------------------------------------


@quick
@given(st.integers(1, 120), sizes, st.integers(0, 40))
@example(1, (1, 1), 0)
@example(7, (3, 2), 100)
def test_a_stream_is_learned_once_in_lanes_that_follow_each_other(count, size, context):
    ids = np.arange(100, 100 + count, dtype=np.int32)
    dataset = Dataset.of(ids, np.array([0, count]), "stream")
    batches = dataset.batches(*dataset.fit(*size), seed=3, context=context)
    assert isinstance(batches, StreamBatches)
    whole = joined(check_lengths(batches, 1))
    end = 0
    for lane in range(whole.targets.shape[1]):
        targets = whole.targets[:, lane]
        rows = np.flatnonzero(targets != NO_TARGET)
        if not rows.size:
            continue  # whether there may be such lanes is the next test's question
        assert targets[rows].tolist() == ids[end : end + rows.size].tolist()
        assert rows.tolist() == list(range(rows[0], rows[0] + rows.size))
        assert rows[0] == min(context, end)  # the tokens that are only read
        before = np.concatenate([[NOTHING], ids])
        assert whole.inputs[: rows[-1] + 1, lane].tolist() == before[end - rows[0] : end + rows.size].tolist()
        assert (whole.inputs[rows[-1] + 1 :, lane] == NOTHING).all()
        end += rows.size
    assert end == count
    assert whole.starts[0].all() and not whole.starts[1:].any()


@pytest.mark.parametrize(
    ("count", "batch_size", "seq_length"), [(1030, 64, 16), (5, 4, 1), (1, 8, 8), (4096, 64, 64), (4100, 64, 64)]
)
def test_no_lane_of_a_fitted_stream_is_idle_and_none_much_longer(count, batch_size, seq_length):
    dataset = Dataset.of(np.arange(count, dtype=np.int32), np.array([0, count]), "stream")
    lanes = joined(list(dataset.batches(*dataset.fit(batch_size, seq_length)).epoch(0))).targets
    lengths = np.count_nonzero(lanes != NO_TARGET, axis=0)
    assert lengths.sum() == count
    assert lengths.max() - lengths.min() <= 1


def test_every_epoch_of_a_stream_is_the_same():
    batches = StreamBatches(50, np.arange, batch_size=3, seq_length=6)
    assert same(list(batches.epoch(0)), list(batches.epoch(5)))

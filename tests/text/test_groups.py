"""Sequences side by side: of like length, and never so many beside a long one that padding takes the memory."""

import numpy as np
import pytest

from charlm.text.batches import whole as sequences
from charlm.text.batches.whole import PairBatches, groups_of_like_length


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(sequences, "MOST_TOKENS", 100)


LENGTHS = {
    "short": [3] * 40,
    "one long": [*[3] * 20, 1000, *[2] * 20],
    "two long": [90, 3, 3, 1000, 3],
    "rising": list(range(1, 60)),
    "empty": [0, 0, 5, 0],
    "one": [7],
    "none": [],
}


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_every_sequence_is_in_one_group_within_both_bounds(name, batch_size):
    lengths = LENGTHS[name]
    groups = list(groups_of_like_length(lengths, batch_size))
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    in_order = [lengths[i] for group in groups for i in group]
    assert in_order == sorted(lengths)
    for group in groups:
        assert 1 <= len(group) <= batch_size
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= 100


def drawn(rng, lengths):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return rng.integers(2, 9, int(offsets[-1])).astype(np.int32), offsets


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("seed", [None, 1])
def test_one_long_pair_does_not_pad_the_others(side, seed):
    rng = np.random.default_rng(2)
    usual, long = rng.integers(1, 6, 30), rng.integers(1, 6, 30)
    long[11] = 500
    lengths = (long, usual) if side == "source" else (usual, long)
    batches = PairBatches(*(drawn(rng, one) for one in lengths), batch_size=16, seed=seed)
    seen = 0
    for batch in batches.epoch():
        for one in (batch.sources, batch.targets):
            assert one.size <= 100 or one.shape[1] == 1
        seen += batch.lanes
    assert seen == 30
    assert batches.steps() == len(list(batches.epoch()))


def test_batches_within_the_bound_are_as_they_were(monkeypatch):
    rng = np.random.default_rng(2)
    sides = [drawn(rng, rng.integers(1, 6, 50)) for _ in range(2)]
    for batch_size in (1, 16):
        found = []
        for most in (100, 1 << 30):
            monkeypatch.setattr(sequences, "MOST_TOKENS", most)
            found.append(list(PairBatches(*sides, batch_size=batch_size, seed=3).epoch()))
        for one, other in zip(*found, strict=True):
            np.testing.assert_array_equal(one.targets, other.targets)
            np.testing.assert_array_equal(one.sources, other.sources)

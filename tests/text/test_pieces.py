"""Pieces of music: text into keys, keys into rolls, rolls into batches."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.text.batches.lanes import NO_TARGET
from charlm.text.dataset import Pieces
from charlm.text.tokens.music_steps import HIGHEST_KEY, REST, format_step, parse_steps
from tests.forms import properties

quick = properties(20, 80)
chords = st.sets(st.integers(0, HIGHEST_KEY), max_size=6)
KEYS = 14


# --- the text --------------------------------------------------------------------------------------------------------


@quick
@given(st.lists(chords, max_size=20), st.sampled_from([" ", "  ", "\t "]))
def test_what_is_written_is_read(steps, space):
    assert list(parse_steps(space.join(map(format_step, steps)))) == [tuple(sorted(step)) for step in steps]


@quick
@given(st.lists(st.lists(st.integers(0, HIGHEST_KEY), max_size=6), max_size=9))
def test_what_is_read_is_written_in_order(steps):
    text = " ".join(",".join(map(str, step)) or REST for step in steps)
    parsed = list(parse_steps(text))
    assert parsed == [tuple(step) for step in steps]
    written = " ".join(map(format_step, parsed))
    assert list(parse_steps(written)) == [tuple(sorted(step)) for step in steps]
    assert " ".join(map(format_step, parse_steps(written))) == written


def test_a_piece():
    assert list(parse_steps(" 60,64,67 -  072 ")) == [(60, 64, 67), (), (72,)]
    assert list(parse_steps("")) == list(parse_steps("  ")) == []
    assert [format_step(step) for step in ((67, 60), (), (5,))] == ["60,67", "-", "5"]


@pytest.mark.parametrize(
    "step",
    ["60,,64", "200", "128", "x", "60,", ",60", ",", "--", "-60", "60,-", "60.5", "60;64", "1e2", "0060", "+60", "6_0"],
)
def test_what_is_no_step_is_named(step):
    with pytest.raises(ValueError, match=r"^step 3 is ") as refusal:
        list(parse_steps(f"60 - {step} 62"))
    assert repr(step) in str(refusal.value) and "127" in str(refusal.value)


def test_a_long_mistake_is_told_in_short():
    with pytest.raises(ValueError, match="step 1") as refusal:
        list(parse_steps("x" * 1000))
    assert len(str(refusal.value)) < 120


# --- batches ---------------------------------------------------------------------------------------------------------

piece_lengths = st.lists(st.integers(1, 12), min_size=1, max_size=12)
sizes = st.tuples(st.integers(1, 5), st.integers(1, 9))


def pieces_of(lengths, labels=0):
    """Return pieces in which no step is like another: the keys are the bits of its number, from 1 on."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    numbers = np.arange(1, offsets[-1] + 1)
    roll = (numbers[:, None] >> np.arange(KEYS) & 1).astype(np.uint8)
    return Pieces(roll, offsets, np.arange(len(lengths)) % labels if labels else None, labels)


def numbers_of(rows):
    """Return the numbers of steps [..., keys]; 0 where nothing sounds."""
    return rows.astype(int) @ (1 << np.arange(rows.shape[-1]))


@quick
@given(piece_lengths, sizes, st.sampled_from([0, 1, 3]), st.sampled_from([None, 4]), st.integers(0, 2))
def test_each_step_is_asked_for_once_and_the_one_before_is_read(lengths, size, labels, seed, epoch):
    pieces = pieces_of(lengths, labels)
    batches = pieces.batches(*pieces.fit(*size), seed=seed)
    assert batches.carries
    found = list(batches.epoch(epoch))
    assert len(found) == batches.steps(epoch)
    for batch in found:
        assert batch.inputs.shape[1:] == (KEYS + labels, batches.batch_size)
        assert batch.targets.shape[1:] == (KEYS, batches.batch_size)
        assert batch.inputs.dtype == np.uint8 and len(batch.inputs) <= size[1]
    inputs, targets = (np.concatenate([getattr(b, f) for b in found]).transpose(2, 0, 1) for f in ("inputs", "targets"))
    none = [np.zeros(b.inputs.shape[::2], bool) if b.starts is None else b.starts for b in found]
    starts = np.concatenate(none).T
    seen = []
    for x, y, begins in zip(inputs, targets, starts, strict=True):
        used = int(np.count_nonzero(y[:, 0] != NO_TARGET))
        assert (y[used:] == NO_TARGET).all() and not x[used:].any() and (y[:used] != NO_TARGET).all()
        edges = [*np.flatnonzero(begins).tolist(), used]
        for a, b in pairwise(edges):
            asked, read = numbers_of(y[a:b]).tolist(), numbers_of(x[a:b, :KEYS]).tolist()
            assert read == [0, *asked[:-1]]
            units = x[a:b, KEYS:]
            assert not units[1:].any()
            seen.append((asked, np.flatnonzero(units[0]).tolist()))
    expected = [
        (list(range(a + 1, b + 1)), [i % labels] if labels else []) for i, (a, b) in enumerate(pairwise(pieces.offsets))
    ]
    assert sorted(seen) == sorted(expected)


@quick
@given(piece_lengths, sizes)
def test_fitting_only_shrinks(lengths, size):
    pieces = pieces_of(lengths)
    batch_size, seq_length = pieces.fit(*size)
    assert 1 <= batch_size <= size[0] and 1 <= seq_length <= size[1]
    assert pieces.size == sum(lengths)


def test_the_order_of_pieces_is_of_seed_and_epoch():
    pieces = pieces_of([2] * 30)

    def order(seed, epoch):
        return [numbers_of(b.targets.transpose(0, 2, 1)).tolist() for b in pieces.batches(3, 4, seed=seed).epoch(epoch)]

    assert order(1, 2) == order(1, 2)
    assert len({str(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4
    assert order(None, 0) == order(None, 1)

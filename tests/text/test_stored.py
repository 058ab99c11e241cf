"""A corpus on the disk is learned from as one in memory is: the same vocabulary, the same lines, the same stream."""

from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.config import TextConfig, TrainConfig
from charlm.errors import CorpusError
from charlm.session import prepare
from charlm.text.batches.lanes import NO_TARGET
from charlm.text.ids.held_out import HeldOutLines, split_lines
from charlm.text.ids.store import DiskStore
from charlm.text.learning import encode_corpus, learn_vocabulary
from charlm.text.tokens.vocabulary import NOTHING
from tests.batches import joined, lines_of, same
from tests.forms import properties
from tests.stored import keep_on_disk
from tests.text.test_batches import lanes_as_lines

RNG = np.random.default_rng(4)
LINES = ["".join(RNG.choice(list("abcdefgh é"), RNG.integers(0, 30))) for _ in range(300)]
LEVELS = [TextConfig(), TextConfig(level="word"), TextConfig(level="word", split="whitespace", lowercase=True)]


def learn(text, unit, **options):
    text = TextConfig(**{**text.to_dict(), "unit": unit})
    return learn_vocabulary(LINES, text, **{"fraction": 0.2, "seed": 3, **options})


def both(monkeypatch, folder, text, unit, **options):
    """Return what is learned in memory, and from the disk."""
    in_memory = learn(text, unit, **options)
    keep_on_disk(monkeypatch, folder)
    return in_memory, learn(text, unit, **options)


@pytest.mark.parametrize("text", LEVELS)
@pytest.mark.parametrize("options", [{}, {"fraction": 0.0}, {"fraction": 0.8, "min_count": 3}, {"max_size": 4}])
def test_lines_are_held_out_and_numbered_as_in_memory(monkeypatch, tmp_path, text, options):
    kept, stored = both(monkeypatch, tmp_path, text, "line", **options)
    assert isinstance(stored[1].store, DiskStore)
    assert stored[0].vocabulary == kept[0].vocabulary
    for mine, its in zip(stored[1:], kept[1:], strict=True):
        assert lines_of(mine) == lines_of(its)
        assert (mine.size, mine.sequences) == (its.size, its.sequences)
        assert np.array_equal(mine.ids, its.ids) and mine.ids.dtype == its.ids.dtype == np.int32
        for size in ((64, 64), (3, 5), (1, 1), (2, 1000)) if its.size else ():
            assert mine.fit(*size) == its.fit(*size)


@pytest.mark.thinned(2)
@pytest.mark.parametrize("text", LEVELS)
@pytest.mark.parametrize("options", [{}, {"fraction": 0.0}, {"fraction": 0.8, "min_count": 3}])
def test_a_stream_makes_the_very_same_batches(monkeypatch, tmp_path, text, options):
    kept, stored = both(monkeypatch, tmp_path, text, "stream", **options)
    assert isinstance(stored[1].store, DiskStore)
    assert stored[0].vocabulary == kept[0].vocabulary
    for mine, its in zip(stored[1:], kept[1:], strict=True):
        assert mine.size == its.size
        assert np.array_equal(mine.ids, its.ids) and mine.ids.dtype == its.ids.dtype == np.int32
        if not its.size:
            continue
        for sizes, context in (((4, 6), 0), ((3, 5), 20), ((64, 64), 0), ((2, 1), 3)):
            assert mine.fit(*sizes) == its.fit(*sizes)
            batches = [part.batches(*its.fit(*sizes), seed=1, context=context) for part in (mine, its)]
            assert batches[0].steps(0) == batches[1].steps(0)
            whole = list(batches[1].epoch(0))
            assert same(list(batches[0].epoch(0)), whole)
            for skip in {1, len(whole) // 2, len(whole) - 1, len(whole)}:
                assert same(list(batches[0].epoch(2, skip=skip)), whole[skip:])


@pytest.mark.parametrize("unit", ["line", "stream"])
def test_a_corpus_encoded_again_is_what_was_learned(monkeypatch, tmp_path, unit):
    keep_on_disk(monkeypatch, tmp_path)
    tokenizer, *parts = learn(TextConfig(), unit)
    again = encode_corpus(tokenizer, LINES, unit).split(0.2, 3)
    for mine, its in zip(again, parts, strict=True):
        sizes = its.fit(4, 9)
        assert same(list(mine.batches(*sizes, seed=1).epoch(0)), list(its.batches(*sizes, seed=1).epoch(0)))


# --- lines ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(monkeypatch, tmp_path):
    keep_on_disk(monkeypatch, tmp_path)
    return learn(TextConfig(), "line")[1]


def lines_in(batches, epoch):
    """Return the lines of an epoch, group by group as they are packed, each checked for what is read before it."""
    found = batches.epoch(epoch)
    for _, count in batches._groups(epoch):
        for lane in lanes_as_lines(joined(list(islice(found, count)))):
            for inputs, targets in lane:
                assert inputs == (NOTHING, *targets[:-1])
                yield targets


@pytest.mark.parametrize("sizes", [(4, 6), (1, 50), (3, 1), (20, 7)])
@pytest.mark.parametrize("seed", [None, 0, 5])
@pytest.mark.parametrize("epoch", [0, 3])
def test_each_line_is_learned_once_an_epoch(stored, sizes, seed, epoch):
    batches = stored.batches(*stored.fit(*sizes), seed=seed)
    found = list(batches.epoch(epoch))
    assert len(found) == batches.steps(epoch)
    assert all(1 <= len(batch.inputs) <= sizes[1] for batch in found)
    assert sum(batch.count for batch in found) == stored.size
    assert Counter(lines_in(batches, epoch)) == Counter(lines_of(stored))


def test_without_a_seed_the_lines_keep_their_order(stored):
    assert list(lines_in(stored.batches(1, 40), 2)) == lines_of(stored)


def test_a_seed_shuffles_windows_and_lines_anew_each_epoch(monkeypatch, stored):
    monkeypatch.setattr("charlm.text.batches.lanes.GROUP_TOKENS", 1500)
    orders = [list(lines_in(stored.batches(1, 40, seed=seed), epoch)) for seed, epoch in [(5, 0), (5, 1), (6, 0)]]
    again = list(lines_in(stored.batches(1, 40, seed=5), 0))
    assert again == orders[0]
    assert len({tuple(order) for order in orders}) == 3
    place = {line: number for number, line in enumerate(lines_of(stored)) if len(line) > 8}
    for order in orders:
        places = np.array([place[line] for line in order if line in place])
        first = places[: places.size // 4]
        assert np.histogram(first, 4, (0, 240))[0].min() > 0  # lines from all over the corpus stand together
        assert np.abs(np.diff(places)).mean() > 15  # and not in runs


@pytest.mark.thinned(6)
@pytest.mark.parametrize("seed", [None, 2])
@pytest.mark.parametrize("epoch", [0, 2])
def test_skipping_is_dropping(stored, seed, epoch):
    batches = stored.batches(3, 9, seed=seed)
    whole = list(batches.epoch(epoch))
    assert len(whole) > 60
    for skip in range(len(whole) + 1):
        assert same(list(batches.epoch(epoch, skip=skip)), whole[skip:]), skip


def test_one_group_in_its_order_is_packed_as_in_memory(monkeypatch, tmp_path):
    (_, kept, _), (_, stored, _) = both(monkeypatch, tmp_path, TextConfig(), "line")
    monkeypatch.setattr("charlm.text.batches.lanes.GROUP_TOKENS", 1 << 20)
    sizes = kept.fit(7, 11)
    whole, expected = (joined(list(part.batches(*sizes).epoch(0))) for part in (stored, kept))
    assert np.array_equal(whole.targets, expected.targets)
    assert np.array_equal(whole.inputs, expected.inputs)
    assert np.array_equal(whole.starts, expected.starts)


def test_batches_of_nothing_but_padding_are_learned_from_without_harm(monkeypatch, tmp_path):
    """Batches of one step are counted before the lanes are laid: there may be more than the lanes need."""
    keep_on_disk(monkeypatch, tmp_path)
    config = TrainConfig(batch_size=3, seq_length=1, epochs=1, valid_fraction=0.1)
    session = prepare(["abcab", "ab", "a", "c"] * 12, TextConfig(), {"hidden_size": 3, "num_layers": 1}, config)
    counts = [batch.count for batch in session.trainer.train.epoch(0)]
    assert 0 in counts and sum(counts) == session.train.size
    assert [progress.tokens for progress in session.trainer.run()] == counts


# --- what is held out -------------------------------------------------------------------------------------------------


@properties(20, 80)
@given(st.integers(0, 3000), st.floats(0, 0.99), st.integers(0, 2**64 - 1), st.lists(st.integers(0, 3000), max_size=4))
def test_lines_are_told_part_by_part(count, fraction, seed, cuts):
    drawn = np.random.Philox(key=np.array([seed, 2**64 - 1], np.uint64)).random_raw(count)
    held_count = min(max(round(count * fraction), 1), count - 1) if fraction and count >= 2 else 0
    expected = np.zeros(count, bool)
    expected[np.argsort(drawn, kind="stable")[:held_count]] = True
    rule = HeldOutLines(count, fraction, seed)
    edges = [0, *sorted(min(at, count) for at in cuts), count]
    assert np.concatenate([rule.mask(*edge) for edge in pairwise(edges)]).tolist() == expected.tolist()
    kept, held = split_lines(count, fraction, seed)
    assert held.tolist() == np.flatnonzero(expected).tolist() and kept.tolist() == np.flatnonzero(~expected).tolist()


@pytest.mark.parametrize(("bits", "fraction"), [(2, 0.3), (3, 0.5), (2, 0.999), (4, 0.001)])
def test_equal_numbers_are_held_out_in_order(monkeypatch, bits, fraction):
    """Two lines hardly ever draw the same 64 bits; here they do."""
    numbers = HeldOutLines._numbers
    monkeypatch.setattr(HeldOutLines, "_numbers", lambda self, *part: numbers(self, *part) >> np.uint64(64 - bits)
                        << np.uint64(64 - bits))  # fmt: skip
    monkeypatch.setattr("charlm.text.ids.held_out._DRAWN_TOGETHER", 64)
    rule = HeldOutLines(1000, fraction, 7)
    order = np.argsort(rule._numbers(0, 1000), kind="stable")
    assert np.flatnonzero(rule.mask(0, 1000)).tolist() == sorted(order[: round(1000 * fraction)].tolist())


# --- whole trainings --------------------------------------------------------------------------------------------------

NETWORK = {"hidden_size": 6, "num_layers": 1}


def trained(unit, steps, *, stop=None, lines=LINES):
    """Train; where it is broken off after `stop` steps, go on in a session of its own."""
    config = TrainConfig(batch_size=5, seq_length=8, max_steps=steps, valid_fraction=0.2, seed=2)
    session = prepare(lines, TextConfig(unit=unit), NETWORK, config)
    run = session.trainer.run()
    if stop is not None:
        for _ in range(stop):
            next(run)
        state = session.trainer.state()
        session = prepare(lines, TextConfig(unit=unit), NETWORK, config)
        session.trainer.restore(state)
        run = session.trainer.run()
    for _ in run:
        pass
    return session.trainer


def test_a_stream_is_learned_to_the_same_bits(monkeypatch, tmp_path):
    kept = trained("stream", 40)
    keep_on_disk(monkeypatch, tmp_path)
    stored = trained("stream", 40)
    assert np.array_equal(stored.model.parameters.values, kept.model.parameters.values)
    assert stored.numbers.history == kept.numbers.history


@pytest.mark.thinned(2)
@pytest.mark.parametrize("unit", ["line", "stream"])
def test_a_training_is_resumed_to_the_same_bits(monkeypatch, tmp_path, times, unit):
    keep_on_disk(monkeypatch, tmp_path)
    whole = trained(unit, 160)
    epoch = whole.train.steps(0)
    assert 20 < epoch < 140
    for stop in (1, epoch // 2, epoch - 1, epoch, epoch + 7)[:: times(2, 1)]:
        broken = trained(unit, 160, stop=stop)
        assert np.array_equal(broken.model.parameters.values, whole.model.parameters.values), stop
        assert broken.numbers.history == whole.numbers.history


@pytest.mark.parametrize("unit", ["line", "stream"])
@pytest.mark.parametrize("lines", [[], [""], ["", ""]])
def test_an_empty_corpus_is_refused(monkeypatch, tmp_path, unit, lines):
    keep_on_disk(monkeypatch, tmp_path)
    with pytest.raises(CorpusError):
        prepare(lines, TextConfig(unit=unit), NETWORK, TrainConfig())


@pytest.mark.parametrize("unit", ["line", "stream"])
def test_the_smallest_corpora_can_be_learned_from(monkeypatch, tmp_path, unit):
    keep_on_disk(monkeypatch, tmp_path)
    for lines in (["a"], ["a", "b"], ["abc", "", "d"]):
        config = TrainConfig(max_steps=3, valid_fraction=0.0)
        session = prepare(lines, TextConfig(unit=unit), NETWORK, config, valid_lines=["ab", "z"])
        assert session.valid.size == 5
        assert len(list(session.trainer.run())) == 3


def test_no_target_is_the_padding(stored):
    for batch in stored.batches(4, 6, seed=1).epoch(0):
        assert (batch.inputs[batch.targets == NO_TARGET] == NOTHING).all()

"""A training put together from lines and configurations."""

import dataclasses

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.errors import CorpusError, UsageError
from charlm.inference.evaluation import CONTEXT
from charlm.nn.build import build
from charlm.session import VALIDATION_LANES, prepare
from charlm.text import EOS, UNK, UNK_ID, split_lines
from tests.batches import joined

NETWORK = {"hidden_size": 4, "num_layers": 1}
LINES = ["abc", "abd", "abe", "", "ba", "cab", "dab", "eab"] * 4


def test_the_vocabulary_is_of_the_part_that_is_learned_from():
    lines = [f"w{i}" for i in range(10)]
    session = prepare(lines, TextConfig(level="word"), NETWORK, TrainConfig(valid_fraction=0.3, seed=4))
    kept, held = split_lines(10, 0.3, 4)
    assert set(session.language_model.tokenizer.vocabulary.tokens) == {EOS, UNK, *(f"w{i}" for i in kept)}
    assert session.language_model.model.config.vocabulary_size == 2 + kept.size
    assert (session.train.sequences, session.valid.sequences) == (kept.size, held.size)
    assert np.count_nonzero(session.valid.ids == UNK_ID) == held.size


@pytest.mark.parametrize("unit", ["line", "stream"])
def test_held_out_lines_of_their_own_leave_the_corpus_whole(unit):
    config = TrainConfig(valid_fraction=0.5)
    session = prepare(LINES, TextConfig(unit=unit), NETWORK, config, valid_lines=iter(["abz", "zz"]))
    tokenizer = session.language_model.tokenizer
    assert session.train.ids.tolist() == tokenizer.encode_lines(LINES)[0].tolist()
    assert session.valid.ids.tolist() == tokenizer.encode_lines(["abz", "zz"])[0].tolist()
    assert np.count_nonzero(session.valid.ids == UNK_ID) == 3
    assert session.valid.unit == unit


def test_limits_of_the_vocabulary_come_from_the_configuration():
    session = prepare(LINES, TextConfig(), NETWORK, TrainConfig(vocab_size=2, valid_fraction=0.0))
    assert session.language_model.tokenizer.vocabulary.tokens == (EOS, UNK, "a", "b")
    session = prepare(["aab"], TextConfig(), NETWORK, TrainConfig(min_count=2, valid_fraction=0.0))
    assert session.language_model.tokenizer.vocabulary.tokens == (EOS, UNK, "a")


def test_the_seed_decides_the_weights_the_split_and_the_order():
    def look(seed):
        session = prepare(LINES, TextConfig(), NETWORK, TrainConfig(seed=seed, valid_fraction=0.25))
        whole = prepare(LINES, TextConfig(), NETWORK, TrainConfig(seed=seed, valid_fraction=0.0))
        weights, batch = session.language_model.model.parameters.values, next(whole.trainer.train.epoch(0))
        return [part.tolist() for part in (weights, session.valid.ids, batch.targets)]

    first, again, other = look(1), look(1), look(2)
    assert first == again
    assert all(mine != its for mine, its in zip(first, other, strict=True))


def test_the_first_weights_are_those_that_build_draws():
    session = prepare(LINES, TextConfig(), NETWORK, TrainConfig(seed=7))
    model = session.language_model.model
    assert model.config == ModelConfig(len(session.language_model.tokenizer.vocabulary), **NETWORK)
    expected = build(model.config, NumpyBackend(), seed=7).parameters.values
    assert expected.any() and np.array_equal(model.parameters.values, expected)


def test_the_sizes_are_fitted_to_the_corpus():
    config = TrainConfig(batch_size=64, seq_length=64, valid_fraction=0.0)
    session = prepare(["abcd"] * 6, TextConfig(), NETWORK, config)
    assert (session.batch_size, session.seq_length) == (6, 5)
    assert [batch.targets.shape for batch in session.trainer.train.epoch(0)] == [(5, 6)]
    small = prepare(["abcd"] * 60, TextConfig(), NETWORK, dataclasses.replace(config, batch_size=3, seq_length=2))
    assert (small.batch_size, small.seq_length) == (3, 2)


def test_without_held_out_text_nothing_is_judged():
    session = prepare(LINES, TextConfig(), NETWORK, TrainConfig(valid_fraction=0.0, max_steps=2))
    assert session.trainer.valid is None and session.valid.ids.size == 0
    assert [p.valid_nats for p in session.trainer.run()] == [None, None]


def test_held_out_text_that_is_empty_is_refused():
    with pytest.raises(CorpusError, match="held-out text is empty"):
        prepare(LINES, TextConfig(), NETWORK, TrainConfig(), valid_lines=[])


def test_a_single_line_is_learned_from():
    session = prepare(["abc"], TextConfig(), NETWORK, TrainConfig(valid_fraction=0.9, max_steps=2))
    assert (session.train.sequences, session.valid.sequences) == (1, 0)
    assert len(list(session.trainer.run())) == 2


def test_held_out_text_is_judged_whole_and_in_its_order():
    session = prepare(LINES * 9, TextConfig(), NETWORK, TrainConfig(valid_fraction=0.5))
    whole = joined(list(session.trainer.valid.epoch(0)))
    assert whole.count == session.valid.ids.size
    assert session.trainer.valid.batch_size == VALIDATION_LANES
    columns = [column[column >= 0] for column in whole.targets.T]
    assert np.concatenate(columns).tolist() == session.valid.ids.tolist()


def test_a_held_out_stream_is_read_with_what_came_before():
    session = prepare(LINES * 40, TextConfig(unit="stream"), NETWORK, TrainConfig(valid_fraction=0.5))
    whole = joined(list(session.trainer.valid.epoch(0)))
    first_asked = (whole.targets >= 0).argmax(axis=0)
    assert whole.count == session.valid.ids.size > CONTEXT
    assert first_asked[0] == 0 and first_asked.max() == CONTEXT


def test_the_history_of_the_model_is_the_trainers():
    session = prepare(LINES, TextConfig(), NETWORK, TrainConfig(max_steps=3))
    for progress in session.trainer.run():
        assert [record["step"] for record in session.language_model.history] == list(range(1, progress.step + 1))


@pytest.mark.parametrize("lines", [[], [""], ["", ""]])
@pytest.mark.parametrize("unit", ["line", "stream"])
def test_an_empty_corpus_is_refused(lines, unit):
    with pytest.raises(CorpusError):
        prepare(lines, TextConfig(unit=unit), NETWORK, TrainConfig())


@pytest.mark.thinned(2)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("unit", ["line", "stream"])
def test_the_smallest_corpora_can_be_learned_from_unless_all_of_them_is_held_out(count, unit):
    for fraction in (0.0, 0.05, 0.3, 0.9):
        config = TrainConfig(max_steps=3, valid_fraction=fraction)
        for lines in (["a" * count], ["a"] * count, [*[""] * count, "a"]):
            try:
                session = prepare(lines, TextConfig(unit=unit), NETWORK, config)
            except CorpusError:
                assert fraction and (unit == "stream" or "" in lines)
            else:
                assert len(list(session.trainer.run())) == 3


@pytest.mark.parametrize(("lines", "unit"), [(["a"], "stream"), (["", "", "a"], "line")])
def test_a_corpus_whose_every_token_is_held_out_is_refused_with_a_hint_that_helps(lines, unit):
    """There is nothing that --min-count or --vocab-size could do about it."""
    with pytest.raises(CorpusError) as refusal:
        prepare(lines, TextConfig(unit=unit), NETWORK, TrainConfig(valid_fraction=0.9, seed=3))
    assert "--valid-fraction" in refusal.value.hint


def test_a_network_that_does_not_hold_is_refused():
    with pytest.raises(UsageError, match="--tie-weights"):
        prepare(LINES, TextConfig(), {"tie_weights": True}, TrainConfig())

"""Whole-corpus figures: what is summed, what is left out, and that the cut into batches does not show."""

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.config import CELL_NAMES, ModelConfig, TextConfig, TrainConfig
from charlm.errors import CorpusError
from charlm.inference.evaluation import Evaluation, evaluate, perplexity
from charlm.inference.figures import evaluate_text
from charlm.language_model import LanguageModel
from charlm.nn.build import build
from charlm.text import NOTHING, UNK_ID, Tokenizer, Vocabulary, make_splitter
from charlm.text.batches.lanes import Batch
from charlm.text.dataset import Dataset
from charlm.text.tokens.codec import Codec

OPS = NumpyBackend()
VOCABULARY = 6
LENGTHS = [5, 1, 9, 3, 1, 14, 7, 2, 6, 4]


def random_model(cell="lstm", **options):
    """Build a float64 model whose every weight is random, so that state, input and bias all matter."""
    model = build(ModelConfig(VOCABULARY, cell=cell, hidden_size=4, num_layers=2, dtype="float64", **options), OPS)
    rng = np.random.default_rng(3)
    for view in model.parameters.named(model.parameters.values).values():
        view[...] = rng.normal(0, 0.8, view.shape)
    return model


def random_dataset(unit, seed=4):
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.int64)
    ids = np.random.default_rng(seed).integers(1, VOCABULARY, offsets[-1]).astype(np.int32)
    ids[offsets[1:] - 1] = 0
    return Dataset.of(ids, offsets, unit)


def nats_of(model, ids):
    """Return -ln P of each token of one sequence, read on its own and in one piece."""
    inputs = np.array([NOTHING, *ids[:-1]], np.int32)[:, None]
    nats, _ = model.nats(Batch(inputs, ids[:, None]), model.zero_state(1), model.workspace())
    return nats[:, 0]


def table_model(bits, tokens="ab", **text):
    """Make a language model that gives token i the probability 2 ** -bits[i], whatever came before."""
    vocabulary = Vocabulary(("<EOS>", "<UNK>", *tokens))
    model = build(ModelConfig(len(vocabulary), cell="rnn", hidden_size=1, num_layers=1, dtype="float64"), OPS)
    model.parameters.value("head.b_y")[:, 0] = -math.log(2.0) * np.array(bits)
    tokenizer = Tokenizer(make_splitter("char", "punct", lowercase=False), vocabulary)
    return LanguageModel(model, Codec(tokenizer), TextConfig(**text), TrainConfig())


# --- the sum over a corpus -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize(("lanes", "steps"), [(1, 64), (3, 4), (4, 1)])
def test_packed_lines_sum_to_each_line_alone(cell, lanes, steps):
    model, dataset = random_model(cell), random_dataset("line")
    alone = [nats_of(model, dataset.ids[a:b]) for a, b in pairwise(dataset.store.offsets)]
    each, unknown = np.concatenate(alone), dataset.ids == UNK_ID
    assert 0 < unknown.sum() < each.size
    figures = evaluate(model, dataset.batches(lanes, steps), model.workspace())
    assert (figures.tokens, figures.oov) == (sum(LENGTHS), unknown.sum())
    assert figures.nats == pytest.approx(each.sum(), abs=1e-9)
    assert figures.oov_nats == pytest.approx(each[unknown].sum(), abs=1e-9)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_a_stream_in_lanes_that_read_all_before_them_equals_one_lane(cell):
    model, dataset = random_model(cell), random_dataset("stream")
    each, unknown = nats_of(model, dataset.ids), dataset.ids == UNK_ID
    for lanes, steps in [(1, 7), (4, 5), (7, 100)]:
        figures = evaluate(model, dataset.batches(lanes, steps, context=dataset.ids.size), model.workspace())
        assert (figures.tokens, figures.oov) == (dataset.ids.size, unknown.sum())
        assert figures.nats == pytest.approx(each.sum(), abs=1e-9)
        assert figures.oov_nats == pytest.approx(each[unknown].sum(), abs=1e-9)


def test_context_makes_a_difference():
    """The test above can fail: lanes that read nothing before them give another sum."""
    model, dataset = random_model(), random_dataset("stream")
    with_context = evaluate(model, dataset.batches(4, 8, context=99), model.workspace())
    without = evaluate(model, dataset.batches(4, 8), model.workspace())
    assert abs(with_context.nats - without.nats) > 1e-3
    assert with_context.tokens == without.tokens


def test_evaluating_changes_nothing_and_drops_nothing_out():
    model, dataset = random_model(dropout=0.5), random_dataset("line")
    before = model.parameters.values.copy()
    ws = model.workspace()
    first = evaluate(model, dataset.batches(3, 4), ws)
    assert evaluate(model, dataset.batches(3, 4), ws) == first
    assert np.array_equal(model.parameters.values, before)
    plain = random_model()
    plain.parameters.values[...] = before
    assert evaluate(plain, dataset.batches(3, 4), plain.workspace()) == first


# --- the figures of a text -------------------------------------------------------------------------------------------


def test_figures_computed_by_hand():
    """EOS 1 bit, UNK 2, a and b 3 each; aéb costs 3 + 2 + 3 + 1, and an empty line 1."""
    figures = evaluate_text(table_model([1, 2, 3, 3]), ["aéb", ""])
    assert figures.pop("tokens_per_second") > 0
    assert figures == {
        "tokens": 5,
        "oov": 1,
        "nats_per_token": pytest.approx(2 * math.log(2), rel=1e-12),
        "perplexity": pytest.approx(4, rel=1e-12),
        "perplexity_without_oov": pytest.approx(4, rel=1e-12),
        "accuracy": 0.0,  # it always expects EOS
        "bits_per_char": pytest.approx(10 / 5, rel=1e-12),
        "bits_per_byte": pytest.approx(10 / 6, rel=1e-12),
    }


def test_oovs_are_counted_and_taken_out():
    figures = evaluate_text(table_model([1, 2, 3, 3]), ["aaxyz"])
    assert (figures["tokens"], figures["oov"]) == (6, 3)
    assert figures["perplexity"] == pytest.approx(2 ** (13 / 6), rel=1e-12)
    assert figures["perplexity_without_oov"] == pytest.approx(2 ** (7 / 3), rel=1e-12)
    assert figures["bits_per_char"] == pytest.approx(13 / 6, rel=1e-12)


def test_bytes_that_are_no_text_are_bytes():
    """Standard input may hold bytes that are not UTF-8: each is one character, unknown, and one byte."""
    figures = evaluate_text(table_model([1, 2, 3, 3]), ["a\udcff"])
    assert figures["bits_per_char"] == figures["bits_per_byte"] == pytest.approx(6 / 3, rel=1e-12)


@pytest.mark.parametrize("unit", ["line", "stream"])
def test_the_batch_size_does_not_show(unit):
    rng = np.random.default_rng(8)
    lines = ["".join(rng.choice(list("abcdx"), length)) for length in rng.integers(0, 30, 40)]
    tokenizer = Tokenizer(make_splitter("char", "punct", lowercase=False), Vocabulary.build(dict.fromkeys("abcd", 1)))
    language_model = LanguageModel(random_model(), Codec(tokenizer), TextConfig(unit=unit), TrainConfig())
    expected = evaluate_text(language_model, lines, batch_size=1)
    for batch_size in (2, 7, 64):
        figures = evaluate_text(language_model, iter(lines), batch_size=batch_size)
        assert figures.pop("tokens_per_second") > 0
        # of a stream only the last 256 tokens before a cut are read again
        assert figures == pytest.approx({key: expected[key] for key in figures}, rel=1e-9 if unit == "line" else 1e-6)


def test_the_unit_of_the_model_decides_how_the_text_is_read():
    lines = ["abca", "bcd", "ab"]
    tokenizer = Tokenizer(make_splitter("char", "punct", lowercase=False), Vocabulary.build(dict.fromkeys("abcd", 1)))
    by_line = LanguageModel(random_model(), Codec(tokenizer), TextConfig(), TrainConfig())
    as_stream = dataclasses.replace(by_line, text=TextConfig(unit="stream"))
    ids = tokenizer.encode_lines(lines)[0]
    nats = nats_of(as_stream.model, ids).sum()
    assert evaluate_text(as_stream, lines)["nats_per_token"] == pytest.approx(nats / ids.size, rel=1e-12)
    assert abs(evaluate_text(by_line, lines)["nats_per_token"] - nats / ids.size) > 1e-3


def test_an_empty_text_is_refused():
    with pytest.raises(CorpusError, match="empty") as refusal:
        evaluate_text(table_model([1, 2, 3, 3]), [])
    assert refusal.value.exit_code == 3 and refusal.value.hint


# --- perplexity ------------------------------------------------------------------------------------------------------


def test_a_perplexity_that_no_float_holds_is_infinite():
    figures = evaluate_text(table_model([0, 2000, 2000, 2000]), ["aaaa"])
    assert figures["perplexity"] == math.inf
    assert figures["nats_per_token"] == pytest.approx(1600 * math.log(2), rel=1e-12)
    assert perplexity(709.0 * 3, 3) == pytest.approx(math.exp(709), rel=1e-9)
    assert perplexity(710.0 * 3, 3) == math.inf


def test_without_tokens_there_is_no_perplexity():
    nothing = Evaluation(0, 0, 0.0, 0.0)
    assert math.isnan(nothing.perplexity) and math.isnan(nothing.nats_per_token)
    assert math.isnan(Evaluation(2, 2, 3.0, 3.0).perplexity_without_oov)

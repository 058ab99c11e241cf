"""The probability of lines: that it is one, that it is the network's own, and that neighbours do not matter."""

import gc
import itertools
import math
import tracemalloc

import numpy as np
import pytest

import charlm
from charlm.backends import NumpyBackend
from charlm.config import ModelConfig
from charlm.errors import ModelFileError
from charlm.inference.scoring import Score, Scorer
from charlm.nn.build import build
from charlm.text import EOS_ID, NOTHING, UNK_ID
from charlm.text.batches.lanes import Batch
from tests.fakes import language_model
from tests.task_models import random_lines

UNKNOWN = "\N{SNOWMAN}"


def random_model(tokens, *, cell="lstm", dtype="float32", hidden=6, layers=1, spread=3.0, seed=1, **text):
    """A network whose weights are drawn at random and large, so that its predictions depend on what it has read."""
    config = ModelConfig(len(tokens) + 2, cell=cell, hidden_size=hidden, num_layers=layers, dtype=dtype)
    model = build(config, NumpyBackend(), seed=seed)
    rng = np.random.default_rng(seed)
    model.parameters.values[...] = rng.uniform(-spread, spread, model.parameters.values.size)
    return language_model(model, tokens, **text)


def nats_of(lm, ids, *, before=NOTHING):
    """-ln P of each id, by one pass of the network over all of them."""
    inputs = np.array([before, *ids[:-1]], np.int32)[:, None]
    batch = Batch(inputs, np.array(ids, np.int32)[:, None])
    nats, _ = lm.model.nats(batch, lm.model.zero_state(1), lm.model.workspace())
    return nats[:, 0]


# ---- it is a probability


@pytest.mark.parametrize("unit", ["line", "stream"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize(("tokens", "longest"), [("a", 6), ("abc", 4)])
def test_the_probabilities_of_all_strings_sum_to_one(tokens, longest, cell, unit):
    """All lines of up to n symbols, and what is left for longer ones: all openings of n + 1 symbols."""
    lm = random_model(tokens, cell=cell, unit=unit)
    symbols = [*tokens, UNKNOWN]
    lines = ["".join(s) for n in range(longest + 1) for s in itertools.product(symbols, repeat=n)]
    longer = ["".join(s) for s in itertools.product(symbols, repeat=longest + 1)]
    whole = [score.prob for score in Scorer(lm).score(lines)]
    begun = [score.prob for score in Scorer(lm, has_eos=False).score(longer)]
    assert max(whole) > 10 * np.median(whole)  # it is no uniform model, which could not go wrong
    assert math.fsum(whole) + math.fsum(begun) == pytest.approx(1.0, abs=1e-6)


def test_a_line_is_the_product_of_its_next_token_probabilities():
    """What `score` says is what `generate` draws from: ln P(line) by `next_log_probs`, one token after the other."""
    for unit, before in (("line", NOTHING), ("stream", EOS_ID)):
        lm = random_model("abc", unit=unit)
        ids = [2, 3, UNK_ID, 4, 4, 2, EOS_ID]
        state, workspace, total = lm.model.zero_state(1), lm.model.workspace(), 0.0
        for read, said in zip([before, *ids], ids, strict=False):
            columns, state = lm.model.next_log_probs(np.array([[read]], np.int32), state, workspace)
            total -= float(columns[said, 0])
        (score,) = Scorer(lm).score([f"ab{UNKNOWN}cca"])
        assert score.nats == pytest.approx(total, abs=1e-5)


def test_the_tokens_add_up_to_the_line():
    lm = random_model("abc")
    for scorer in (Scorer(lm, per_token=True), Scorer(lm, per_token=True, has_eos=False)):
        for score in scorer.score(random_lines("abc" + UNKNOWN, 50, 12, between="")):
            assert sum(token.nats for token in score.token_scores) == pytest.approx(score.nats, abs=1e-9)
            assert len(score.token_scores) == score.tokens
            assert sum(token.oov for token in score.token_scores) == score.oov
            assert sum(t.nats for t in score.token_scores if t.oov) == pytest.approx(score.oov_nats, abs=1e-9)


def test_token_scores_are_those_of_the_network_in_order():
    lm = random_model("abc")
    (score,) = Scorer(lm, per_token=True).score([f"ab{UNKNOWN}"])
    assert [token.token_id for token in score.token_scores] == [2, 3, UNK_ID, EOS_ID]
    assert [token.token for token in score.token_scores][:2] == ["a", "b"]
    assert score.token_scores[-1].token == "<EOS>"
    expected = nats_of(lm, [2, 3, UNK_ID, EOS_ID])
    np.testing.assert_allclose([token.nats for token in score.token_scores], expected, atol=1e-6)


def test_without_per_token_there_are_none():
    assert next(Scorer(random_model("abc")).score(["abc"])).token_scores == []


# ---- neighbours do not matter, and the order is kept


@pytest.mark.thinned(2)
@pytest.mark.parametrize("unit", ["line", "stream"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-11)])
def test_a_line_is_worth_the_same_beside_any_others(times, unit, dtype, tolerance):
    lm = random_model("abc", layers=2, unit=unit, dtype=dtype, spread=1.0)
    lines = random_lines("abc" + UNKNOWN, times(40, 150), 40, between="")
    before = EOS_ID if unit == "stream" else NOTHING
    alone = [nats_of(lm, [*lm.tokenizer.encode(line), EOS_ID], before=before).sum() for line in lines]
    for batch_size in (1, 7, 64):
        for window in (None, 1, 100):
            scores = list(Scorer(lm, batch_size=batch_size, window=window).score(lines))
            assert [score.text for score in scores] == lines
            np.testing.assert_allclose([score.nats for score in scores], alone, rtol=0, atol=tolerance)


def test_scoring_goes_on_where_a_long_line_fills_a_window(monkeypatch):
    monkeypatch.setattr("charlm.text.lines.reading.WINDOW_SIZE", 50)
    lm = random_model("abc")
    lines = random_lines("abc", 40, 30, between="")
    assert [score.text for score in Scorer(lm).score(lines)] == lines


@pytest.mark.parametrize("length", [127, 128, 129, 1000])
def test_a_long_line_is_worth_the_same_in_parts(length):
    lm = random_model("abc", dtype="float64")
    line = "".join(np.random.default_rng(0).choice(list("abc"), length))
    (alone,) = Scorer(lm, per_token=True).score([line])
    among = list(Scorer(lm, per_token=True).score(["a", line, "", "bc" * 100]))[1]
    expected = nats_of(lm, [*lm.tokenizer.encode(line), EOS_ID])
    for score in (alone, among):
        np.testing.assert_allclose([token.nats for token in score.token_scores], expected, rtol=1e-12)
    assert alone.tokens == length + 1


def test_a_long_line_may_be_too_improbable_for_a_number():
    (score,) = Scorer(random_model("abc")).score(["a" * 3000])
    assert score.nats > 800
    assert score.prob == 0.0
    assert math.isfinite(score.perplexity) and math.isfinite(score.log10p)


# ---- empty lines, no lines


@pytest.mark.parametrize("unit", ["line", "stream"])
def test_an_empty_line_is_its_end(unit):
    lm = random_model("abc", unit=unit)
    (expected,) = nats_of(lm, [EOS_ID], before=EOS_ID if unit == "stream" else NOTHING)
    for lines in ([""], ["", "abc", ""], ["", ""]):
        for line, score in zip(lines, Scorer(lm).score(lines), strict=True):
            assert score.text == line
            if not line:
                assert score.nats == pytest.approx(expected, abs=1e-6)
                assert (score.tokens, score.oov) == (1, 0)


def test_no_lines_have_no_scores():
    assert list(Scorer(random_model("abc")).score([])) == []


# ---- without the end


def test_without_the_end_it_is_left_out():
    lm = random_model("abc")
    lines = ["abc", "", UNKNOWN, "c"]
    for line, score in zip(lines, Scorer(lm, has_eos=False).score(lines), strict=True):
        ids = [*lm.tokenizer.encode(line), EOS_ID]
        assert score.nats == pytest.approx(nats_of(lm, ids)[:-1].sum(), abs=1e-5)
        assert score.tokens == len(line)


def test_nothing_at_all_has_probability_one_and_no_rate():
    (score,) = Scorer(random_model("abc"), has_eos=False, per_token=True).score([""])
    assert (score.nats, score.prob, score.log10p, score.tokens, score.oov) == (0.0, 1.0, 0.0, 0, 0)
    assert math.isnan(score.perplexity) and math.isnan(score.bits_per_char)
    assert score.token_scores == []


# ---- one text of several lines


@pytest.mark.parametrize("window", [None, 1, 2])
def test_with_the_state_carried_the_lines_are_one_text(window):
    lm = random_model("abc", unit="stream", dtype="float64")
    lines = ["abc", "", f"c{UNKNOWN}a", "b" * 300, "", "", "cab"]
    ids, offsets = lm.tokenizer.encode_lines(lines)
    each = nats_of(lm, ids.tolist())
    expected = [each[a:b].sum() for a, b in itertools.pairwise(offsets)]
    scores = list(Scorer(lm, carry_state=True, window=window).score(lines))
    np.testing.assert_allclose([score.nats for score in scores], expected, rtol=1e-12)
    apart = [score.nats for score in Scorer(lm).score(lines)]
    assert not np.allclose(apart, expected)


def test_with_the_state_carried_and_no_ends_the_newlines_are_read_and_not_scored():
    lm = random_model("abc", unit="stream", dtype="float64")
    lines = ["abc", "", "ca", "", "b"]
    each = nats_of(lm, lm.tokenizer.encode_lines(lines)[0].tolist())
    ends = np.cumsum([0, *(len(line) + 1 for line in lines)])
    expected = [each[a : b - 1].sum() for a, b in itertools.pairwise(ends)]
    scores = list(Scorer(lm, carry_state=True, has_eos=False).score(lines))
    np.testing.assert_allclose([score.nats for score in scores], expected, rtol=1e-12)


# ---- what is unknown


def test_unknown_tokens_are_counted_and_their_share_is_told():
    lm = random_model("abc")
    line = f"{UNKNOWN}ab{UNKNOWN}\N{GREEK SMALL LETTER OMEGA}"
    (score,) = Scorer(lm).score([line])
    nats = nats_of(lm, [UNK_ID, 2, 3, UNK_ID, UNK_ID, EOS_ID])
    assert (score.tokens, score.oov) == (6, 3)
    assert score.nats == pytest.approx(nats.sum(), abs=1e-5)
    assert score.oov_nats == pytest.approx(nats[[0, 3, 4]].sum(), abs=1e-5)


def test_text_cannot_end_a_line_by_spelling_it():
    lm = random_model(["one", "two"], level="word", split="whitespace")
    literal, unknown = Scorer(lm).score(["one <EOS> two <unk>", "one x two y"])
    assert (literal.tokens, literal.oov) == (5, 2)
    assert literal.nats == pytest.approx(unknown.nats, abs=1e-6)


def test_every_character_is_worth_its_code_point_and_no_byte_is_lost():
    lm = random_model("a\N{OGHAM SPACE MARK}")
    lines = ["a\udcff\udc80", "a\u2028\r\x85", "\N{OGHAM SPACE MARK}\0a"]
    scores = list(Scorer(lm).score(lines))
    assert [score.text for score in scores] == lines
    assert [(score.tokens, score.oov) for score in scores] == [(4, 2), (5, 3), (4, 1)]


# ---- the formulas


def test_the_formulas():
    score = Score("abcd", nats=6.0, tokens=5, oov=1, oov_nats=2.0)
    assert score.log10p == pytest.approx(math.log10(math.exp(-6.0)))
    assert score.prob == pytest.approx(math.exp(-6.0))
    assert score.perplexity == pytest.approx(math.exp(-6.0) ** (-1 / 5))
    assert score.bits_per_char == pytest.approx(-math.log2(math.exp(-6.0)) / 5)
    assert Score("abcd", 6.0, 4, 0, 0.0, has_eos=False).bits_per_char == pytest.approx(6.0 / math.log(2) / 4)


def test_bits_per_character_count_characters_also_of_words():
    lm = random_model(["one", "two"], level="word")
    (score,) = Scorer(lm).score(["one two"])
    assert score.tokens == 3
    assert score.bits_per_char == pytest.approx(score.nats / math.log(2) / len("one two\n"))


def test_too_large_a_perplexity_is_infinite():
    assert Score("a", 1e6, 1, 0, 0.0).perplexity == math.inf


# ---- as a pipe


@pytest.mark.parametrize("window", [1, 3, 50])
def test_no_more_lines_are_read_than_the_window_has(window):
    read = 0

    def lines():
        nonlocal read
        for number in range(1000):
            read += 1
            yield "abc"[: number % 4]

    scores = Scorer(random_model("abc"), window=window).score(lines())
    assert read == 0
    for number in range(1, 120):
        next(scores)
        assert read <= -(-number // window) * window


def test_long_lines_are_not_read_ahead(monkeypatch):
    monkeypatch.setattr("charlm.text.lines.reading.WINDOW_SIZE", 1000)
    read = 0

    def lines():
        nonlocal read
        while True:
            read += 1
            yield "a" * 600

    next(Scorer(random_model("abc")).score(lines()))
    assert read <= 2


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_lines():
    lm = random_model("abc")

    def peak_of(lines):
        gc.collect()
        tracemalloc.start()
        count = sum(1 for _ in Scorer(lm, batch_size=16, window=64).score("abcab" for _ in range(lines)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == lines
        return peak

    peak_of(500)
    assert peak_of(2500) < 1.3 * peak_of(500) + 50_000


def test_weights_that_have_exploded_are_told():
    """Finite, and large enough for sums of their products to be none: no warning, no NaN among the results."""
    model = charlm.train(["abab", "bbaa"] * 8, hidden_size=4, num_layers=1, max_steps=2, batch_size=2, seed=1)
    values = model.model.parameters.values
    values[...] = 3e38
    values[::2] *= -1
    with pytest.raises(ModelFileError, match="NaN or infinity"):
        list(charlm.score(model, ["ab", "ba"]))

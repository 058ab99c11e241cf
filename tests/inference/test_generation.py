"""Drawing text, from models that are a rule written down: what is drawn, what is read, and where it ends."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest

from charlm.config import SampleConfig
from charlm.errors import UsageError
from charlm.inference import generation
from charlm.inference.generation import Sample, Sampler
from charlm.inference.music import PieceSampler
from charlm.nn.drawing import draw, next_token_probs
from charlm.text import EOS_ID, NOTHING, UNK_ID
from tests.fakes import FakeModel, language_model, saying, script, table
from tests.task_models import task_model

A, B, C = 2, 3, 4  # ids of the ordinary tokens "a", "b", "c"


def probs_of(p, *, banned=(UNK_ID,), **config):
    with np.errstate(divide="ignore"):
        return next_token_probs(np.log(np.array(p, float)), SampleConfig(**config), banned=banned)


def ids_of(lm, tokens):
    return [lm.tokenizer.vocabulary.ids[token] for token in tokens]


# ---- from log-probabilities to what is drawn from


def test_without_filters_the_model_is_renormalised_without_the_banned_token():
    probs, mass = probs_of([0.1, 0.5, 0.3, 0.1])
    np.testing.assert_allclose(probs, [0.2, 0.0, 0.6, 0.2], atol=1e-12)
    assert mass == pytest.approx(0.5)
    assert probs[UNK_ID] == 0.0 and probs.dtype == np.float64


def test_nothing_banned_changes_nothing():
    probs, mass = probs_of([0.1, 0.5, 0.3, 0.1], banned=())
    np.testing.assert_allclose(probs, [0.1, 0.5, 0.3, 0.1], atol=1e-12)
    assert mass == 0.0


def test_the_log_probabilities_are_not_changed():
    log_probs = np.log(np.array([0.1, 0.5, 0.3, 0.1]))
    before = log_probs.copy()
    next_token_probs(log_probs, SampleConfig(temperature=0.5, top_k=2, top_p=0.5))
    np.testing.assert_array_equal(log_probs, before)


def test_temperature_is_a_power_of_the_probabilities():
    probs, _ = probs_of([0.1, 0.5, 0.3, 0.1], temperature=0.5)
    squares = np.array([0.01, 0.0, 0.09, 0.01])
    np.testing.assert_allclose(probs, squares / squares.sum(), atol=1e-12)


@pytest.mark.parametrize("temperature", [0.0, 1e-8, 1e-300, 5e-324])
def test_coldest_is_the_likeliest_that_is_allowed(temperature):
    probs, mass = probs_of([0.1, 0.5, 0.15, 0.25], temperature=temperature)
    np.testing.assert_array_equal(probs, [0, 0, 0, 1])
    assert mass == pytest.approx(0.5)


def test_at_temperature_zero_a_tie_goes_to_the_smaller_id():
    probs, _ = probs_of([0.1, 0.3, 0.3, 0.3], temperature=0.0)
    np.testing.assert_array_equal(probs, [0, 0, 1, 0])


@pytest.mark.parametrize("temperature", [1e8, 1e300])
def test_hottest_is_uniform_over_what_is_allowed(temperature):
    probs, _ = probs_of([0.1, 0.5, 0.15, 0.25], temperature=temperature)
    np.testing.assert_allclose(probs, [1 / 3, 0, 1 / 3, 1 / 3], atol=1e-6)
    assert probs[UNK_ID] == 0.0


def test_what_the_model_rules_out_stays_out_while_temperature_is_finite():
    probs, _ = probs_of([0.0, 0.5, 0.25, 0.25], temperature=100.0)
    np.testing.assert_allclose(probs, [0, 0, 0.5, 0.5], atol=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": math.inf},
        {"temperature": math.nan},
        {"temperature": -0.1},
        {"top_k": 0},
        {"top_k": 1.5},
        {"top_p": -0.1},
        {"top_p": 1.1},
        {"top_p": math.nan},
        {"length": -1},
        {"stop": ("a", "")},
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(UsageError) as caught:
        SampleConfig(**wrong)
    assert next(iter(wrong)).replace("_", "-") in caught.value.message
    assert caught.value.exit_code == 2


def test_top_k():
    p = [0.05, 0.5, 0.25, 0.2]
    np.testing.assert_allclose(probs_of(p, top_k=1)[0], [0, 0, 1, 0])
    np.testing.assert_allclose(probs_of(p, top_k=2)[0], [0, 0, 0.25 / 0.45, 0.2 / 0.45], atol=1e-12)
    for above in (3, 4, 5, 1 << 40):
        np.testing.assert_allclose(probs_of(p, top_k=above)[0], [0.1, 0, 0.5, 0.4], atol=1e-12)


def test_top_k_takes_the_smaller_ids_of_a_tie():
    np.testing.assert_allclose(probs_of([0.2] * 5, top_k=2)[0], [0.5, 0, 0.5, 0, 0])
    np.testing.assert_allclose(probs_of([0.1, 0.1, 0.2, 0.4, 0.2], top_k=2)[0], [0, 0, 1 / 3, 2 / 3, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.0, 1), (0.49, 1), (0.51, 2), (0.79, 2), (0.81, 3), (0.94, 3), (0.96, 4), (1.0, 4)]
)
def test_top_p_is_the_smallest_set_of_that_mass(top_p, kept):
    p = [0.15, 0.0, 0.5, 0.05, 0.3]
    in_order = [A, C, 0, B]
    expected = np.zeros(5)
    expected[in_order[:kept]] = np.array(p)[in_order[:kept]]
    np.testing.assert_allclose(probs_of(p, top_p=top_p)[0], expected / expected.sum(), atol=1e-12)


def test_top_p_takes_the_smaller_ids_of_a_tie():
    np.testing.assert_allclose(probs_of([0.25, 0.0, 0.25, 0.25, 0.25], top_p=0.4)[0], [0.5, 0, 0.5, 0, 0], atol=1e-12)


def test_top_p_that_is_reached_exactly_is_enough():
    np.testing.assert_array_equal(probs_of([0.25, 0.0, 0.25, 0.25, 0.25], top_p=0.5)[0], [0.5, 0, 0.5, 0, 0])


def test_top_p_of_one_is_no_filter():
    rng = np.random.default_rng(0)
    for _ in range(100):
        p = rng.dirichlet(np.full(50, 0.3))
        np.testing.assert_allclose(probs_of(p, top_p=1.0)[0], probs_of(p)[0], atol=1e-14)


def test_the_ban_comes_before_top_k():
    np.testing.assert_allclose(probs_of([0.1, 0.5, 0.3, 0.1], top_k=1)[0], [0, 0, 1, 0])


def test_the_ban_comes_before_top_p():
    """Of .5 .3 .2, 0.55 is {.5, .3}; with the .5 banned it is .6 .4, so only the first is left."""
    np.testing.assert_allclose(probs_of([0.0, 0.5, 0.3, 0.2], top_p=0.55)[0], [0, 0, 1, 0])


def test_temperature_comes_before_top_p():
    """.5 .3 .2 squared and renormalised is .66 .24 .11: 0.6 keeps one, where it would have kept two before."""
    np.testing.assert_allclose(probs_of([0.2, 0, 0.5, 0.3], temperature=0.5, top_p=0.6)[0], [0, 0, 1, 0])
    np.testing.assert_allclose(probs_of([0.2, 0, 0.5, 0.3], top_p=0.6)[0], [0, 0, 0.625, 0.375], atol=1e-12)


def test_top_k_comes_before_top_p():
    """.4 .3 of .4 .3 .2 .1 are .57 .43: 0.55 keeps one, where it would have kept two before."""
    p = [0.2, 0, 0.4, 0.3, 0.1]
    np.testing.assert_allclose(probs_of(p, top_k=2, top_p=0.55)[0], [0, 0, 1, 0, 0])
    np.testing.assert_allclose(probs_of(p, top_p=0.55)[0], [0, 0, 4 / 7, 3 / 7, 0], atol=1e-12)


def test_nothing_left_to_draw_is_an_error_that_says_what_to_do():
    with pytest.raises(UsageError) as caught:
        probs_of([0.0, 1.0, 0.0])
    assert "--allow-unk" in caught.value.hint
    probs, mass = probs_of([0.0, 1.0, 0.0], banned=())
    np.testing.assert_array_equal(probs, [0, 1, 0])
    assert mass == 0.0


def test_draw_never_takes_what_has_no_probability():
    class AtTheEdges:
        def __init__(self, value):
            self.value = value

        def random(self):
            return self.value

    for value in (0.0, 0.25, math.nextafter(0.25, 1), 0.5, 0.75, math.nextafter(1.0, 0.0)):
        assert draw(np.array([0.0, 0.25, 0.0, 0.75, 0.0]), AtTheEdges(value)) in (1, 3)
    assert draw(np.array([0.0, 0.25, 0.0, 0.75, 0.0]), AtTheEdges(0.24)) == 1
    assert draw(np.array([0.0, 0.25, 0.0, 0.75, 0.0]), AtTheEdges(0.26)) == 3


# ---- what is drawn from a table

#                  <EOS> <UNK>  a     b     c
CHAIN = np.array(
    [
        [0.0, 0.5, 0.4, 0.1, 0.0],  # after <EOS>
        [0.0, 0.0, 0.0, 0.0, 0.0],  # after <UNK>: never to be asked for
        [0.1, 0.5, 0.0, 0.3, 0.1],  # after a
        [0.2, 0.5, 0.3, 0.0, 0.0],  # after b
        [0.0, 0.5, 0.0, 0.1, 0.4],  # after c
        [0.0, 0.5, 0.5, 0.0, 0.0],  # the first
    ]
)
AFTER_999_IN_1000 = {1: 10.83, 2: 13.82, 3: 16.27}  # the chi-square distribution, by degrees of freedom


@pytest.mark.slow
def test_a_hundred_thousand_tokens_are_those_of_the_table():
    """Only allowed transitions, never <UNK>, with the frequencies of the table without <UNK>, one step a token."""
    drawn = 100_000
    model = table(CHAIN)
    lm = language_model(model, "abc", unit="stream")
    sample = Sampler(lm, SampleConfig(length=drawn)).sample(seed=1)
    ids = ids_of(lm, sample.tokens)
    assert len(ids) == drawn
    assert UNK_ID not in ids
    assert model.reads[: drawn + 1] == [NOTHING, *ids]
    assert len(model.reads) <= drawn + 1
    counts = np.zeros_like(CHAIN)
    np.add.at(counts, (model.reads[:drawn], ids), 1)
    wanted = CHAIN.copy()
    wanted[:, UNK_ID] = 0
    assert not counts[wanted == 0].any()
    for row, observed in zip(wanted, counts, strict=True):
        if observed.sum() > 1:
            expected = row / row.sum() * observed.sum()
            possible = expected > 0
            chi_square = ((observed - expected)[possible] ** 2 / expected[possible]).sum()
            assert chi_square < AFTER_999_IN_1000[possible.sum() - 1]
    assert sample.unk_mass_rejected == pytest.approx(0.5 * drawn)


def test_with_allow_unk_it_is_drawn_and_written():
    model = table([[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]])
    samples = [
        Sampler(language_model(model, "a"), SampleConfig(allow_unk=True)).sample(seed=1, number=n) for n in range(200)
    ]
    texts = [sample.text for sample in samples]
    assert set(texts) == {"a", "a<UNK>"}
    assert 70 < texts.count("a<UNK>") < 130
    assert all(sample.unk_mass_rejected == 0.0 for sample in samples)


def test_a_model_that_expects_only_unknown_tokens_is_an_error():
    lm = language_model(table([[0, 1, 0]] * 4), "a")
    with pytest.raises(UsageError):
        Sampler(lm, SampleConfig()).sample()


@pytest.mark.parametrize("prompt_length", [0, 1, 255, 256, 257, 600])
def test_the_prompt_is_read_once_and_then_each_token_once(prompt_length):
    model = table(CHAIN)
    lm = language_model(model, "abc", unit="stream")
    prompt = "abc" * 200
    prompt = prompt[:prompt_length]
    sample = Sampler(lm, SampleConfig(length=50)).sample(prompt, seed=3)
    expected = [NOTHING, *ids_of(lm, prompt), *ids_of(lm, sample.tokens)]
    assert len(sample.tokens) == 50
    assert model.reads[: len(expected)] == expected
    assert len(model.reads) <= len(expected)
    assert max(model.calls) <= 256


def test_the_state_goes_on_from_token_to_token():
    """The rule sees how many inputs the state has taken in; were one lost or taken twice, the script would slip."""
    lm = saying("abcabcbacb" * 80, prompt="a" * 300)
    sample = Sampler(lm, SampleConfig(length=800)).sample("a" * 300)
    assert sample.text == "a" * 300 + "abcabcbacb" * 80


def test_two_texts_do_not_share_a_state():
    sampler = Sampler(saying("abc"), SampleConfig())
    assert [sampler.sample(number=n).text for n in range(3)] == ["abc"] * 3
    first, second = sampler.pieces(number=0), sampler.pieces(number=1)
    assert ["".join(pair) for pair in zip(first, second, strict=True)] == ["aa", "bb", "cc"]


# ---- where a text ends


def test_a_line_model_ends_at_the_end_of_the_line():
    sample = Sampler(saying("abc"), SampleConfig(length=10)).sample()
    assert sample == Sample("abc", ["a", "b", "c", "<EOS>"], 0.0, 0.0)


def test_a_stream_model_writes_a_newline_and_goes_on():
    sample = Sampler(saying("ab\nba\n\na", stream=True), SampleConfig(length=9)).sample()
    assert sample.text == "ab\nba\n\na\n"
    assert sample.tokens == ["a", "b", "<EOS>", "b", "a", "<EOS>", "<EOS>", "a", "<EOS>"]


@pytest.mark.parametrize("length", [0, 1, 2, 3])
def test_length_counts_new_tokens(length):
    sample = Sampler(saying("abc", prompt="cc"), SampleConfig(length=length)).sample("cc")
    assert sample.text == "cc" + "abc"[:length]
    assert sample.tokens == list("abc"[:length])


def test_of_length_zero_nothing_is_known():
    sample = Sampler(saying("abc"), SampleConfig(length=0)).sample("")
    assert sample == Sample("", [], 0.0, 0.0)


# ---- what is told of a text


def test_log_probability_and_rejected_mass_are_the_sums():
    """ln P is the model's own, before temperature and ban; the rejected mass is summed over the draws, <EOS> too."""
    rows = [[1, 0, 0, 0], [1, 0, 0, 0], [0.0, 0.25, 0.0, 0.75], [0.5, 0.4, 0.1, 0.0], [0.0, 0.2, 0.7, 0.1]]
    lm = language_model(table(rows), "ab")
    sample = Sampler(lm, SampleConfig(temperature=0.0)).sample()
    assert sample.tokens == ["a", "b", "<EOS>"]
    assert sample.log_prob == pytest.approx(math.log(0.7) + math.log(0.75) + math.log(0.5), rel=1e-6)
    assert sample.unk_mass_rejected == pytest.approx(0.2 + 0.25 + 0.4, rel=1e-6)
    of_prompt = Sampler(lm, SampleConfig(temperature=0.0)).sample("a")
    assert of_prompt.text == "ab"
    assert of_prompt.log_prob == pytest.approx(math.log(0.75) + math.log(0.5), rel=1e-6)
    assert of_prompt.unk_mass_rejected == pytest.approx(0.25 + 0.4, rel=1e-6)


def test_pieces_fill_the_sample_on_the_way():
    sample = Sample()
    pieces = Sampler(saying("abc"), SampleConfig()).pieces("", into=sample)
    assert next(pieces) == "a"
    assert sample.tokens == ["a"]
    assert list(pieces) == ["b", "c"]
    assert sample.tokens == ["a", "b", "c", "<EOS>"]


# ---- the same again


def test_a_text_is_a_function_of_seed_and_number():
    def texts(seeds, numbers):
        lm = language_model(table(CHAIN), "abc", unit="stream")
        sampler = Sampler(lm, SampleConfig(length=60))
        return {(s, n): sampler.sample(seed=s, number=n).text for s in seeds for n in numbers}

    forth, back = texts(range(4), range(4)), texts([3, 2, 1, 0], [3, 2, 1, 0])
    assert forth == back
    assert len(set(forth.values())) == 16


def test_a_text_is_the_same_whole_or_in_pieces():
    lm = language_model(table(CHAIN), "abc", unit="stream")
    sampler = Sampler(lm, SampleConfig(length=60))
    assert "".join(sampler.pieces("ab\nc", seed=5, number=6)) == sampler.sample("ab\nc", seed=5, number=6).text


def test_the_filters_do_not_shift_the_random_numbers():
    """One number a draw: where a filter leaves the draw as it was, the text goes on as without it."""
    lm = language_model(table(CHAIN), "abc", unit="stream")
    plain = Sampler(lm, SampleConfig(length=60)).sample(seed=1).text
    assert Sampler(lm, SampleConfig(length=60, top_k=5, top_p=1.0)).sample(seed=1).text == plain


# ---- stop


def stopped(text, *stops, prompt="", length=200, stream=False):
    return (
        Sampler(saying(text, prompt=prompt, stream=stream), SampleConfig(length=length, stop=stops)).sample(prompt).text
    )


def test_stop_ends_before_its_text():
    assert stopped("abcabd", "c") == "ab"
    assert stopped("abcabd", "bc") == "a"
    assert stopped("abcabd", "abd") == "abc"
    assert stopped("abcabd", "a") == ""
    assert stopped("abcabd", "x") == "abcabd"
    assert stopped("abcabd", "abcabdabc") == "abcabd"


def test_of_overlapping_stops_the_first_in_the_text_counts():
    assert stopped("aabab", "ab", "b") == "a"
    assert stopped("aabab", "b", "ab") == "a"
    assert stopped("aaab", "aab") == "a"
    assert stopped("ababac", "abac") == "ab"
    assert stopped("abcd", "bcx", "cd") == "ab"


def test_stop_looks_only_behind_the_prompt():
    assert stopped("cab", "ab", prompt="ab") == "abc"
    assert stopped("bcab", "ab", prompt="a") == "abc"
    assert stopped("ab", "ab", prompt="xyzab") == "xyzab"
    assert stopped("aab", "aa", prompt="aaa") == "aaa"


def test_stop_may_hold_a_newline_of_a_stream():
    assert stopped("ab\n\nba", "\n\n", stream=True, length=6) == "ab"
    assert stopped("ab\nba\n\n", "\nb", stream=True, length=6) == "ab"
    assert stopped("a\nb", "\n", stream=True, length=3, prompt="b\na") == "b\naa"


def test_what_may_be_the_beginning_of_a_stop_waits_and_nothing_else_does():
    pieces = list(Sampler(saying("abcdef"), SampleConfig(stop=("de!",))).pieces())
    assert "".join(pieces) == "abcdef"
    assert pieces[0] == "a"
    held = list(Sampler(saying("abcdef"), SampleConfig(stop=("!",))).pieces())
    assert held[:6] == list("abcdef")


def test_after_a_stop_nothing_more_is_drawn():
    lm = saying("abc" * 50)
    assert Sampler(lm, SampleConfig(stop=("c",))).sample().text == "ab"
    assert len(lm.model.reads) <= 4


def test_stop_agrees_with_searching_the_whole_text():
    rng = np.random.default_rng(7)
    for _ in range(400):
        text = "".join(rng.choice(list("ab"), rng.integers(0, 12)))
        prompt = "".join(rng.choice(list("ab"), rng.integers(0, 6)))
        stop = "".join(rng.choice(list("ab"), rng.integers(1, 5)))
        at = (prompt + text).find(stop, len(prompt))
        assert stopped(text, stop, prompt=prompt) == (prompt + text if at < 0 else (prompt + text)[:at])


def test_a_stop_may_end_inside_of_a_word():
    words = ["one", "two", "three"]
    lm = language_model(script([2, 3, 4], 5), words, level="word")
    assert Sampler(lm, SampleConfig(stop=("wo th",))).sample().text == "one t"
    lm = language_model(script([2, 3, 4], 5), words, level="word")
    assert Sampler(lm, SampleConfig(stop=("hr", "e t"))).sample().text == "on"


def test_the_prompt_of_words_is_left_out_of_the_search():
    lm = language_model(script([3], 4, prompt=1), ["one", "two"], level="word", split="whitespace")
    sampler = Sampler(lm, SampleConfig(stop=("two",)))
    assert sampler.sample("one").text == "one "
    assert sampler.sample("   one      ").text == "   one      "
    lm = language_model(script([2], 6, prompt=4), ["a", "$", "+", "b"], level="word")
    assert Sampler(lm, SampleConfig(stop=("b", "+"))).sample("a++b").text == "a++b a"


# ---- words


def test_words_are_joined_while_they_stream():
    words = ["well", ",", "do", "n't", "(", "stop", ")", "!", '"', "yes", "-", "$", "5"]
    said = ["well", ",", '"', "yes", '"', "(", "do", "stop", ")", "$", "5", "!"]
    lm = language_model(script([words.index(w) + 2 for w in said], len(words) + 2), words, level="word")
    pieces = list(Sampler(lm, SampleConfig()).pieces())
    assert len(pieces) == len(said)
    assert "".join(pieces) == lm.tokenizer.join(said) == 'well, "yes" (do stop) $5!'


def test_the_first_word_joins_the_prompt_as_words_do():
    words = ["hello", ",", "you"]
    lm = language_model(script([3, 4], 5, prompt=1), words, level="word")
    assert Sampler(lm, SampleConfig()).sample("hello").text == "hello, you"


@pytest.mark.parametrize(
    ("prompt", "said", "text", "new"),
    [
        ("hello", ",", "hello,", ","),
        ("\t HELLO \xa0 ", ",", "\t HELLO \xa0 ,", ","),
        ("", "you", "you", "you"),
        ("hello", "you", "hello you", "you"),
        ("Hello  ", "you", "Hello  you", "you"),
        ("hello\t", "you", "hello\tyou", "you"),
        ("hello (", "you", "hello (you", "you"),
        ("  ", "you", "  you", "you"),
    ],
)
def test_a_prompt_of_words_comes_back_as_it_was_typed(prompt, said, text, new):
    """A word that follows takes a space only if the prompt does not end with one."""
    words = ["hello", ",", "you"]
    always = table([np.eye(5)[words.index(said) + 2]] * 6)
    lm = language_model(always, words, level="word", lowercase=True)
    sampler = Sampler(lm, SampleConfig(length=1))
    sample = sampler.sample(prompt)
    assert (sample.text, sample.new_text) == (text, new)
    assert "".join(sampler.pieces(prompt, with_prompt=False)) == new


def test_a_line_of_words_begins_anew_after_a_newline():
    words = ["you", "(", "hello"]
    lm = language_model(script([2, 0, 3, 4, 0, 4], 5), words, level="word", unit="stream")
    assert Sampler(lm, SampleConfig(length=6)).sample().text == "you\n(hello\nhello"


def test_whitespace_words_are_joined_by_single_spaces():
    lm = language_model(script([2, 3, 2], 4), ["a", ","], level="word", split="whitespace")
    assert Sampler(lm, SampleConfig()).sample().text == "a , a"


# ---- prompts


def test_a_newline_in_the_prompt_of_a_line_model_is_an_error():
    sampler = Sampler(saying("abc"), SampleConfig())
    for call in (sampler.sample, lambda prompt: list(sampler.pieces(prompt))):
        with pytest.raises(UsageError) as caught:
            call("a\nb")
        assert "newline" in caught.value.message and caught.value.hint


def test_a_newline_in_the_prompt_of_a_stream_is_its_end_of_line():
    model = table(CHAIN)
    lm = language_model(model, "abc", unit="stream")
    text = Sampler(lm, SampleConfig(length=0)).sample("a\n\nbc\n").text
    assert text == "a\n\nbc\n"
    assert model.reads == [NOTHING, A, EOS_ID, EOS_ID, B, C, EOS_ID]


def test_unknown_tokens_of_the_prompt_are_listed_once_and_read_as_unknown():
    model = FakeModel(lambda count, last: [1, 0, 0, 0, 0])
    sampler = Sampler(language_model(model, "abc"), SampleConfig())
    assert sampler.unknown("abc") == []
    assert sampler.unknown("axbyxé") == ["x", "y", "é"]
    assert sampler.sample("axb").text == "axb"
    assert model.reads == [NOTHING, A, UNK_ID, B]


def test_unknown_words_of_a_prompt_of_several_lines():
    lm = language_model(script([0], 4), ["one", "two"], level="word", unit="stream")
    assert Sampler(lm, SampleConfig()).unknown("one three\ntwo four three") == ["three", "four"]


def test_a_prompt_cannot_end_a_line_by_spelling_it():
    """As in the text that is scored, where the literal <EOS> and <unk> are <UNK>; see `Tokenizer`."""
    model = FakeModel(lambda count, last: [1, 0, 0, 0])
    lm = language_model(model, ["one", "two"], level="word", split="whitespace")
    prompt = "one <EOS> <unk> <UNK> two"
    Sampler(lm, SampleConfig()).sample(prompt)
    assert model.reads == [NOTHING, *lm.tokenizer.encode(prompt)] == [NOTHING, 2, UNK_ID, UNK_ID, UNK_ID, 3]


def test_every_prompt_is_read_as_the_tokenizer_reads_it():
    rng = np.random.default_rng(0)
    alphabet = [*"abcABC <>,.'", "\u00e9", "\u0130", "\u03a3", "\ud83d", "\udc80", "<EOS>", "<unk>"]
    for level, lowercase in itertools.product(("char", "word"), (False, True)):
        for _ in range(50):
            prompt = "".join(rng.choice(alphabet, rng.integers(0, 12)))
            model = FakeModel(lambda count, last: [1, 0, 0, 0, 0])
            lm = language_model(model, ["a", "b", "abc"], level=level, lowercase=lowercase)
            Sampler(lm, SampleConfig()).sample(prompt)
            assert model.reads == [NOTHING, *lm.tokenizer.encode(prompt)], prompt


# ---- long prompts

PIECES = [
    *"ab .,'-",
    "  ",
    "\n",
    "\t",
    "Σ",
    "\u03c3",
    "İ",
    "é",
    "e\u0301",
    "漢字",
    "か\u3099",
    "각",
    "👩\u200d👧",
    "<EOS>",
    "$",
    "\xa0",
]


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize(("level", "split"), [("char", "punct"), ("word", "punct"), ("word", "whitespace")])
def test_a_prompt_that_is_read_in_parts_is_the_same(monkeypatch, level, split, lowercase):
    """Whatever the size of the parts: the ids, what is written, and what is unknown are those of the whole."""
    rng = np.random.default_rng(7)
    for size in (1, 2, 3, 7, 1 << 16):
        monkeypatch.setattr(generation, "_PART", size)
        for _ in range(15):
            prompt = "".join(rng.choice(PIECES, rng.integers(0, 40)))
            model = table([[0.5, 0.1, 0.2, 0.2]] * 5)
            lm = language_model(model, "ab", level=level, split=split, lowercase=lowercase, unit="stream")
            lines = prompt.split("\n")
            sampler = Sampler(lm, SampleConfig(length=0))
            assert sampler.sample(prompt).text == prompt
            assert model.reads == [NOTHING, *lm.tokenizer.encode_lines(lines)[0][:-1]]
            tokens = [token for line in lines for token in lm.tokenizer.split(line) if lm.tokenizer.encode(line).size]
            unknown = [one for one in dict.fromkeys(tokens) if lm.tokenizer.vocabulary.ids.get(one, 1) < 2]
            assert sampler.unknown(prompt) == unknown
            assert sampler.unknown(prompt, most=2) == unknown[:2]


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("ab ba " * 10_000, {"unit": "stream"}),
        ("ab\n" * 20_000, {"unit": "stream"}),
        ("ab ba " * 10_000, {"level": "word"}),
        ("漢字" * 15_000, {"unit": "stream"}),
    ],
)
def test_memory_hardly_grows_with_a_prompt(monkeypatch, prompt, text):
    """A list of its tokens and one of their ids would take fifty bytes a character."""
    monkeypatch.setattr(generation, "_PART", 1 << 12)
    lm = language_model(table([[0.5, 0.1, 0.2, 0.2]] * 5), "ab", **text)
    lm.model.next_log_probs = lambda inputs, state, ws: (np.zeros((4, 1), np.float32), state)
    sampler = Sampler(lm, SampleConfig(length=0))
    tracemalloc.start()
    sampler.unknown(prompt, most=6)
    size = sum(map(len, sampler.pieces(prompt)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size >= len(prompt) - 1
    assert peak < 1_000_000


def test_memory_hardly_grows_with_a_prompt_of_music():
    lm = task_model("music", num_layers=1)
    state = lm.model.zero_state(1)
    lm.model.next_log_probs = lambda x, _, ws: (np.zeros((5, 1)), state)  # type: ignore[method-assign]
    prompt = "60 61,62 - " * 3_000
    tracemalloc.start()
    for _ in PieceSampler(lm, SampleConfig(length=0)).steps(prompt):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * len(prompt)

"""The conditioned language model: the label is what it reads first, and everything it says depends on it."""

import itertools
import math

import numpy as np
import pytest

from charlm.config import SampleConfig
from charlm.errors import CorpusError, UsageError
from charlm.inference.figures import evaluate_text
from charlm.inference.generation import Sampler
from charlm.inference.scoring import Scorer
from charlm.text import EOS_ID, UNK_ID, read_lines
from tests.task_models import ids_of, nats, outputs, random_lines, shifted, task_model

LABELS = ("x", "y", "zz")


def records(count=60, longest=12, seed=0):
    texts = [text or "a" for text in random_lines("abcd", count, longest, seed=seed, between="")]
    labels = np.random.default_rng(seed).choice(LABELS, count).tolist()
    return list(zip(labels, texts, strict=True))


def of(lm, label, text):
    """Return -ln P of each token, with `<EOS>`, by one pass of the network alone."""
    ids = [*ids_of(lm, text), EOS_ID]
    return nats(lm, shifted(ids, len(lm.tokenizer.vocabulary) + LABELS.index(label)), ids)


def score(lm, lines, **options):
    return list(Scorer(lm, **options).score(lines))


# ---- score


@pytest.mark.parametrize(("batch_size", "window"), [(64, None), (1, None), (7, 5), (64, 1)])
def test_a_score_is_the_networks_own_with_the_label_first(batch_size, window):
    lm = task_model("conditioned")
    lines = [f"{label}\t{text}" for label, text in records()]
    found = score(lm, lines, per_token=True, batch_size=batch_size, window=window)
    assert [(one.label, one.text) for one in found] == records()
    for one, (label, text) in zip(found, records(), strict=True):
        expected = of(lm, label, text)
        np.testing.assert_allclose([token.nats for token in one.token_scores], expected, rtol=1e-9)
        assert one.nats == pytest.approx(expected.sum(), rel=1e-9)
        assert (one.tokens, one.oov) == (len(text) + 1, text.count("d"))
        assert [token.token for token in one.token_scores] == [*text, "<EOS>"]


def test_the_label_matters():
    lm = task_model("conditioned")
    found = [one.nats for one in score(lm, [f"{label}\tabc" for label in LABELS])]
    assert len({round(one, 6) for one in found}) == 3


def test_the_probabilities_of_all_texts_of_a_label_sum_to_one():
    lm = task_model("conditioned")
    outputs(lm, np.log([0.3, 0.1, 0.2, 0.2, 0.2]))  # of the same at each step, so that few texts are long
    symbols = "abcd"
    for label in LABELS:
        whole = ["".join(s) for n in range(1, 4) for s in itertools.product(symbols, repeat=n)]
        begun = ["".join(s) for s in itertools.product(symbols, repeat=4)]
        total = 0.3  # of the empty text, which cannot be written
        total += math.fsum(one.prob for one in score(lm, [f"{label}\t{text}" for text in whole]))
        total += math.fsum(one.prob for one in score(lm, [f"{label}\t{text}" for text in begun], has_eos=False))
        assert total == pytest.approx(1.0, abs=1e-9)


def test_without_the_end():
    lm = task_model("conditioned")
    (one,) = score(lm, ["y\tabc"], has_eos=False)
    assert one.nats == pytest.approx(of(lm, "y", "abc")[:-1].sum(), rel=1e-9)
    assert one.tokens == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("q\tabc", "the label 'q' was never seen"),
        ("abc", "1 column instead of label TAB text"),
        ("x\ta\tb", "3 columns"),
        ("\tabc", "the label is empty"),
        ("", "label TAB text"),
    ],
)
def test_lines_without_a_label_that_is_known_are_refused_with_their_place(tmp_path, line, words):
    lm = task_model("conditioned")
    path = tmp_path / "in.tsv"
    path.write_text(f"x\tabc\n{line}\n")
    for one_by_one in (1, None):
        with pytest.raises(CorpusError, match=words) as caught:
            score(lm, read_lines([str(path)]), window=one_by_one)
        assert f"{path} line 2" in caught.value.message and caught.value.hint
    with pytest.raises(CorpusError, match=words) as caught:
        evaluate_text(lm, read_lines([str(path)]))
    assert f"{path} line 2" in caught.value.message


# ---- evaluate


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_the_figures_of_a_corpus_are_the_sums_of_its_scores(batch_size):
    lm = task_model("conditioned")
    lines = [f"{label}\t{text}" for label, text in records()]
    found = evaluate_text(lm, lines, batch_size=batch_size)
    each = [of(lm, label, text) for label, text in records()]
    tokens, total = sum(map(len, each)), sum(one.sum() for one in each)
    characters = sum(len(text) + 1 for _, text in records())
    assert (found["tokens"], found["oov"]) == (tokens, sum(text.count("d") for _, text in records()))
    assert found["nats_per_token"] == pytest.approx(total / tokens, rel=1e-9)
    assert found["bits_per_char"] == pytest.approx(total / math.log(2) / characters, rel=1e-9)


# ---- generate


def sampler(lm, label, **config):
    return Sampler(lm, SampleConfig(**{"length": 8, **config}), label=label)


@pytest.mark.parametrize("label", LABELS)
def test_what_is_drawn_has_the_probability_that_score_gives_it(label):
    lm = task_model("conditioned")
    for number in range(20):
        sample = sampler(lm, label, allow_unk=True, temperature=2.0).sample("ab", number=number)
        ids = [lm.tokenizer.vocabulary.ids[token] for token in sample.tokens]
        read = [*ids_of(lm, "ab"), *ids]
        first = len(lm.tokenizer.vocabulary) + LABELS.index(label)
        assert sample.log_prob == pytest.approx(-nats(lm, shifted(read, first), read)[2:].sum(), rel=1e-8)


def test_texts_depend_on_the_class_and_on_the_seed():
    lm = task_model("conditioned")
    greedy = {label: sampler(lm, label, temperature=0.0).sample().tokens for label in LABELS}
    drawn = {(label, seed): sampler(lm, label).sample(seed=seed).text for label in LABELS for seed in range(10)}
    assert len(set(map(tuple, greedy.values()))) > 1
    assert len(set(drawn.values())) > 5
    assert all(sampler(lm, label).sample(seed=seed).text == text for (label, seed), text in drawn.items())


def test_first_characters_are_drawn_as_often_as_they_are_probable():
    lm = task_model("conditioned", spread=1.0)
    vocabulary = lm.tokenizer.vocabulary
    for label in LABELS[:2]:
        first = len(vocabulary) + LABELS.index(label)
        p = np.array([math.exp(-nats(lm, [first], [token])[0]) for token in range(len(vocabulary))])
        p[UNK_ID] = 0.0
        p /= p.sum()
        draws = sampler(lm, label, length=1)
        tokens = [draws.sample(number=number).tokens[0] for number in range(1500)]
        counts = np.array([tokens.count(token) for token in vocabulary.tokens])
        likely = 1500 * p > 5
        square = ((counts - 1500 * p) ** 2)[likely] / (1500 * p)[likely]
        assert square.sum() < 25 and likely.sum() > 2


@pytest.mark.parametrize(("label", "words"), [(None, "no class"), ("q", "'q' was never seen"), ("", "''")])
def test_a_class_is_to_be_named_and_known(label, words):
    with pytest.raises(UsageError, match=words) as caught:
        sampler(task_model("conditioned"), label)
    assert caught.value.hint == "name one with --class: x, y, zz"


def test_a_class_is_refused_where_the_model_knows_none():
    with pytest.raises(UsageError, match="--class"):
        sampler(task_model("lm"), "x")

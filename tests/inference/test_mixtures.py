"""Mixtures: distributions over the tokens of the first model, whatever the others know; and the best weights."""

import math

import numpy as np
import pytest

from charlm.errors import CorpusError, UsageError
from charlm.inference.mixture_weights import best_weights, equal_weights, mixed, readable
from charlm.inference.mixtures import Mixture, evaluate_mixture, member_of, tune
from charlm.inference.scoring import Scorer
from tests.inference.test_ngrams import trained
from tests.inference.test_scoring import random_model
from tests.task_models import task_model

LINES = ["abca", "", "cab?d", "dd", "bbbbaca" * 20]
OTHERS = {  # tokens of a second model; the first knows a, b and c
    "the same": "abc",
    "fewer": "ca",
    "more": "dabce",
    "others": "bde",
    "none of them": "xy",
}


def model(tokens="abc", seed=1, **options):
    return random_model(tokens, seed=seed, dtype="float64", spread=1.5, **options)


def others_of(tmp_path, tokens):
    """Return a network and an n-gram model that know the tokens."""
    lines = [" ".join(tokens), " ".join(tokens[::-1]), "", f"{tokens[0]} {tokens[0]} {tokens[-1]}"]
    return model(tokens, seed=2), trained(tmp_path, lines, splitter=model().tokenizer.splitter)


def nats(reader, lines=LINES):
    return [of_line for _, _, _, of_line in reader.measured(lines)]


@pytest.mark.parametrize("tokens", OTHERS.values(), ids=OTHERS)
def test_probabilities_sum_to_one_over_the_tokens_of_the_first_model(tmp_path, tokens):
    first = model()
    members = [member_of(first, other, "other") for other in others_of(tmp_path, tokens)]
    mixture = Mixture(Scorer(first), members, [0.3, 0.3, 0.4])
    for context in ("", "a", "cab", "d?b"):
        # The last one is <UNK> for the first model: its probability is that of all other characters together.
        lines = [context + token for token in "abc?"]
        each = [of_line[len(context)] for of_line in nats(mixture, lines)]
        end = nats(mixture, [context])[0][-1]
        assert np.exp(-np.array([*each, end])).sum() == pytest.approx(1.0, abs=1e-6)
        for unknown in "dx":
            assert nats(mixture, [context + unknown])[0][len(context)] == pytest.approx(each[-1])


def test_the_mean_of_probabilities(tmp_path):
    first, second, third = model(), model(seed=2), model(seed=3, cell="gru", hidden=4)
    mixture = Mixture(Scorer(first), [member_of(first, one, "other") for one in (second, third)], [0.5, 0.2, 0.3])
    alone = [nats(Scorer(one)) for one in (first, second, third)]
    for found, *parts in zip(nats(mixture), *alone, strict=True):
        expected = sum(w * np.exp(-part) for w, part in zip((0.5, 0.2, 0.3), parts, strict=True))
        assert np.exp(-found) == pytest.approx(expected, rel=1e-12)
    for score, of_line in zip(mixture.score(LINES), nats(mixture), strict=True):
        assert score.nats == pytest.approx(of_line.sum())
        assert score.tokens == len(of_line)
    without_end = Mixture(Scorer(first, has_eos=False), [member_of(first, second, "other")])
    assert [score.tokens for score in without_end.score(LINES)] == [len(line) for line in LINES]


def test_all_weight_on_one_model_is_that_model(tmp_path):
    first = model()
    for other in others_of(tmp_path, "abc"):
        member = member_of(first, other, "other")
        assert list(Mixture(Scorer(first), [member], [1.0, 0.0]).score(LINES)) == list(Scorer(first).score(LINES))
        reader = other if not hasattr(other, "model") else Scorer(other)
        found = nats(Mixture(Scorer(first), [member], [0.0, 1.0]))
        assert all(map(np.array_equal, found, nats(reader)))


@pytest.mark.parametrize("units", [("stream", "stream"), ("stream", "line"), ("line", "stream")])
def test_each_model_reads_the_lines_in_its_own_way(units):
    first, second = (model(seed=seed, unit=unit) for seed, unit in enumerate(units, start=1))
    carries = first.is_stream
    mixture = Mixture(
        Scorer(first, carry_state=carries, window=2), [member_of(first, second, "other", carry_state=carries)]
    )
    alone = [nats(Scorer(one, carry_state=carries and one.is_stream)) for one in (first, second)]
    for found, *parts in zip(nats(mixture), *alone, strict=True):
        assert found == pytest.approx(mixed(np.stack(parts), [0.5, 0.5]), rel=1e-9)


def test_labels_are_read_by_the_models_that_know_them():
    first, second, plain = (
        task_model(kind, seed=seed) for seed, kind in enumerate(("conditioned", "conditioned", "lm"))
    )
    mixture = Mixture(Scorer(first), [member_of(first, one, "other") for one in (second, plain)])
    lines = ["x\tabc", "zz\tca"]
    alone = [nats(Scorer(first), lines), nats(Scorer(second), lines), nats(Scorer(plain), ["abc", "ca"])]
    for found, *parts in zip(nats(mixture, lines), *alone, strict=True):
        assert found == pytest.approx(mixed(np.stack(parts), np.full(3, 1 / 3)))
    assert [score.label for score in mixture.score(lines)] == ["x", "zz"]
    place = "line 2"
    with pytest.raises(CorpusError, match=place):
        list(mixture.score(["x\tabc", "nope\tabc"]))


def test_the_figures_of_a_text_are_the_sums_over_its_lines():
    first, second = model(), model(seed=2)
    mixture = Mixture(Scorer(first), [member_of(first, second, "other")])
    scores, counted = list(mixture.score(LINES)), []
    found = evaluate_mixture(mixture, LINES, watch=counted.append)
    assert (found.tokens, found.oov) == (sum(s.tokens for s in scores), sum(s.oov for s in scores))
    assert found.nats == pytest.approx(sum(s.nats for s in scores))
    assert found.oov_nats == pytest.approx(sum(s.oov_nats for s in scores))
    assert counted == [s.tokens for s in scores]


def test_models_that_cannot_be_mixed():
    first, cloze = model(), task_model("cloze-char")
    conditioned, word = task_model("conditioned"), model(level="word")
    fewer = task_model("conditioned")
    object.__setattr__(fewer.codec, "labels", ("x", "y"))
    for pair, words in (
        ((cloze, first), "--task cloze"),
        ((first, cloze), "other is a --task cloze model"),
        ((first, word), "other splits text into other tokens"),
        ((first, model(lowercase=True)), "other splits text into other tokens"),
        ((first, model(normalize="nfkc")), "other splits text into other tokens"),
        ((first, conditioned), "the first model was not"),
        ((conditioned, fewer), "other labels"),
    ):
        with pytest.raises(UsageError, match=words):
            member_of(*pair, "other")
    for weights in ([0.5, 0.6], [-0.1, 1.1], [math.nan, 1.0]):
        with pytest.raises(UsageError, match="weights"):
            Mixture(Scorer(first), [member_of(first, model(seed=2), "other")], weights)


def of_two(nats_of_both, weight):
    return float(mixed(nats_of_both, [1.0 - weight, weight]).mean())


def drawn(count, models, seed):
    rng = np.random.default_rng(seed)
    return rng.gamma(2.0, size=(models, count)) + rng.random((models, 1))


def golden_section(function, low=0.0, high=1.0):
    """Return where a convex function is lowest, to about 1e-8."""
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    while high - low > 1e-9:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if function(left) < function(right) else (left, high)
    return (low + high) / 2.0


def test_the_best_weights_of_two_models():
    for seed in range(4):
        both = drawn(3000, 2, seed)
        # The minimum of a function is known to the root of its precision only.
        assert best_weights(both)[1] == pytest.approx(golden_section(lambda w, both=both: of_two(both, w)), abs=1e-6)
    worse = np.stack([both[0], both[0] + 1.0])
    assert best_weights(worse) == pytest.approx([1.0, 0.0], abs=1e-6)


def test_the_best_weights_are_those_of_scipy():
    optimize = pytest.importorskip("scipy.optimize", reason="needs SciPy")
    for count in (2, 3, 5):
        nats_of_all = drawn(2000, count, count)
        probabilities = np.exp(-nats_of_all)
        found = optimize.minimize(
            lambda w, p=probabilities: -np.log(w @ p).mean(),
            np.full(count, 1.0 / count),
            jac=lambda w, p=probabilities: -(p / (w @ p)).mean(axis=1),
            bounds=[(0.0, 1.0)] * count,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": lambda w: np.ones(len(w))},
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 1000},
        )
        assert best_weights(nats_of_all) == pytest.approx(found.x, abs=1e-6)


def test_weights_are_found_on_a_text():
    first, second = model(), model(seed=2)
    members = [member_of(first, second, "other")]
    found = tune(Mixture(Scorer(first), members), LINES)
    of_text = np.stack([np.concatenate(nats(Scorer(one))) for one in (first, second)])
    assert found.weights == pytest.approx(best_weights(of_text), abs=2e-6)
    assert found.tokens == of_text.shape[1]
    assert found.alone == pytest.approx(np.exp(of_text.mean(axis=1)))
    assert found.perplexity == pytest.approx(math.exp(mixed(of_text, found.weights).mean()))
    with pytest.raises(CorpusError, match="the text is empty"):
        tune(Mixture(Scorer(first), members), [])


def test_weights_that_can_be_printed_and_given_again():
    assert equal_weights(2) == [0.5, 0.5]
    assert equal_weights(3) == [0.333334, 0.333333, 0.333333]
    for drawn_weights in np.random.default_rng(1).dirichlet(np.ones(4), 50):
        found = readable(drawn_weights)
        assert found == pytest.approx(drawn_weights, abs=5e-6)
        assert [float(f"{one:.6f}") for one in found] == found
        assert sum(found) == pytest.approx(1.0, abs=1e-12) and min(found) >= 0.0
    assert readable(np.array([0.0, 0.3, 0.7])) == [0.0, 0.3, 0.7]

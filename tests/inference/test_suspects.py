"""Doubting tokens: a suspect is one than which both sides find another so many times as likely."""

import itertools
import math
from difflib import SequenceMatcher

import numpy as np
import pytest

from charlm.inference import suspects as module
from charlm.inference.scoring import Scorer
from charlm.inference.suspects import suspects
from charlm.nn.model import Model
from charlm.text import EOS, EOS_ID, UNK, UNK_ID, Vocabulary
from tests.task_models import WORDS, given_the_others, ids_of, outputs, parameter, random_lines, task_model


def suspicious(lm, lines, **options):
    return list(suspects(lm, lines, **options))


def of_known_tokens(seed=1):
    """Draw a model that never expects `<EOS>` or `<UNK>`."""
    lm = task_model("cloze", seed=seed)
    parameter(lm, "head.b_y")[[EOS_ID, UNK_ID]] -= 200.0
    return lm


def fitness(prob, candidate, token):
    """Return P e^(5 s), s being how like the spellings are."""
    return prob * math.exp(5.0 * SequenceMatcher(None, candidate, token, autojunk=False).ratio())


@pytest.mark.parametrize("factor", [1.0, 1.5, 10.0, 50.0])
def test_a_suspect_is_a_token_than_which_another_is_so_many_times_as_likely(factor):
    lm = of_known_tokens()
    names = lm.tokenizer.vocabulary.tokens
    lines = random_lines(WORDS, 40, 8, seed=4)
    counts = [0, 0]
    for line, (score, found) in zip(lines, suspicious(lm, lines, factor=factor), strict=True):
        ids = ids_of(lm, line)
        expected = []
        for place, token in enumerate(ids):
            probs = given_the_others(lm, ids, place)
            likelier = [i for i in range(2, len(names)) if i != token and probs[i] >= factor * probs[token]]
            if likelier:
                best = max(likelier, key=lambda i, p=probs, own=names[token]: fitness(p[i], names[i], own))
                nats, prob = -math.log(probs[token]), probs[best]
                expected.append((place + 1, names[token], pytest.approx(nats), names[best], pytest.approx(prob)))
        shown = [(one.position, one.token, one.nats, one.suggestion.token, one.suggestion.prob) for one in found]
        assert shown == expected
        assert score.text == line
        counts[0] += len(found)
        counts[1] += len(ids)
    assert 0 < counts[0] < counts[1]


def test_the_threshold_is_inclusive():
    lm = task_model("cloze")
    p = np.array([0.0, 0.0, 0.08, 0.8, 0.04, 0.04, 0.02, 0.01, 0.01])
    outputs(lm, np.log(np.maximum(p, 1e-300)))
    ((_, found),) = suspicious(lm, [" ".join(WORDS)], factor=9.99)
    assert [one.token for one in found] == [WORDS[0], *WORDS[2:]]
    ((_, found),) = suspicious(lm, [" ".join(WORDS)], factor=10.01)
    assert [one.token for one in found] == list(WORDS[2:])
    assert {one.suggestion.token for one in found} == {"cat"}
    assert [one.suggestion.prob for one in found] == pytest.approx([0.8] * 5)


@pytest.mark.parametrize(("factor", "unknown"), [(1.0, 0.1), (1.2, 0.5), (100.0, 0.999)])
def test_no_token_is_suspected_in_favour_of_itself(factor, unknown):
    """Where `<UNK>` is likely, the best of the known tokens has a larger share of them than it has of all."""
    lm = task_model("cloze")
    p = np.array([1e-300, unknown, *([1e-9] * 7)])
    p[3] = 1.0 - unknown
    outputs(lm, np.log(p))
    ((_, found),) = suspicious(lm, ["the cat"], factor=factor)
    assert [(one.token, one.suggestion.token) for one in found] == [("the", "cat")]


@pytest.mark.parametrize(("factor", "doubted"), [(48.9, ["the"]), (49.1, []), (90.0, [])])
def test_the_two_are_compared_as_the_model_has_them(factor, doubted):
    """The suggestion's share of the known tokens is .98, but it is 49 times as likely as the other, not 98 times."""
    lm = task_model("cloze")
    outputs(lm, np.log([1e-300, 0.5, 0.01, 0.49, *([1e-9] * 5)]))
    ((_, found),) = suspicious(lm, ["the"], factor=factor)
    assert [one.token for one in found] == doubted


def test_of_what_is_likelier_the_one_spelled_like_it_is_suggested():
    lm = task_model("cloze")
    outputs(lm, np.log([1e-9, 1e-5, 0.7, 1e-5, 1e-5, 0.2, 1e-5, 0.05, 0.05]))  # the .7, sees .2
    ((_, found),) = suspicious(lm, ["seez zzz cat"])
    assert [(one.token, one.suggestion.token) for one in found] == [("seez", "sees"), ("zzz", "the"), ("cat", "the")]
    ((_, found),) = suspicious(lm, ["seez"], factor=3e4)
    assert [one.suggestion.token for one in found] == ["the"]  # the other is not so much likelier


def test_unknown_tokens_are_suspects_too():
    lm = task_model("cloze")
    outputs(lm, np.log([1e-9, 1e-6, 0.9, *([1e-6] * 6)]))
    ((score, found),) = suspicious(lm, ["the zebra"])
    assert [(one.position, one.token, one.suggestion.token) for one in found] == [(2, "zebra", "the")]
    assert score.oov == 1


@pytest.mark.parametrize("window", [None, 1])
def test_empty_lines_have_none_and_the_order_is_kept(window):
    lm = of_known_tokens()
    lines = random_lines(WORDS, 30, 5)
    assert lines.count("") > 1
    found = suspicious(lm, lines, factor=2.0, window=window)
    assert [score.text for score, _ in found] == lines
    assert all(not listed for (score, listed), line in zip(found, lines, strict=True) if not line)
    alone = list(itertools.chain.from_iterable(suspicious(lm, [line], factor=2.0)[0][1] for line in lines))
    together = list(itertools.chain.from_iterable(listed for _, listed in found))
    assert [(one.position, one.suggestion.token) for one in together] == [
        (one.position, one.suggestion.token) for one in alone
    ]
    assert alone


# ---- what it costs


def test_the_network_runs_once_and_scores_are_those_of_scoring(monkeypatch):
    lm = of_known_tokens()
    lines = random_lines(WORDS, 60, 9, seed=2)
    calls = []
    outputs = Model._outputs
    monkeypatch.setattr(
        Model, "_outputs", lambda self, batch, *more: calls.append(batch) or outputs(self, batch, *more)
    )
    scores = list(Scorer(lm, per_token=True).score(lines))
    runs = len(calls)
    assert runs > 0
    assert [score for score, _ in suspicious(lm, lines, factor=2.0)] == scores
    assert len(calls) == 2 * runs


def test_only_doubtful_tokens_are_looked_at_a_part_at_a_time(monkeypatch):
    """In a line of any length; nothing but a token less likely than 1 / factor can be a suspect."""
    lm = of_known_tokens()
    (line,) = random_lines(WORDS, 1, 3000, seed=5)
    looked_at = []
    choices = Model._choices
    monkeypatch.setattr(module, "_PROBABILITIES", 200)
    monkeypatch.setattr(
        Model, "_choices", lambda self, y, ws, *at: looked_at.append(len(at[0])) or choices(self, y, ws, *at)
    )
    ((score, found),) = suspicious(lm, [line], factor=30.0)
    doubtful = sum(token.nats >= math.log(30.0) for token in score.token_scores)
    assert 0 < len(found) <= doubtful == sum(looked_at) < score.tokens
    assert max(looked_at) == 200 // (len(WORDS) + 2)


def test_few_spellings_are_compared_and_the_best_is_found(monkeypatch):
    """Against a comparison of all of them, with probabilities and spellings that tie."""
    rng = np.random.default_rng(3)
    syllables = ["ra", "to", "ni", "sau", "rus", "é", "字", "R"]
    words = list(dict.fromkeys("".join(rng.choice(syllables, rng.integers(1, 6))) for _ in range(900)))
    spelling = module._Spelling(Vocabulary((EOS, UNK, *words)))
    compared = []
    ratio = SequenceMatcher.ratio
    monkeypatch.setattr(SequenceMatcher, "ratio", lambda self: compared.append(self) or ratio(self))
    count = 0
    for round_number in range(60):
        token = "".join(rng.choice(syllables, rng.integers(0, 6)))
        ids = np.sort(rng.choice(np.arange(2, len(words) + 2), rng.integers(1, len(words)), replace=False))
        probs = rng.choice([0.1, 0.02, 1e-5], ids.size) if round_number % 2 else rng.dirichlet(np.full(ids.size, 0.3))
        probs = np.maximum(probs, 1e-300)
        count += min(200, ids.size)
        chosen = spelling.likeliest(token, ids, probs)
        best = ids[np.argsort(-probs, kind="stable")[:200]].tolist()
        of = dict(zip(ids.tolist(), np.log(probs).tolist(), strict=True))

        def fits(token_id, token=token, of=of):
            return of[token_id] + 5.0 * ratio(SequenceMatcher(None, words[token_id - 2], token, autojunk=False))

        assert chosen == max(best, key=fits)
    assert len(compared) < count / 4

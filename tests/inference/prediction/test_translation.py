"""Translation: what is found is what exhaustive search finds, and its probability is the network's own."""

import itertools
import math

import numpy as np
import pytest

from charlm.inference.prediction import Translator, translation
from charlm.text import EOS_ID, NOTHING, UNK_ID
from charlm.text.batches import whole as sequences
from tests.task_models import (
    TARGET,
    WORDS,
    choices_at,
    ids_of,
    nats,
    outputs,
    parameter,
    random_lines,
    shifted,
    task_model,
)

LINES = random_lines([*WORDS, "what"], 24, 6)
V = len(TARGET) + 2
SEEDS = range(8)


def translate(lm, lines, **options):
    return list(Translator(lm, **options).predict(lines))


def ids_of_target(lm, found):
    return [lm.codec.target.vocabulary.ids[token] for token in found.others["tokens"]]


def log_probs_after(lm, source, said):
    """Return ln P of every next token."""
    return np.log(choices_at(lm, shifted([*said, NOTHING]), len(said), source=source))


def known_only(log_probs):
    """Leave `<UNK>` out, and let the others make up for it."""
    rest = log_probs - np.log1p(-np.exp(log_probs[UNK_ID]))
    rest[UNK_ID] = -math.inf
    return rest


def source_of(lm, line):
    return [*ids_of(lm, line), EOS_ID]


def greedy_by_hand(lm, line, most):
    said = []
    while len(said) < most and EOS_ID not in said:
        said.append(int(known_only(log_probs_after(lm, source_of(lm, line), said)).argmax()))
    return [token for token in said if token != EOS_ID]


def limit(line):
    return 2 * (len(line.replace(".", " . ").replace(",", " , ").split()) + 1) + 20


# ---- greedily


@pytest.mark.parametrize("seed", SEEDS)
def test_without_a_beam_each_token_is_the_likeliest_after_those_before(seed, monkeypatch):
    monkeypatch.setattr(translation, "_LONGEST", (0, 7))
    lm = task_model("translate", seed=seed)
    for line in LINES[:4]:
        (found,) = translate(lm, [line])
        assert ids_of_target(lm, found) == greedy_by_hand(lm, line, 7)


def test_translations_depend_on_the_source():
    lm = task_model("translate", seed=3)
    assert len({one.prediction for one in translate(lm, LINES)}) > 5


@pytest.mark.parametrize("seed", SEEDS)
def test_the_probability_is_that_of_the_tokens_under_the_model(seed, monkeypatch):
    monkeypatch.setattr(translation, "_LONGEST", (0, 9))
    lm = task_model("translate", seed=seed)
    for beam in (1, 3):
        for line, found in zip(LINES, translate(lm, LINES, beam=beam), strict=True):
            ids = ids_of_target(lm, found)
            if len(ids) < 9:
                ids.append(EOS_ID)
            total = nats(lm, shifted(ids), ids, source=source_of(lm, line)).sum()
            assert found.others["log10p"] == pytest.approx(-total / math.log(10), rel=1e-9)
            assert found.prob == pytest.approx(math.exp(-total), rel=1e-6)
            assert found.text == line


# ---- with a beam


def all_sequences(most):
    """Return every translation of at most so many tokens: ended, or cut off at the last one."""
    words = range(2, V)
    for length in range(most):
        yield from ([*ids, EOS_ID] for ids in itertools.product(words, repeat=length))
    yield from map(list, itertools.product(words, repeat=most))


def best_of_all(lm, line, most):
    """Find the sequence with the largest mean ln P a token, `<UNK>` left out, by trying every one."""
    after = {}

    def known(said):
        if said not in after:
            after[said] = known_only(log_probs_after(lm, source_of(lm, line), list(said)))
        return after[said]

    def mean(ids):
        return sum(known(tuple(ids[:at]))[token] for at, token in enumerate(ids)) / len(ids)

    return max(all_sequences(most), key=mean)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_wide_beam_finds_the_best_of_all_sequences(seed, monkeypatch):
    most = 3
    monkeypatch.setattr(translation, "_LONGEST", (0, most))
    lm = task_model("translate", seed=seed)
    for line in ("the cat", ""):
        (found,) = translate(lm, [line], beam=V**most)
        best = best_of_all(lm, line, most)
        assert ids_of_target(lm, found) == [token for token in best if token != EOS_ID]
        exact = -nats(lm, shifted(best), best, source=source_of(lm, line)).sum() / math.log(10)
        assert found.others["log10p"] == pytest.approx(exact, rel=1e-9)


def test_a_beam_finds_what_greed_misses(monkeypatch):
    """Over many models: a beam is better by its own measure than greed sometimes, and hardly ever worse."""
    monkeypatch.setattr(translation, "_LONGEST", (0, 6))
    better = worse = 0
    for seed in range(30):
        lm = task_model("translate", seed=seed)
        for greedy, beam in zip(translate(lm, LINES[:4]), translate(lm, LINES[:4], beam=8), strict=True):
            means = []
            for found, line in ((greedy, greedy.text), (beam, beam.text)):
                ids = [*ids_of_target(lm, found), EOS_ID][:6]
                known = [known_only(log_probs_after(lm, source_of(lm, line), ids[:at]))[t] for at, t in enumerate(ids)]
                means.append(np.mean(known))
            better += means[1] > means[0] + 1e-9
            worse += means[1] < means[0] - 1e-9
        if better > 5:
            break
    assert better > 5 and worse * 5 <= better


def test_a_beam_of_one_is_greed():
    lm = task_model("translate")
    assert translate(lm, LINES, beam=1) == translate(lm, LINES)


# ---- what is never said


@pytest.mark.parametrize("beam", [1, 2, 5])
@pytest.mark.parametrize("share", [0.9, 1 - 1e-9])
def test_the_unknown_token_is_never_said_however_likely_it_is(beam, share, monkeypatch):
    monkeypatch.setattr(translation, "_LONGEST", (0, 5))
    lm = task_model("translate")
    p = np.full(V, (1 - share) / (V - 1))
    p[UNK_ID], p[3] = share, 2 * p[3]
    p /= p.sum()
    outputs(lm, np.log(p))
    (found,) = translate(lm, ["the cat"], beam=beam)
    assert found.others["tokens"] == [TARGET[1]] * 5
    assert found.others["log10p"] == pytest.approx(5 * math.log10(p[3]), rel=1e-9)


def test_the_others_make_up_for_the_unknown_token_when_beams_are_compared(monkeypatch):
    """After "le" `<UNK>` is likely, after "chat" it is not: with it left out, what follows "le" counts for more.

    (ln .6 + ln .1)/2 is less than (ln .4 + ln .4)/2, but (ln .6 + ln 1)/2 is more.
    """
    monkeypatch.setattr(translation, "_LONGEST", (0, 2))
    lm = markov({None: {"le": 0.6, "chat": 0.4}, "le": {"<UNK>": 0.9, "<EOS>": 0.1}, "chat": {"voit": 0.4, ".": 0.6}})
    found = translate(lm, ["cat", ""], beam=4)
    assert [one.others["tokens"] for one in found] == [["le"]] * 2
    assert [one.prob for one in found] == pytest.approx([0.06] * 2, rel=1e-3)


def markov(table):
    """Make a decoder of which the last token alone decides what follows: P of each by what it follows."""
    lm = task_model("translate", cell="rnn", num_layers=1, hidden_size=V)
    names = {**lm.codec.target.vocabulary.ids}
    logits = {key: np.log([max(row.get(token, 0.0), 1e-9) for token in names]) for key, row in table.items()}
    W = parameter(lm, "layer0.W")
    W[...] = 0.0
    W[:, V : 2 * V] = 30.0 * np.eye(V)  # a<t> is the last token, one-hot
    outputs(lm, logits.pop(None))
    for token, row in logits.items():
        parameter(lm, "head.W_y")[:, names[token]] = row - parameter(lm, "head.b_y")[:, 0]
    return lm


# ---- how long


@pytest.mark.parametrize("beam", [1, 3])
def test_a_translation_ends_at_its_limit(beam):
    lm = task_model("translate")
    outputs(lm, [-50.0, -50.0, 0.0, 1.0, 0.0, 0.0])
    for line in ("", "the cat", "the cat sees it ."):
        (found,) = translate(lm, [line], beam=beam)
        assert found.others["tokens"] == [TARGET[1]] * limit(line)


@pytest.mark.parametrize("beam", [1, 3])
def test_the_limit_is_that_of_the_line_and_not_of_its_neighbours(beam):
    lm = task_model("translate")
    outputs(lm, [-50.0, -50.0, 0.0, 1.0, 0.0, 0.0])
    lines = ["the", "the cat sees it . " * 5]
    alone = [translate(lm, [line], beam=beam)[0].prediction for line in lines]
    assert [one.prediction for one in translate(lm, lines, beam=beam)] == alone


@pytest.mark.parametrize("beam", [1, 3])
def test_an_empty_translation_is_one(beam):
    lm = task_model("translate")
    outputs(lm, [5.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    (found,) = translate(lm, ["the cat"], beam=beam)
    assert (found.prediction, found.others["tokens"]) == ("", [])
    assert found.prob == pytest.approx(math.exp(5) / (math.exp(5) + 5), rel=1e-9)


# ---- neighbours do not matter


@pytest.mark.thinned(3)
@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize(("batch_size", "window"), [(1, None), (5, None), (64, None), (64, 1), (5, 7)])
def test_neighbours_do_not_matter_and_the_order_is_kept(beam, batch_size, window, monkeypatch):
    monkeypatch.setattr(translation, "_LONGEST", (0, 12))  # the same for all, see above
    lm = task_model("translate", seed=2)
    assert "" in LINES
    alone = [translate(lm, [line], beam=beam)[0] for line in LINES]
    together = translate(lm, LINES, beam=beam, batch_size=batch_size, window=window)
    assert [one.text for one in together] == LINES
    assert [one.prediction for one in together] == [one.prediction for one in alone]
    assert [one.others["log10p"] for one in together] == pytest.approx([one.others["log10p"] for one in alone])


def test_words_are_joined_as_they_are_written():
    lm = task_model("translate")
    (found,) = translate(lm, ["the cat"])
    assert found.prediction == lm.codec.target.join(found.others["tokens"])
    assert parameter(lm, "head.W_y").shape[0] == V


def test_no_lines_have_no_translations_and_no_more_are_read_than_the_window_has():
    assert translate(task_model("translate"), []) == []
    lines = iter(LINES)
    next(Translator(task_model("translate"), window=2).predict(lines))
    assert list(lines) == LINES[2:]


@pytest.mark.parametrize("beam", [1, 2])
def test_one_long_line_does_not_pad_the_others(beam, monkeypatch):
    monkeypatch.setattr(translation, "_LONGEST", (0, 6))
    monkeypatch.setattr(sequences, "MOST_TOKENS", 200)
    lm, shapes = task_model("translate"), []
    lines = [*LINES[:9], " ".join(["the cat"] * 300), *LINES[9:], " ".join(["dog"] * 90)]
    search = Translator._search
    monkeypatch.setattr(
        Translator, "_search", lambda self, s, starts: shapes.append(s.shape) or search(self, s, starts)
    )
    found = translate(lm, lines, beam=beam)
    assert all(steps * lanes <= 200 or lanes == 1 for steps, lanes in shapes)
    assert max(lanes for _, lanes in shapes) > 10
    assert [one.prediction for one in found] == [translate(lm, [line], beam=beam)[0].prediction for line in lines]

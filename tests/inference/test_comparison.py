"""Models compared in bits a character: the figures, their standard errors, and the intervals of differences."""

import math

import numpy as np
import pytest

import charlm
from charlm.errors import CorpusError, UsageError
from charlm.inference.comparison import compare
from charlm.inference.scoring import Scorer
from tests.task_models import KINDS, task_model

RNG = np.random.default_rng(1)
LINES = ["".join(RNG.choice(list("abc"), RNG.integers(0, 30), p=(0.6, 0.3, 0.1))) for _ in range(400)]


@pytest.fixture(scope="module")
def models():
    return {name: task_model("lm", seed=seed) for name, seed in (("one", 1), ("two", 2), ("three", 3))}


def bits_and_characters(model, lines=LINES):
    scores = list(charlm.score(model, lines))
    return np.array([one.nats / math.log(2.0) for one in scores]), np.array([len(one.text) + 1 for one in scores])


def test_the_figures_are_those_of_the_scores(models):
    found = compare(models, LINES)
    assert [one.bits_per_char for one in found] == sorted(one.bits_per_char for one in found)
    for one in found:
        bits, characters = bits_and_characters(models[one.name])
        assert one.bits_per_char == pytest.approx(bits.sum() / characters.sum(), rel=1e-12)
        assert one.difference == pytest.approx(one.bits_per_char - found[0].bits_per_char, abs=1e-12)
        assert one.low <= one.difference <= one.high
        assert (one.tokens, one.oov, one.level) == (characters.sum(), 0, "char")
        shapes = models[one.name].model.parameters.shapes.values()
        assert one.parameters == sum(math.prod(shape) for shape in shapes)


def test_errors_and_intervals_are_those_of_a_bootstrap(models):
    """2,000 samples of as many lines, drawn with replacement."""
    found = compare(models, LINES)
    counts = np.random.default_rng(2).multinomial(len(LINES), np.full(len(LINES), 1 / len(LINES)), 2000)
    bits = {name: bits_and_characters(model) for name, model in models.items()}
    best, _ = bits[found[0].name]
    for one in found:
        own, characters = bits[one.name]
        assert one.standard_error == pytest.approx(np.std(counts @ own / (counts @ characters), ddof=1), rel=0.05)
        differences = counts @ (own - best) / (counts @ characters)
        assert (one.high - one.low) / 2 / 1.96 == pytest.approx(np.std(differences, ddof=1), rel=0.05, abs=1e-12)


def test_a_model_against_itself_is_nothing(models):
    first, second = compare({"a": models["one"], "b": models["one"]}, LINES)
    assert (first.name, second.name) == ("a", "b")
    assert (second.difference, second.low, second.high) == (0.0, 0.0, 0.0)


def test_character_and_word_models_share_the_unit():
    lines = ["the cat sees it .", "the dog", "it sees the cat ."] * 10
    models = {
        level: charlm.train(lines, level=level, hidden_size=4, num_layers=1, max_steps=3, seed=1, valid_fraction=0)
        for level in ("char", "word")
    }
    for one in compare(models, lines):
        bits, characters = bits_and_characters(models[one.name], lines)
        assert one.bits_per_char == pytest.approx(bits.sum() / characters.sum(), rel=1e-12)
        assert one.level == one.name


def test_what_is_unknown_costs_its_spelling():
    """At the word level its end, too; so the model that knows nothing is not the best."""
    lines = ["the cat sees it .", "the dog"] * 10
    models = {
        name: charlm.train(
            lines, level="word", hidden_size=4, num_layers=1, max_steps=60, learning_rate=0.05, seed=1, **more
        )
        for name, more in (("few", {"vocab_size": 4}), ("all", {}))
    }
    text = ["the dog sees it .", "zebra"]
    letter = math.log2(len(set("".join(text))))
    bits = [bits_and_characters(models["all"], text)[0].sum(), bits_and_characters(models["few"], text)[0].sum()]
    first, second = compare(models, text)
    assert (first.name, second.name) == ("all", "few")
    assert first.bits_per_char * 24 == pytest.approx(bits[0] + letter * len("zebra "), rel=1e-12)
    unknown = [word for word in " ".join(text).split() if word not in models["few"].tokenizer.vocabulary.tokens]
    assert second.oov == len(unknown) > 1
    assert second.bits_per_char * 24 == pytest.approx(
        bits[1] + letter * len("".join(f"{w} " for w in unknown)), rel=1e-12
    )


def test_a_stream_is_read_as_one_text():
    lines = ["abba", "", "ab"] * 20
    model = charlm.train(lines, unit="stream", hidden_size=4, num_layers=1, max_steps=3, seed=1, valid_fraction=0)
    (found,) = compare({"stream": model}, lines)
    scores = list(Scorer(model, carry_state=True).score(lines))
    assert found.bits_per_char == pytest.approx(sum(one.nats for one in scores) / math.log(2) / 180, rel=1e-12)
    bits, characters = bits_and_characters(model, lines)  # each line alone
    assert found.bits_per_char != pytest.approx(bits.sum() / characters.sum(), rel=1e-9)


def test_one_line_has_no_error(models):
    (found,) = compare({"a": models["one"]}, ["abc"])
    assert math.isnan(found.standard_error) and math.isnan(found.low)


def test_what_cannot_be_compared(models):
    with pytest.raises(CorpusError, match="empty"):
        compare(models, [])
    with pytest.raises(UsageError, match="cloze model"):
        compare({"a": models["one"], "b": task_model("cloze-char")}, LINES)
    with pytest.raises(UsageError, match="other characters"):
        compare({"a": models["one"], "b": task_model("conditioned")}, ["x\tab", "y\tc"])
    for kind in KINDS:
        if KINDS[kind][4]["task"] not in ("lm", "cloze"):
            with pytest.raises(UsageError, match="charlm compare does not work"):
                compare({"a": task_model(kind)}, LINES)

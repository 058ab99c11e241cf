"""The library's functions, as a program uses them."""

import math

import numpy as np
import pytest

import charlm
from charlm import api
from charlm.config import TextConfig, TrainConfig
from charlm.errors import CorpusError, ModelFileError, ResourceError, UsageError
from charlm.inference.evaluation import evaluate
from charlm.session import prepare

LINES = ["tip tap", "tap tip", "tip tip", "tap tap"] * 10
SMALL = {"hidden_size": 12, "num_layers": 1, "batch_size": 4, "seq_length": 16, "seed": 3}


@pytest.fixture(scope="module")
def model():
    return charlm.train(LINES, **SMALL, max_steps=150, learning_rate=0.02)


def test_the_functions_are_the_package():
    names = {"train", "save", "load", "generate", "generate_many", "next_tokens", "score", "score_pairs"}
    names |= {
        "activations",
        "adapt",
        "compare",
        "export",
        "fill",
        "filter_lines",
        "import_model",
        "load_ngrams",
        "mix",
        "predict",
        "rank",
        "rescore",
        "surprisal",
        "trace",
        "tune_mix",
        "tune_rescoring",
    }
    assert set(charlm.__all__) == {"__version__", *names}
    for name in names:
        assert getattr(charlm, name) is getattr(api, name)
    with pytest.raises(AttributeError, match="zebra"):
        _ = charlm.zebra


def test_other_tasks_than_language_are_trained_and_asked_by_the_same_functions():
    """A tagger learns words by heart, a cloze model fills a gap, a class comes first; what does not fit is refused."""
    small = {"hidden_size": 16, "num_layers": 1, "epochs": 60, "learning_rate": 0.02, "valid_fraction": 0.0, "seed": 1}
    small |= {"dropout": 0.0, "batch_size": 64, "embedding_size": 0}
    tagger = charlm.train(["the\tD", "cat\tN", "", "the\tD", "dog\tN"] * 4, task="tag", **small)
    (tagged,) = charlm.predict(tagger, ["the dog the\n"])
    assert (tagged.prediction, len(tagged.prob)) == (["D", "N", "D"], 3)
    cloze = charlm.train(["a b c", "d e f"] * 8, task="cloze", level="word", **small)
    (filled,) = charlm.fill(cloze, ["d ___ f"])
    assert (filled.filled, filled.gaps[0][0].token) == ("d e f", "e")
    told = charlm.train(["x\taaa", "y\tbbb"] * 8, condition=True, **small)
    assert [charlm.generate(told, label=label, temperature=0) for label in "xy"] == ["aaa", "bbb"]
    tune = charlm.train(["60 62 60 62"] * 8, task="music", **{**small, "epochs": 300})
    assert charlm.generate(tune, temperature=0, length=3) == "60 62 60"
    for use, model, *given in ((charlm.score, tagger, ["a"]), (charlm.fill, told, ["a"]), (charlm.generate, cloze)):
        with pytest.raises(UsageError, match="does not work with a --task"):
            use(model, *given)


def test_what_was_trained_generates_and_scores_like_its_corpus(model):
    likely, unlikely = charlm.score(model, ["tip tap", "pit pat"])
    assert (likely.text, unlikely.text) == ("tip tap", "pit pat")
    assert likely.tokens == unlikely.tokens == 8 and likely.oov == 0
    assert likely.log10p > unlikely.log10p + 2
    assert likely.prob == pytest.approx(10**likely.log10p) == pytest.approx(likely.perplexity**-8)
    texts = {charlm.generate(model, seed=seed, temperature=0.3) for seed in range(20)}
    assert texts <= set(LINES) and len(texts) > 1


def test_generating_begins_with_the_prompt_and_depends_on_the_seed_alone(model):
    drawn = [charlm.generate(model, "ta", seed=seed, length=30, temperature=2.0) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(text.startswith("ta") for text in drawn)
    assert charlm.generate(model, "ta", length=0) == "ta"
    assert len(charlm.generate(model, "ta", length=3, temperature=0)) <= 5


def test_scores_come_in_order_whatever_the_lengths(model):
    lines = ["tip " * count for count in (9, 0, 4, 30, 1, 0)]
    assert [score.text for score in charlm.score(model, iter(lines))] == lines
    alone = [next(iter(charlm.score(model, [line]))).nats for line in lines]
    assert [score.nats for score in charlm.score(model, lines)] == pytest.approx(alone, rel=1e-5)
    assert list(charlm.score(model, [])) == []


def test_a_model_adapts_while_it_scores(model):
    lines = ["pip pat", "pat pip"] * 15
    adapted = charlm.adapt(model, rate=0.05, cache=20)
    before = [score.nats for score in charlm.score(model, lines)]
    nats = [score.nats for score in charlm.score(adapted, lines)]
    assert sum(nats) < 0.8 * sum(before)
    assert [score.nats for score in charlm.score(model, lines)] == before
    assert sum(score.nats for score in charlm.score(adapted.language_model, lines)) < 0.8 * sum(before)
    bits = [row.surprisal for row in charlm.surprisal(charlm.adapt(model, rate=0.05, cache=20), lines)]
    assert sum(bits) * math.log(2.0) == pytest.approx(sum(nats), rel=1e-5)
    with pytest.raises(UsageError, match="--dynamic"):
        charlm.adapt(model, rate=-1.0)


def test_a_mixture_is_the_mean_of_probabilities(model, tmp_path):
    other = charlm.train(LINES, **{**SMALL, "seed": 4}, max_steps=20)
    (tmp_path / "a.arpa").write_text("\\data\\\nngram 1=2\n\n\\1-grams:\n-1\t</s>\n-0.5\tt\n\n\\end\\\n")
    models = {"a": model, "b": other, "c": charlm.load_ngrams(tmp_path / "a.arpa", model)}
    (score,) = charlm.mix({name: models[name] for name in "ab"}, ["t"], weights=[0.25, 0.75])
    first, second = (next(charlm.score(one, ["t"])) for one in (model, other))
    assert score.nats < 0.25 * first.nats + 0.75 * second.nats
    assert next(charlm.mix(models, ["t"], weights=[0.0, 0.0, 1.0])).log10p == pytest.approx(-1.5)
    tuned = charlm.tune_mix(models, LINES)
    assert tuned.weights[0] > 0.9 and tuned.perplexity <= min(tuned.alone) + 1e-6
    with pytest.raises(UsageError, match="the first model of a mixture"):
        charlm.mix({"c": models["c"], "a": model}, ["t"])


def test_a_saved_model_is_the_model(model, tmp_path):
    charlm.save(model, str(tmp_path / "m.safetensors"))
    again = charlm.load(str(tmp_path / "m.safetensors"))
    assert np.array_equal(again.model.parameters.values, model.model.parameters.values)
    assert [s.nats for s in charlm.score(again, LINES)] == [s.nats for s in charlm.score(model, LINES)]
    assert charlm.generate(again, seed=5) == charlm.generate(model, seed=5)
    assert again.history == model.history and again.history
    charlm.save(again, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m.safetensors").read_bytes()


def test_training_gives_the_best_weights_and_not_the_last():
    """Letters drawn at random can be learned by heart, which makes the prediction of others worse and worse."""
    rng = np.random.default_rng(2)
    lines = ["".join(rng.choice(list("abcdefgh"), 12)) for _ in range(24)]
    network = {"hidden_size": 24, "num_layers": 1, "dropout": 0.0, "embedding_size": 0}
    config = TrainConfig(max_steps=150, valid_fraction=0.5, learning_rate=0.02, seed=3)
    options = {name: value for name, value in config.to_dict().items() if name != "valid"}
    trained = charlm.train(lines, **network, **options)
    nats = [record["valid_nats"] for record in trained.history]
    assert min(nats) + 1 < nats[-1]
    held_out = prepare(lines, TextConfig(), network, config).trainer.valid
    assert evaluate(trained.model, held_out, trained.model.workspace()).nats_per_token == min(nats)


def test_every_option_reaches_its_configuration():
    trained = charlm.train(
        LINES,
        level="word",
        unit="stream",
        lowercase=True,
        cell="gru",
        reset="before",
        dense=(5,),
        dropout=0.1,
        hidden_size=6,
        max_steps=2,
        optimizer="rmsprop",
        seq_length=7,
    )
    assert (trained.text.level, trained.text.unit, trained.text.lowercase) == ("word", "stream", True)
    config = trained.model.config
    assert (config.cell, config.reset, config.dense, config.dropout) == ("gru", "before", (5,), 0.1)
    assert (trained.train.optimizer, trained.train.seq_length, trained.train.max_steps) == ("rmsprop", 7, 2)
    assert trained.is_stream and trained.tokenizer.vocabulary.tokens[2:] == ("tap", "tip")


def test_training_twice_gives_the_same_model():
    one, same, other = (
        charlm.train(iter(LINES), **{**SMALL, "seed": seed}, max_steps=5, dropout=0.2) for seed in (3, 3, 4)
    )
    assert np.array_equal(one.model.parameters.values, same.model.parameters.values)
    assert not np.array_equal(one.model.parameters.values, other.model.parameters.values)


@pytest.mark.parametrize("option", ["zebra", "lr", "vocabulary_size", "length"])
def test_an_option_that_there_is_not_is_a_type_error(option):
    with pytest.raises(TypeError, match=option):
        charlm.train(LINES, **{option: 1})


def test_an_unknown_option_of_generate_is_a_type_error(model):
    with pytest.raises(TypeError, match="zebra"):
        charlm.generate(model, zebra=1)


def test_mistakes_are_the_packages_errors(model, tmp_path):
    with pytest.raises(UsageError, match="--hidden-size"):
        charlm.train(LINES, hidden_size=0)
    with pytest.raises(UsageError, match="--temperature"):
        charlm.generate(model, temperature=-1)
    with pytest.raises(UsageError, match="--device"):
        charlm.load(tmp_path / "m", device="abacus")
    with pytest.raises(CorpusError):
        charlm.train([])
    with pytest.raises(ModelFileError):
        charlm.load(tmp_path / "missing")
    with pytest.raises(ResourceError):
        charlm.save(model, tmp_path / "missing" / "m")


def test_a_probability_too_small_for_a_float_is_0(model):
    (score,) = charlm.score(model, ["pit " * 300])
    assert score.prob == 0.0
    assert math.isfinite(score.log10p) and score.log10p < -330


def test_reading_both_sides_makes_a_language_model_a_cloze_model():
    assert charlm.train(["ab", "ba"], bidirectional=True, max_steps=1, valid_fraction=0.0).task == "cloze"


def test_a_task_that_there_is_not_is_refused():
    with pytest.raises(UsageError, match="--task is 'foo'"):
        charlm.train(["a"], task="foo")


def test_many_texts_next_tokens_and_pairs(model):
    kept = list(charlm.generate_many(model, 3, "t", unique=True, not_in=["tip tap\n"], best_of=4, sort=True, seed=2))
    texts = [one.text for one in kept]
    assert len(set(texts)) == 3 and "tip tap" not in texts and all(text.startswith("t") for text in texts)
    drawn = [charlm.generate(model, "t", seed=2)]
    assert [one.text for one in charlm.generate_many(model, 1, "t", seed=2)] == drawn
    assert [one.token for one in charlm.next_tokens(model, "tip ta", candidates=1)] == ["p"]
    (pair,) = charlm.score_pairs(model, ["tip tap\tpit pat\n"])
    assert pair.credit == 1.0 and pair.good.log10p > pair.bad.log10p
    with pytest.raises(UsageError):
        list(charlm.generate_many(model, 0))

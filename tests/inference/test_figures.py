"""The figures of each task, by hand and by the tool that everyone uses."""

import math

import numpy as np
import pytest
import sacrebleu

from charlm.errors import CorpusError
from charlm.inference.figures import accuracy, as_the_model_writes, bleu_and_chrf, figures, macro_f1, scores_of
from charlm.inference.prediction import Translator, classify, tag
from charlm.text import EOS, EOS_ID, UNK, Tokenizer, Vocabulary, make_splitter
from charlm.text.tokens.music_steps import parse_steps
from tests.inference.test_music import log_prob
from tests.task_models import (
    TARGET,
    TEXTS,
    WORDS,
    choices_at,
    given_the_others,
    ids_of,
    nats,
    random_lines,
    shifted,
    task_model,
)

PREDICTED = list("NNVVPN")
TRUTH = list("NVVNNN")  # N: 2 of 3 found, 2 of 4 there; V: 1 of 2, 1 of 2; P: none of 1


def lines_of(kind):
    return TEXTS[kind].split("\n")[:-1]


# ---- the formulas


def test_accuracy():
    assert accuracy(PREDICTED, TRUTH) == 3 / 6
    assert accuracy(TRUTH, TRUTH) == 1.0
    assert accuracy([], []) == 0.0


def test_precision_recall_and_f1():
    found = scores_of("N", PREDICTED, TRUTH)
    assert found == pytest.approx({"precision": 2 / 3, "recall": 2 / 4, "f1": 2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2)})
    assert scores_of("V", PREDICTED, TRUTH) == pytest.approx({"precision": 0.5, "recall": 0.5, "f1": 0.5})
    assert scores_of("P", PREDICTED, TRUTH) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert scores_of("X", PREDICTED, TRUTH) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


MACRO_F1 = [  # predicted, truth, what scikit-learn 1.x gives as f1_score(..., average="macro", zero_division=0)
    ("NNVVPN", "NVVNNN", (4 / 7 + 1 / 2 + 0) / 3),
    ("NVVNNN", "NNVVPN", (4 / 7 + 1 / 2 + 0) / 3),
    ("GGGGGGGBBB", "GGGGGGGGGG", (14 / 17 + 0) / 2),  # one class in the truth, another one predicted
    ("AABBC", "AABBB", (1.0 + 0.8 + 0.0) / 3),
    ("XXX", "YYY", 0.0),
    ("NVN", "NVN", 1.0),
]


@pytest.mark.parametrize(("predicted", "truth", "expected"), MACRO_F1)
def test_macro_f1_counts_the_labels_that_are_only_predicted(predicted, truth, expected):
    assert macro_f1(list(predicted), list(truth)) == pytest.approx(expected)


def test_macro_f1_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(3)
    drawn = [(rng.choice(list("ABCD"), 30), rng.choice(list("BCDE"), 30)) for _ in range(5)]
    for predicted, truth in [*((list(p), list(t)) for p, t, _ in MACRO_F1), *(map(list, pair) for pair in drawn)]:
        expected = metrics.f1_score(truth, predicted, average="macro", zero_division=0)
        assert macro_f1(predicted, truth) == pytest.approx(expected)
        assert accuracy(predicted, truth) == pytest.approx(metrics.accuracy_score(truth, predicted))


def test_bleu_and_chrf_are_those_of_sacrebleu():
    translations = ["the cat sat on the mat .", "it is a dog", "no", ""]
    references = ["the cat sat on a mat .", "this is a dog", "yes", "well"]
    found = bleu_and_chrf(translations, references)
    assert found["bleu"] == sacrebleu.BLEU().corpus_score(translations, [references]).score
    assert found["chrf"] == sacrebleu.CHRF().corpus_score(translations, [references]).score
    assert 0 < found["bleu"] < found["chrf"] < 100
    assert bleu_and_chrf(references, references) == pytest.approx({"bleu": 100.0, "chrf": 100.0})


def test_figures_that_are_undefined_are_none():
    assert bleu_and_chrf(["a b"], ["a b"]) == {"bleu": None, "chrf": pytest.approx(100.0)}
    assert bleu_and_chrf(["a b", "c"], ["", " "]) == {"bleu": None, "chrf": None}
    assert bleu_and_chrf([], []) == {"bleu": None, "chrf": None}
    assert bleu_and_chrf([""], ["a b"]) == {"bleu": None, "chrf": 0.0}


# ---- tags


def tagged(kind):
    """Return the tokens and the tags of each sentence of its text."""
    return [
        tuple(zip(*(row.split("\t") for row in block.split("\n") if row), strict=True))
        for block in TEXTS[kind].split("\n\n")
    ]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["tag", "yes-no"])
def test_the_figures_of_tags(kind, seed):
    lm = task_model(kind, seed=seed)
    found = figures(lm, lines_of(kind))
    predicted, truth, loss = [], [], 0.0
    for tokens, tags in tagged(kind):
        truth += tags
        predicted += next(tag(lm, [" ".join(tokens)])).prediction
        ids = lm.tokenizer.encode_tokens(tokens)
        loss -= sum(math.log(choices_at(lm, ids, at)[lm.labels.index(one)]) for at, one in enumerate(tags))
    right = sum(map(str.__eq__, predicted, truth))
    assert (found["sentences"], found["tokens"], found["accuracy"]) == (2, 5, right / 5)
    assert found["nats_per_token"] == pytest.approx(loss / 5, rel=1e-9)
    if kind == "yes-no":
        own = {name: found[name] for name in ("precision", "recall", "f1")}
        assert own == scores_of("1", predicted, truth)
        assert "macro_f1" not in found
    else:
        assert found["macro_f1"] == macro_f1(predicted, truth)
        assert "f1" not in found


# ---- classes


@pytest.mark.parametrize("seed", range(3))
def test_the_figures_of_classes(seed):
    lm = task_model("classify", seed=seed)
    lines = [f"{label}\t{text}" for label in lm.labels for text in ("abc", "a b c", "cc", "a")]
    found = figures(lm, lines, batch_size=3)
    truth, texts = zip(*(line.split("\t") for line in lines), strict=True)
    predicted = [one.prediction for one in classify(lm, texts)]
    loss = 0.0
    for label, text in zip(truth, texts, strict=True):
        ids = [*ids_of(lm, text), EOS_ID]
        loss -= math.log(choices_at(lm, ids, len(ids) - 1)[lm.labels.index(label)])
    assert found == {
        "texts": 12,
        "nats_per_text": pytest.approx(loss / 12, rel=1e-9),
        "accuracy": accuracy(predicted, truth),
        "macro_f1": macro_f1(predicted, truth),
    }
    assert 0 < found["accuracy"] < 1


# ---- translations


@pytest.mark.parametrize("beam", [1, 3])
def test_the_figures_of_translations(beam):
    lm = task_model("translate")
    sources = [line for line in random_lines(WORDS, 40, 9) if line]
    references = [line or "le" for line in random_lines(TARGET, len(sources), 5, seed=1)]
    found = figures(lm, [f"{s}\t{t}" for s, t in zip(sources, references, strict=True)], beam=beam, batch_size=8)
    translations = [next(Translator(lm, beam=beam).predict([source])).prediction for source in sources]
    assert found["references"] == "as written"
    assert found["bleu"] == sacrebleu.BLEU().corpus_score(translations, [references]).score
    assert found["chrf"] == sacrebleu.CHRF().corpus_score(translations, [references]).score
    assert found["chrf"] > 0
    loss = tokens = 0
    for source, reference in zip(sources, references, strict=True):
        ids = [*lm.codec.target.encode(reference).tolist(), EOS_ID]
        loss += nats(lm, shifted(ids), ids, source=[*ids_of(lm, source), EOS_ID]).sum()
        tokens += len(ids)
    assert (found["sentences"], found["tokens"], found["beam"]) == (len(sources), tokens, beam)
    assert found["nats_per_token"] == pytest.approx(loss / tokens, rel=1e-9)
    assert found["perplexity"] == pytest.approx(math.exp(loss / tokens), rel=1e-9)
    assert_partition(lm, found["by_source_length"], sources, translations, references)


def assert_partition(lm, rows, sources, translations, references):
    """Check that every sentence is in one row, by the length of its source, and that the rows follow each other."""
    lengths = np.array([len(lm.tokenizer.split(source)) for source in sources])
    assert sum(row["sentences"] for row in rows) == len(sources)
    assert len(rows) > 3
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        assert row["to"] == row["from"] + 1
        assert after is None or row["to"] < after["from"]
        chosen = np.flatnonzero((lengths >= row["from"]) & (lengths <= row["to"])).tolist()
        assert len(chosen) == row["sentences"] > 0
        of_row = [translations[i] for i in chosen], [[references[i] for i in chosen]]
        tokens = [sacrebleu.BLEU().tokenizer(references[i]).split() for i in chosen]
        defined = any(len(one) >= 4 for one in tokens)
        assert row["bleu"] == (sacrebleu.BLEU().corpus_score(*of_row).score if defined else None)


def test_a_source_of_nothing_but_spaces_is_in_a_row_too():
    found = figures(task_model("translate"), ["the cat\tle chat", " \tle"])
    assert sum(row["sentences"] for row in found["by_source_length"]) == found["sentences"] == 2


# ---- music, and the models of language


@pytest.mark.parametrize("kind", ["music", "genre"])
def test_the_figures_of_music(kind):
    lm = task_model(kind)
    found = figures(lm, lines_of(kind))
    loss = steps = 0
    for line in lines_of(kind):
        genre, piece = line.split("\t") if kind == "genre" else (None, line)
        parsed = list(parse_steps(piece))
        loss -= log_prob(lm, parsed, genre)
        steps += len(parsed)
    assert found == {"pieces": 2, "steps": steps, "nats_per_step": pytest.approx(loss / steps, rel=1e-9)}


def test_the_figures_of_a_cloze_model_are_pseudo_and_count_no_end():
    lm = task_model("cloze")
    lines = ["the cat sees", "", "what it is.", "dog"]
    found = figures(lm, lines)
    loss = oov = right = 0
    for line in lines:
        ids = ids_of(lm, line)
        for place, token in enumerate(ids):
            p = given_the_others(lm, ids, place)
            loss -= math.log(p[token])
            oov -= math.log(p[token]) if token == 1 else 0.0
            right += p.argmax() == token != 1
    characters = sum(map(len, lines))
    assert found.pop("tokens_per_second") > 0
    assert found == pytest.approx(
        {
            "tokens": 8,
            "oov": 2,
            "pseudo_nats_per_token": loss / 8,
            "pseudo_perplexity": math.exp(loss / 8),
            "pseudo_perplexity_without_oov": math.exp((loss - oov) / 6),
            "accuracy": right / 8,
            "pseudo_bits_per_char": loss / math.log(2) / characters,
            "pseudo_bits_per_byte": loss / math.log(2) / characters,
        },
        rel=1e-9,
    )


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_size_of_a_batch_does_not_matter(kind, batch_size):
    lm = task_model(kind)
    expected, found = (figures(lm, lines_of(kind) * 5, batch_size=size) for size in (3, batch_size))
    assert expected.pop("by_type", None) == found.pop("by_type", None)
    for record in (expected, found):
        record.pop("tokens_per_second", None)
        for name in ("by_source_length", "bleu_tokenizer", "references"):
            record.pop(name, None)
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", TEXTS)
def test_an_empty_corpus_has_no_figures(kind):
    with pytest.raises(CorpusError, match="nothing to evaluate"):
        figures(task_model(kind), [])


@pytest.mark.parametrize(
    ("text", "references", "compared", "said"),
    [
        ({}, ["the end.", "a (b) c"], ["the end.", "a (b) c"], "as written"),
        ({}, ["the end .", "at 12: 30"], ["the end .", "at 12: 30"], "as written"),
        ({"lowercase": True}, ["The End"], ["the end"], "lower-cased"),
        ({"lowercase": True}, ["the end"], ["the end"], "as written"),
        ({"lowercase": True}, ["The  end .", "İ"], ["the  end .", "i̇"], "lower-cased"),
        ({"lowercase": True, "normalize": "nfc"}, ["E\u0301"], ["\xe9"], "lower-cased and normalized"),
        ({"split": "whitespace"}, ["the  end .", "a:b"], ["the  end .", "a:b"], "as written"),
        ({"level": "char"}, ["the  end .", " 你好"], ["the  end .", " 你好"], "as written"),
        ({"level": "char", "lowercase": True}, ["A b"], ["a b"], "lower-cased"),
        ({}, [], [], "as written"),
    ],
)
def test_references_are_compared_in_the_letters_of_the_model(text, references, compared, said):
    fields = {"level": "word", "split": "punct", "lowercase": False, **text}
    target = Tokenizer(make_splitter(**fields), Vocabulary((EOS, UNK, "a")))
    assert as_the_model_writes(target, references) == (compared, said)

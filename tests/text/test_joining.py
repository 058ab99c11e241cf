"""Spaces between tokens, as they are learned from a corpus and put back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm import api
from charlm.text import Vocabulary, make_splitter
from charlm.text.learning import learn_spacing, spelling_as
from charlm.text.tokens import joining
from charlm.text.tokens.joining import LineState, Spacing, SpacingCounts
from tests.forms import properties
from tests.test_checkpoint import refusal_of, rewrite
from tests.text.test_tokenizer import DENSE, LINES

WORDS = make_splitter("word", "punct", False)
CORPORA = {
    "english": [
        "the dogs' bone is very big",
        "my parents' house is very old",
        "it costs $5 or 'less' now",
        "the pear is ripe, isn't it?",
        '"Come in!" she said. "It is 12:30."',
        'and ("so what?") he said',
    ],
    "german": [
        "Er sagte: „Das geht um 12:30 Uhr!“",
        "Hans' Buch kostet 5 € \u2013 oder weniger?",
        "Das ist z. B. die »beste« Lösung; siehe § 5.",
        "Ein- und Ausgang: 50 % der Türen/Tore",
    ],
    "french": [
        "Quoi ? Il a dit : « Viens vite ! »",
        "Ça coûte 5 € ; c'est l'heure, 12:30.",
        "« Non » , dit-elle ? Oui !",
    ],
    "swedish": [
        "EU:s regler och S:t Eriks bro",
        "Han sa: \u201dkom hit!\u201d klockan 12:30",
        "Det kostar 5:- eller 50 % av priset.",
        "Lars' hus - 'stora' och 'gamla'",
    ],
    "tokenised": ["the film is n't good , but it 's short .", "( so what ? ) he said"],
}


def learned(lines):
    return WORDS.spelling_as(learn_spacing(lines, WORDS))


@pytest.mark.parametrize("name", CORPORA)
def test_text_comes_back_as_the_corpus_spells_it(name):
    splitter = learned(CORPORA[name] * 3)
    assert [splitter.join(splitter.split(line)) for line in CORPORA[name]] == CORPORA[name]
    assert [WORDS.join(WORDS.split(line)) for line in CORPORA[name]] != CORPORA[name]


def test_new_sentences_are_spelled_like_the_corpus():
    assert learned(["Quoi ?", "Il vient ?"]).join(["Où", "?"]) == "Où ?"
    assert learned(["What?", "He comes?"]).join(["Where", "?"]) == "Where?"
    quotes = learned(['he "sees" it', '"go" on', 'a "big cat"'] * 3)
    assert quotes.join(['"', "the", "dog", '"', "and", '"', "I", '"']) == '"the dog" and "I"'


def test_a_corpus_decides_by_its_majority_and_a_context_by_its_own():
    """With one `12:` of three colons, p is 1/5, (1 + 2/5) / 3 = 7/15, (1 + 14/15) / 3 = 29/45: above a half at last."""
    spacing = learn_spacing(["a :", "b :", "12:"], WORDS)
    assert spacing.to_json() == [{}, {}, {"digit : closed": True}, {}]
    spacing = learn_spacing(["a :", "b :", "12:", "34:"], WORDS)  # 2/6, (2 + 2/3) / 4 = 2/3
    assert spacing.to_json() == [{}, {"digit :": True}, {}, {}]
    spacing = learn_spacing(["a :", "b :", "c :", "d :", "5:", "6 :"], WORDS)  # 1/8, (1 + 1/4) / 4, (1 + 5/8) / 4
    assert spacing.to_json() == [{}, {}, {}, {"5 : closed": True}]


def test_the_state_of_a_line():
    line = LineState()
    assert line.contexts("(") == ()
    line.add("(", attached=False)
    line.add('"', attached=True)
    assert line.contexts("Yes") == ('" -', '" capital', '" capital attached open', '" Yes attached open')
    line.add("Yes", attached=True)
    assert line.contexts("no") == ()
    assert line.contexts('"') == ('- "', 'letter "', 'letter " open', 'Yes " open')


SPELLED = learned([line.replace(" ", "") for line in ["a . - ' , b", "< unk > <", "1 : . 2 , ' - ( ) ☺ 🇩"]] * 3)


@properties(60, 600)
@given(pieces=st.lists(st.one_of(DENSE, LINES), max_size=6), random=st.randoms(use_true_random=False))
def test_attached_tokens_never_become_another_token(pieces, random):
    """Whatever a corpus was like: here every mark is attached to everything."""
    tokens = [token for piece in pieces for token in WORDS.split(piece)]
    spelled = WORDS.spelling_as(learn_spacing(["".join(line.split()) for line in pieces], WORDS))
    random.shuffle(tokens)
    for splitter in (spelled, SPELLED):
        text = splitter.join(tokens)
        assert splitter.split(text) == tokens
        assert len(list(splitter.stream(tokens))) == len(tokens)


def test_only_contexts_of_the_vocabulary_are_kept():
    spacing = learn_spacing(["the dogs' x", "a cats' x", "or 'x", "no 'x", "if 'x"] * 2, WORDS)
    assert spacing.to_json()[-1] == {"cats ' closed": True, "dogs ' closed": True}
    kept = spelling_as(WORDS, spacing, Vocabulary.build({"dogs": 1, "'": 1})).spacing
    assert kept is not None and kept.to_json()[-1] == {"dogs ' closed": True}


def test_counting_stops(monkeypatch):
    monkeypatch.setattr(joining, "_MOST_TOKENS", 4)
    counts = SpacingCounts()
    counts.add_lines(["a!", "b !", *["c !"] * 9], WORDS.spaced)
    assert counts.is_full and counts.spacing().to_json() == learn_spacing(["a!", "b !"], WORDS).to_json()


@pytest.mark.parametrize("odd", [None, {}, [], [{}] * 3, [[]] * 4, [{"- ,": 1}, {}, {}, {}]])
def test_an_invalid_table_is_refused(odd):
    with pytest.raises(ValueError, match="spacing"):
        Spacing.from_json(odd)


@pytest.mark.parametrize("task", ["lm", "translate"])
def test_a_model_file_has_the_spacing_of_its_training_text(tmp_path, task):
    lines = [line.replace("\t", " ") for line in CORPORA["french"]]
    corpus = [f"a, b\t{line}" for line in lines] if task == "translate" else lines
    model = api.train(corpus, task=task, level="word", max_steps=1, hidden_size=4, num_layers=1, valid_fraction=0.0)
    api.save(model, tmp_path / "model.safetensors")
    opened = api.load(tmp_path / "model.safetensors").codec
    for tokenizer in (model.codec.target or model.tokenizer, opened.target or opened.tokenizer):
        assert [tokenizer.join(tokenizer.split(line)) for line in lines] == lines
    if task == "translate":
        assert opened.tokenizer.join(["a", ",", "b"]) == "a, b"


def test_a_file_without_spacing_joins_as_english_is_written():
    assert WORDS.spacing is None and WORDS.join(["Oh", "!", "(", "a", ")"]) == "Oh! (a)"
    assert json.loads(json.dumps(learn_spacing([], WORDS).to_json())) == [{}, {}, {}, {}]


@pytest.mark.parametrize("odd", ["x", {}, [{}] * 3, [1, 2, 3, 4], [{"- ,": 1}, {}, {}, {}]])
def test_a_damaged_table_in_a_model_file_is_refused(tmp_path, odd):
    path = tmp_path / "model.safetensors"
    api.save(api.train(CORPORA["english"], level="word", max_steps=1, hidden_size=4, num_layers=1), path)
    rewrite(path, lambda ours: ours.update(spacing=odd))
    assert "spacing" in refusal_of(path)


def test_the_weights_are_those_without_learned_spaces(monkeypatch):
    """The ids are the same; only joining is another."""
    how = {"level": "word", "max_steps": 3, "hidden_size": 4, "num_layers": 1, "seed": 1}
    learned = api.train(CORPORA["english"], **how)
    monkeypatch.setattr("charlm.text.learning.spelling_as", lambda splitter, *_: splitter)
    plain = api.train(CORPORA["english"], **how)
    assert (learned.tokenizer.splitter.spacing is None, plain.tokenizer.splitter.spacing is None) == (False, True)
    assert learned.model.parameters.values.tobytes() == plain.model.parameters.values.tobytes()

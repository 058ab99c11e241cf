"""Starting a model of each task from another one: the same names keep their weights, and so what they compute."""

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.errors import UsageError
from charlm.nn import build as build_module
from charlm.session import inherited, prepare_from
from charlm.training.warm_start import Matched, warm_start

COMMON = {"hidden_size": 5, "num_layers": 2, "valid_fraction": 0.0, "max_steps": 1, "min_count": 1, "batch_size": 4}
WORDS = {"level": "word", "split": "whitespace"}
CORPORA = {  # task -> settings, a corpus, and another one with some of its names in another order
    "tag": ({"task": "tag"}, ["a\tX", "b\tY", "c\tZ"], ["q\tQ", "c\tZ", "a\tX", "r\tQ"]),
    "yes or no": ({"task": "tag"}, ["a\t0", "b\t1", "c\t1"], ["q\t1", "c\t0", "a\t0"]),
    "classify": ({"task": "classify", **WORDS}, ["X\ta b", "Y\tc"], ["Q\tq q", "Y\tc a"]),
    "cloze": ({"task": "cloze", **WORDS}, ["a b c", "b a"], ["q c", "a a a q"]),
    "conditioned": ({**WORDS}, ["X\ta b", "Y\tc b"], ["Q\tq", "Y\tc a", "X\ta"]),
    "lm": ({**WORDS}, ["a b", "c b"], ["q q q", "c a"]),
    "translate": ({"task": "translate", **WORDS}, ["a b\tA B", "c\tC"], ["q c\tQ Q C", "a\tA"]),
    "music": ({"task": "music"}, ["60 64", "67"], ["67 72", "60 72"]),
    "genre": ({"task": "music"}, ["X\t60 64", "Y\t67"], ["Q\t67 72", "Y\t60 72"]),
}
FORMS = {"one-hot": {}, "looked up": {}, "embedding": {"embedding_size": 3}, "dense": {"dense": (4,)}}


def session_of(kind, lines, seed=1, **options):
    settings, *_ = CORPORA[kind]
    given = {**COMMON, **settings, "seed": seed, **options}
    return prepare_from(lines, given, conditioned=kind in ("conditioned", "genre"), ops=NumpyBackend()).language_model


def randomised(language_model, seed):
    values = language_model.model.parameters.values
    values[...] = np.random.default_rng(seed).normal(0, 0.5, values.shape)
    return language_model


def rows(language_model):
    """Return the weights of each name: (array, name) -> its numbers; and the arrays without names."""
    lm, model = language_model, language_model.model
    named = {k: v.copy() for k, v in model.parameters.named(model.parameters.values).items()}
    tokens = list(lm.tokenizer.vocabulary.tokens)
    labels = [("label", one) for one in lm.labels]
    target = [] if lm.codec.target is None else list(lm.codec.target.vocabulary.tokens)
    if lm.task == "music":
        tokens = tokens[2:]
    outputs = target or tokens
    if lm.facts.needs_labels:
        outputs = labels if model.config.labels > 1 else ["p"]
    reads = {"encoder.": tokens}
    inputs = target or (tokens if lm.facts.needs_labels else [*tokens, *labels])
    found, whole = {}, {}
    hidden = model.config.hidden_size
    for name, array in named.items():
        names = reads.get("encoder." if name.startswith("encoder.") else "", inputs)
        if name.startswith("head."):
            found |= {(name, one): row.tolist() for one, row in zip(outputs, array, strict=True)}
        elif name.endswith("input.E"):
            found |= {(name, one): row.tolist() for one, row in zip(names, array, strict=True)}
        elif "layer0" in name and array.shape[1] == hidden + 1 + len(names):
            columns = array[:, hidden:-1].T
            found |= {(name, one): row.tolist() for one, row in zip(names, columns, strict=True)}
            whole[name] = np.delete(array, range(hidden, hidden + len(names)), axis=1).tolist()
        else:
            whole[name] = array.tolist()
    return found, whole


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", CORPORA)
def test_names_keep_their_weights_and_new_ones_theirs(monkeypatch, kind, form):
    if form == "embedding" and kind in ("music", "genre"):
        pytest.skip("keys have no embedding")
    monkeypatch.setattr(build_module, "LARGEST_ONE_HOT", 0 if form == "looked up" else 512)
    _, first, second = CORPORA[kind]
    source = randomised(session_of(kind, first, **FORMS[form]), 1)
    target, before = (session_of(kind, second, seed=2, **FORMS[form]) for _ in range(2))
    warm_start(target, source)
    (theirs, their_whole), (ours, our_whole), (fresh, _) = map(rows, (source, target, before))
    assert our_whole == their_whole
    shared = ours.keys() & theirs.keys()
    # All pieces have the same keys.
    assert shared and (kind == "music" or ours.keys() - theirs.keys())
    assert {key: ours[key] for key in shared} == {key: theirs[key] for key in shared}
    assert {key: ours[key] for key in ours.keys() - shared} == {key: fresh[key] for key in ours.keys() - shared}


@pytest.mark.parametrize(
    ("kind", "matched"),
    [
        ("tag", [Matched("tokens", 4, 6), Matched("labels", 2, 3)]),
        ("translate", [Matched("tokens", 4, 5), Matched("target tokens", 4, 5)]),
        ("classify", [Matched("tokens", 4, 5), Matched("labels", 1, 2)]),
        ("conditioned", [Matched("tokens", 4, 5), Matched("labels", 2, 3)]),
        ("lm", [Matched("tokens", 4, 5)]),
    ],
)
def test_what_was_matched_is_counted(kind, matched):
    _, first, second = CORPORA[kind]
    assert warm_start(session_of(kind, second), session_of(kind, first)) == matched


@pytest.mark.parametrize("kind", ["tag", "classify"])
@pytest.mark.parametrize("form", ["one-hot", "embedding"])
def test_a_tagger_and_a_classifier_start_from_a_language_model(kind, form):
    source = randomised(session_of("lm", CORPORA["lm"][1], **FORMS[form]), 1)
    settings = {**inherited(source, kind), "task": kind}
    target, before = (
        prepare_from(CORPORA[kind][2], {**COMMON, **settings, "seed": 2}, ops=NumpyBackend()).language_model
        for _ in range(2)
    )
    assert not target.model.config.bidirectional
    assert [one.kind for one in warm_start(target, source)] == ["tokens"]
    (theirs, their_whole), (ours, our_whole), (fresh, _) = map(rows, (source, target, before))
    assert our_whole == their_whole
    inputs = {key for key in ours if not key[0].startswith("head.")}
    assert {key: ours[key] for key in inputs & theirs.keys()} == {key: theirs[key] for key in inputs & theirs.keys()}
    assert {key: ours[key] for key in ours.keys() - inputs} == {key: fresh[key] for key in ours.keys() - inputs}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("tag", "lm", "a model of --task tag cannot start one of --task lm"),
        ("lm", "translate", "--task lm cannot start one of --task translate"),
        ("classify", "tag", "--task classify cannot start one of --task tag"),
        ("music", "cloze", "cannot start one of --task cloze"),
        ("lm", "tag", "bidirectional is False, not True"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(old, new, words):
    same = {"embedding_size": 0 if "music" in (old, new) else 8}
    source = session_of(old, CORPORA[old][1], **same, **({"level": "word", "split": "whitespace"}))
    target = session_of(new, CORPORA[new][1], **same)
    with pytest.raises(UsageError, match=words) as error:
        warm_start(target, source)
    assert error.value.hint


def test_a_conditioned_model_starts_from_a_plain_one():
    matched = warm_start(session_of("conditioned", CORPORA["conditioned"][2]), session_of("lm", CORPORA["lm"][1]))
    assert matched == [Matched("tokens", 4, 5), Matched("labels", 0, 3)]

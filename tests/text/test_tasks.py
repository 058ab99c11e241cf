"""Each task's corpus as numbers: what is read, what is asked for, which names are learned and which are not."""

import numpy as np
import pytest

from charlm.config import ModelConfig, TextConfig, TrainConfig, check_text
from charlm.errors import CorpusError, UsageError
from charlm.nn.heads import Sigmoid
from charlm.session import prepare, text_defaults
from charlm.text import EOS, EOS_ID, UNK, UNK_ID, split_lines
from charlm.text.batches.lanes import NO_TARGET
from charlm.text.tasks import corpus_reader
from charlm.text.tokens.codec import BINARY

WORD = TextConfig(level="word", split="whitespace")
CHAR = TextConfig()
ALL = TrainConfig(valid_fraction=0.0)


def learn(task, lines, text=WORD, fraction=0.0, *, conditioned=False, **train):
    return corpus_reader(task, text, conditioned=conditioned).learn(lines, TrainConfig(**train), fraction)


def names(codec, ids):
    tokens = codec.tokenizer.vocabulary.tokens
    return [tokens[i] if i >= 0 else None for i in ids]


def cut(one):
    """Return what is read and asked for of each sequence."""
    edges = zip(one.offsets[:-1], one.offsets[1:], strict=True)
    return [(one.ids[a:b].tolist(), one.targets[a:b].tolist()) for a, b in edges]


# --- what is read and what is asked for ------------------------------------------------------------------------------


def test_cloze_asks_for_every_token_and_not_for_the_end():
    codec, train, valid = learn("cloze", ["ab", "", "b"], CHAR)
    a, b = (codec.tokenizer.vocabulary.ids[c] for c in "ab")
    assert cut(train) == [([a, b], [a, b]), ([], []), ([b], [b])]
    assert (train.size, valid.size) == (3, 0)


def test_a_tag_stands_at_its_token():
    codec, train, _ = learn("tag", ["the\tD", "cat\tN", "", "the\tD", "sat\tV"])
    assert codec.labels == ("D", "N", "V") and codec.sizes("tag")["labels"] == 3
    assert [(names(codec, x), [codec.labels[y] for y in targets]) for x, targets in cut(train)] == [
        (["the", "cat"], ["D", "N"]),
        (["the", "sat"], ["D", "V"]),
    ]


def test_a_class_is_asked_for_after_the_last_token():
    codec, train, _ = learn("classify", ["x\ta b", "y\tb", "x\tb a a"])
    found = [(names(codec, x), targets) for x, targets in cut(train)]
    assert codec.labels == ("x", "y")
    assert found == [
        (["a", "b", EOS], [NO_TARGET, NO_TARGET, 0]),
        (["b", EOS], [NO_TARGET, 1]),
        (["b", "a", "a", EOS], [NO_TARGET] * 3 + [0]),
    ]


def test_a_label_is_the_first_input_and_no_target():
    codec, train, _ = learn("lm", ["y\tab", "x\tb", "y\ta"], CHAR, conditioned=True)
    V = len(codec.tokenizer.vocabulary)
    assert codec.labels == ("x", "y") and set(codec.tokenizer.vocabulary.tokens) == {EOS, UNK, "a", "b"}
    assert train.store.first.tolist() == [V + 1, V, V + 1] and train.store.first.dtype == np.int32
    (batch,) = train.batches(3, 9).epoch()
    a, b = (codec.tokenizer.vocabulary.ids[c] for c in "ab")
    assert batch.inputs.T.tolist() == [[V + 1, a, b], [V, b, -1], [V + 1, a, -1]]
    assert batch.targets.T.tolist() == [[a, b, EOS_ID], [b, EOS_ID, -1], [a, EOS_ID, -1]]


def test_a_translation_has_two_vocabularies():
    codec, train, _ = learn("translate", ["one cat\teine Katze", "cat\tKatze"])
    source, target = codec.tokenizer.vocabulary.tokens, codec.target.vocabulary.tokens
    assert (source, target) == ((EOS, UNK, "cat", "one"), (EOS, UNK, "Katze", "eine"))
    assert codec.sizes("translate") == {"vocabulary_size": 4, "labels": 0, "target_size": 4, "characters": 0}
    assert [source[i] for i in train.sources[0]] == ["one", "cat", EOS, "cat", EOS]
    assert [target[i] for i in train.targets[0]] == ["eine", "Katze", EOS, "Katze", EOS]
    assert train.sources[1].tolist() == train.targets[1].tolist() == [0, 3, 5]


def test_music_has_a_unit_for_each_key_of_the_piano_and_what_lies_between():
    codec, train, _ = learn("music", ["60,64 -", "120"])
    keys = codec.tokenizer.vocabulary.tokens[2:]
    assert keys == tuple(map(str, range(21, 121)))
    assert [[keys[i] for i in np.flatnonzero(step)] for step in train.roll] == [["60", "64"], [], ["120"]]
    assert train.offsets.tolist() == [0, 2, 3] and train.labels is None
    codec, train, _ = learn("music", ["jazz\t60", "folk\t5", "jazz\t62"], conditioned=True)
    assert codec.tokenizer.vocabulary.tokens[2:] == tuple(map(str, range(5, 109)))
    assert codec.labels == ("folk", "jazz") and train.labels.tolist() == [1, 0, 1] and train.num_labels == 2


# --- which names are learned -----------------------------------------------------------------------------------------

TEN = [f"l{i}\tw{i}" for i in range(10)]


@pytest.mark.parametrize(
    ("task", "lines", "conditioned"),
    [
        ("lm", TEN, True),
        ("classify", TEN, False),
        ("tag", [line for i in range(10) for line in (f"w{i}\tl{i}", "")], False),
    ],
)
def test_labels_are_learned_from_all_of_the_corpus_and_tokens_are_not(task, lines, conditioned):
    codec, train, valid = learn(task, lines, fraction=0.3, conditioned=conditioned, seed=4)
    kept, held = split_lines(10, 0.3, 4)
    assert held.size == 3
    assert set(codec.labels) == {f"l{i}" for i in range(10)} and list(codec.labels) == sorted(codec.labels)
    assert set(codec.tokenizer.vocabulary.tokens) == {EOS, UNK, *(f"w{i}" for i in kept)}
    assert np.count_nonzero(valid.ids == UNK_ID) == 3 and not np.count_nonzero(train.ids == UNK_ID)


def test_of_a_translation_neither_side_of_what_is_held_out_is_learned():
    codec, train, valid = learn("translate", [f"s{i}\tt{i}" for i in range(10)], fraction=0.3, seed=4)
    kept, _ = split_lines(10, 0.3, 4)
    assert set(codec.target.vocabulary.tokens) == {EOS, UNK, *(f"t{i}" for i in kept)}
    for ids, _ in (valid.sources, valid.targets):
        assert np.count_nonzero(ids == UNK_ID) == 3
    assert not any(np.count_nonzero(ids == UNK_ID) for ids, _ in (train.sources, train.targets))


def test_genres_and_keys_are_learned_from_all_of_the_corpus():
    codec, _, valid = learn("music", [f"g{i}\t{109 + i}" for i in range(10)], fraction=0.3, conditioned=True, seed=4)
    assert len(codec.labels) == 10 and codec.tokenizer.vocabulary.tokens[-1] == "118"
    assert valid.roll.sum() == 3


@pytest.mark.parametrize("lines", [["a\t0", "b\t1"], ["a\t1", "b\t0", "", "a\t0"], ["a\t1"], ["a\t0"]])
def test_tags_of_zero_and_one_are_one_yes_or_no(lines):
    codec, train, _ = learn("tag", lines)
    assert codec.labels == BINARY and codec.sizes("tag")["labels"] == 1
    assert train.targets.tolist() == [int(line[-1]) for line in lines if line]
    model = prepare(lines, WORD, {"task": "tag", "hidden_size": 2}, ALL).language_model.model
    assert model.config.labels == 1 and model.parameters.shapes["head.W_y"] == (1, 4)


def test_other_tags_and_classes_of_zero_and_one_are_choices():
    assert learn("tag", ["a\t0", "b\t1", "c\t2"])[0].sizes("tag")["labels"] == 3
    assert learn("tag", ["a\t0", "b\tno"])[0].sizes("tag")["labels"] == 2
    codec, train, _ = learn("classify", ["0\ta", "1\tb"])
    assert codec.labels == ("0", "1") and codec.sizes("classify")["labels"] == 2
    assert train.targets.tolist() == [NO_TARGET, 0, NO_TARGET, 1]
    model = prepare(["0\ta", "1\tb"], WORD, {"task": "classify", "hidden_size": 2}, ALL).language_model.model
    assert model.parameters.shapes["head.W_y"] == (2, 4)


def test_a_single_tag_is_no_yes_or_no():
    """Its number is 0, which a yes or no takes for a no: what is learned would be the tag that there is not."""
    lines = ["a\tN", "b\tN"]
    try:
        session = prepare(lines, WORD, {"task": "tag", "hidden_size": 2}, ALL)
    except (CorpusError, UsageError) as refusal:
        assert refusal.hint  # it may be refused, as there is nothing to choose
    else:
        assert session.language_model.labels == ("N",)
        assert not isinstance(session.language_model.model.head, Sigmoid)


@pytest.mark.parametrize("lowercase", [False, True])
def test_reserved_names_as_tokens_of_a_tagged_sentence_are_unknown_words(lowercase):
    """Also <EOS>: a token must not be able to end anything."""
    text = TextConfig("word", "line", "whitespace", lowercase)
    codec, train, _ = learn("tag", [f"{UNK}\tX", f"{EOS}\tY", "<unk>\tX", "Word\tY"], text)
    words = ("<eos>", "word") if lowercase else ("Word",)  # in lower case it is a word like any other
    assert codec.tokenizer.vocabulary.tokens == (EOS, UNK, *words)
    assert names(codec, train.ids) == ([UNK, "<eos>", UNK, "word"] if lowercase else [UNK, UNK, UNK, "Word"])
    assert train.offsets.tolist() == [0, 4]


def test_limits_of_the_vocabulary_hold_for_both_sides_of_a_translation():
    codec, _, _ = learn("translate", ["a a b\tx y y", "a b c\tx x y"], vocab_size=1)
    assert [one.vocabulary.tokens[2:] for one in (codec.tokenizer, codec.target)] == [("a",), ("x",)]
    codec, _, _ = learn("tag", ["a\tX", "a\tX", "b\tY"], min_count=2)
    assert codec.tokenizer.vocabulary.tokens[2:] == ("a",)


CORPORA = {
    "cloze": (["ab c", "", "ba"], False),
    "lm": (["x\tab", "y\tba"], True),
    "classify": (["x\tab", "y\tba"], False),
    "tag": (["a\tX", "b\tY", "", "b\tX"], False),
    "translate": (["a b\tx", "b\ty x"], False),
    "music": (["p\t60 - 62", "q\t64"], True),
}


@pytest.mark.parametrize("task", CORPORA)
@pytest.mark.parametrize("fraction", [0.0, 0.5])
def test_again_gives_what_was_learned_from(task, fraction):
    lines, conditioned = CORPORA[task]
    reader, config = corpus_reader(task, WORD, conditioned=conditioned), TrainConfig(seed=3)
    codec, *learned = reader.learn(lines, config, fraction)
    for one, other in zip(learned, reader.again(lines, codec, config, fraction), strict=True):
        mine, its = ({**vars(part), **vars(getattr(part, "store", part))} for part in (one, other))
        assert mine.keys() == its.keys()
        for field in mine.keys() - {"store"}:
            np.testing.assert_equal(its[field], mine[field])
    assert bool(learned[1].size) == bool(fraction)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", CORPORA)
@pytest.mark.parametrize("lines", [[], ["", ""]])
def test_an_empty_corpus_is_refused(task, lines):
    text = CHAR if task in ("lm", "cloze") else WORD
    with pytest.raises(CorpusError) as refusal:
        prepare(lines, text, {"task": task, "hidden_size": 2}, TrainConfig(), conditioned=CORPORA[task][1])
    assert refusal.value.hint


@pytest.mark.parametrize("task", CORPORA)
def test_an_empty_held_out_text_is_refused(task):
    lines, conditioned = CORPORA[task]
    with pytest.raises(CorpusError, match="held-out text is empty"):
        prepare(lines, WORD, {"task": task, "hidden_size": 2}, ALL, conditioned=conditioned, valid_lines=[])


@pytest.mark.parametrize(
    ("task", "line"), [("tag", "a\tZ"), ("classify", "z\tab"), ("lm", "z\tab"), ("music", "z\t60")]
)
def test_a_held_out_text_with_a_label_of_its_own_is_refused(task, line):
    lines, conditioned = CORPORA[task]
    with pytest.raises(CorpusError, match="never seen in training, line 1"):
        prepare(lines, WORD, {"task": task, "hidden_size": 2}, ALL, conditioned=conditioned, valid_lines=[line])


def test_a_held_out_key_that_there_is_no_unit_for_is_refused():
    with pytest.raises(CorpusError, match="key 5 was never seen in training, line 1"):
        prepare(["60"], WORD, {"task": "music", "hidden_size": 2}, ALL, valid_lines=["60 5"])


def test_no_token_left_is_refused_with_a_hint():
    for task, hint in (("classify", "--min-count"), ("tag", "--min-count"), ("translate", "--min-count")):
        with pytest.raises(CorpusError) as refusal:
            learn(task, CORPORA[task][0], min_count=9)
        assert hint in refusal.value.hint


def test_what_does_not_fit_the_task_is_refused():
    stream = TextConfig("word", "stream")
    for task in ("cloze", "tag", "classify", "translate", "music"):
        with pytest.raises(UsageError, match="--unit stream"):
            check_text(task, stream)
    for task, text, conditioned in (
        ("lm", stream, True),
        ("tag", CHAR, False),
        ("music", CHAR, False),
        ("cloze", CHAR, True),
        ("classify", CHAR, True),
    ):
        with pytest.raises(UsageError):
            check_text(task, text, conditioned=conditioned)
    check_text("lm", stream)
    for task, (_, conditioned) in CORPORA.items():
        check_text(task, TextConfig(**text_defaults(task)), conditioned=conditioned)


def test_networks_that_the_task_has_no_place_for_are_refused():
    for options in (
        {"task": "cloze"},
        {"task": "lm", "bidirectional": True},
        {"task": "translate", "bidirectional": True, "target_size": 4},
        {"task": "music", "embedding_size": 4},
        {"task": "tag", "labels": 2, "tie_weights": True, "embedding_size": 4, "hidden_size": 4},
        {"task": "tag"},
        {"task": "classify"},
        {"task": "translate"},
        {"task": "cloze", "bidirectional": True, "tie_weights": True, "embedding_size": 4, "hidden_size": 4},
    ):
        with pytest.raises(UsageError):
            ModelConfig(5, **options)
    assert ModelConfig(5, task="cloze", bidirectional=True, tie_weights=True, embedding_size=8, hidden_size=4).top == 8

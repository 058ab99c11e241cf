"""Metadata of a model file that nobody but a person would write; and what such a file makes a terminal show."""

import json

import pytest

from charlm.backends import NumpyBackend
from charlm.checkpoint import load, save
from charlm.config import TextConfig
from tests.cli.shell import on_terminal
from tests.faults.mutants import FIXTURES
from tests.faults.test_hostile_models import text_of, write_text
from tests.task_models import KINDS, task_model
from tests.test_checkpoint import (
    language_model,
    not_refused,
    refusal_of,
    rewrite,
    set_field,
    set_key,
)

OPS = NumpyBackend()
LM, CHECKPOINT, PLACES, TAGS = (
    next(path for path in FIXTURES if path.name == f"{name}.safetensors")
    for name in ("names", "stopped.ckpt", "places", "tags")
)
EVIL = ("<EOS>", "<UNK>", "\x1b]0;owned\x07", "\x1b[2J", "\u202eabc", "a\rb", "\x9b31mred", "\x1b[31;1m")


@pytest.fixture
def copy_of(tmp_path):
    """Give the function that copies a file, to be damaged."""

    def run(path):
        copied = tmp_path / path.name
        copied.write_bytes(path.read_bytes())
        return copied

    return run


@pytest.fixture
def task_file(tmp_path):
    """Give the function that writes a model of a kind."""

    def write(kind):
        save(tmp_path / f"{kind}.safetensors", task_model(kind))
        return tmp_path / f"{kind}.safetensors"

    return write


# --- values ----------------------------------------------------------------------------------------------------------

NO_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-1e400"]


@pytest.mark.parametrize("number", NO_NUMBERS)
@pytest.mark.parametrize("key", ["train_nats", "valid_nats", "learning_rate", "dropout", "clip"])
def test_what_is_no_number_is_named(copy_of, key, number):
    path = copy_of(LM)
    before, after = text_of(path).split(f'"{key}": ', 1)
    write_text(path, f'{before}"{key}": {number}{after[min(after.index(end) for end in ",}") :]}')
    assert number in refusal_of(path)


ODD_ROWS = [10**400, -(10**400), True, "1", [1], {}, 1.7e308]


@pytest.mark.parametrize("key", ["step", "epoch", "train_nats", "valid_nats", "learning_rate"])
@pytest.mark.parametrize("original", [LM, CHECKPOINT], ids=["model", "checkpoint"])
def test_a_history_of_what_cannot_be_drawn_is_refused(copy_of, original, key):
    def change(value):
        return lambda ours: ours["history"][0].update({key: value})

    assert not not_refused(copy_of(original), {f"{key} = {value!r:.20}": change(value) for value in ODD_ROWS})


def test_the_numbers_of_a_training_that_cannot_go_on_are_refused(copy_of):
    path = copy_of(CHECKPOINT)
    names = [name for name in json.loads(text_of(path))["training"] if name not in ("history", "total_steps")]
    changes = {f"{name} = 10^{n}": set_field("training", name, 10**n) for name in names for n in (20, 400)}
    changes["corpus"] = set_key("corpus", ["a"])
    changes["restarted"] = lambda ours: ours["training"].update(restarted=ours["training"]["step"] + 1)
    assert not not_refused(path, changes)


WRONG_KINDS = {
    "vocabulary an object": lambda ours: ours.update(vocabulary=dict.fromkeys(ours["vocabulary"], 1)),
    "valid a number": set_field("train", "valid", 0),
    "valid a list": set_field("train", "valid", ["/etc/passwd"]),
    "dense a text": set_field("model", "dense", ""),
    "dense an object": set_field("model", "dense", {}),
    "dense nothing": set_field("model", "dense", None),
    "dense true": set_field("model", "dense", [True]),
}


@pytest.mark.parametrize("original", [LM, CHECKPOINT], ids=["model", "checkpoint"])
def test_values_of_another_kind_are_refused(copy_of, original):
    assert not not_refused(copy_of(original), WRONG_KINDS)


@pytest.mark.parametrize("place", ["zebra", "task", "hidden_size"])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_a_value_in_a_value_in_a_value_is_refused_at_any_depth(copy_of, place, brackets):
    """Python's own limit is another one for what reads, writes and prints it, and in each version."""
    path = copy_of(LM)
    header = json.loads(text_of(path))
    (header["model"] if place == "hidden_size" else header)[place] = "@"
    text = json.dumps(header)
    opening, closing = brackets if brackets == "[]" else ('{"a":', "}")
    for depth in (10, 500, 900, *range(960, 1000, 3), 5000, 200_000):
        write_text(path, text.replace('"@"', opening * depth + "1" + closing * depth))
        assert "nested too deeply" in refusal_of(path) or depth > 900


def test_what_is_refused_is_quoted_in_part(copy_of):
    """A line of a million characters helps nobody."""
    path = copy_of(LM)
    for change in (
        set_key("task", "x" * 1_000_000),
        set_key("version", 10**4000),
        set_key("vocabulary", ["x" * 1_000_000] * 2),
        set_field("model", "cell", "x" * 1_000_000),
        set_field("model", "x" * 1_000_000, 1),
    ):
        path.write_bytes(LM.read_bytes())
        rewrite(path, change)
        assert len(refusal_of(path)) < 200 + 2 * len(str(path))


# --- a whole that does not hold together ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["music", "genre"])
@pytest.mark.parametrize("key", ["x", "128", "060", " 60", "-1", "6\u0660", "1" * 5000, "60.0"])
def test_music_of_what_is_no_key_is_refused(task_file, kind, key):
    path = task_file(kind)
    rewrite(path, lambda ours: ours["vocabulary"].__setitem__(2, key))
    assert "key" in refusal_of(path)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("tag", "level", "char"),
        ("yes-no", "level", "char"),
        ("music", "level", "char"),
        *((kind, "unit", "stream") for kind in KINDS if kind != "lm"),
    ],
)
def test_a_text_that_its_task_cannot_be_read_from_is_refused(task_file, kind, field, value):
    path = task_file(kind)
    rewrite(path, set_field("text", field, value))
    refusal_of(path)


def test_names_that_the_task_has_none_for_are_refused(tmp_path):
    """A network of fewer target tokens than it is asked for would look them up where there is nothing."""
    tokens = ["<EOS>", "<UNK>", "a", "b"]
    save(tmp_path / "lm", language_model(embedding_size=3, target_size=4))
    save(tmp_path / "cloze", language_model(task="cloze", bidirectional=True, labels=2))
    for name, key, names in (("lm", "target_vocabulary", tokens), ("cloze", "labels", ["x", "y"])):
        rewrite(tmp_path / name, set_key(key, names))
        assert "names" in refusal_of(tmp_path / name)


def test_what_is_not_changed_goes_on(copy_of, task_file):
    """The tests above refuse for the change's sake."""
    for path in (copy_of(LM), copy_of(CHECKPOINT), *map(task_file, KINDS)):
        rewrite(path, lambda ours: None)
        load(path, OPS)


# --- what a terminal shows -------------------------------------------------------------------------------------------


def shown_by(code, *args, **options):
    """Run a command at a terminal; give what that showed, in which nothing may be left that it obeys."""
    found, shown = on_terminal(*args, "--no-color", which=(1, 2), **options)
    text = shown.decode().replace("\r\n", "\n")
    assert found == code, text
    assert not [c for c in text if not (c.isprintable() or c in "\n\t")], repr(text)
    return text


@pytest.fixture
def evil_file(tmp_path):
    """Give a model whose every token is an order to a terminal."""
    path = tmp_path / "m.safetensors"
    lm = language_model(TextConfig("word", "line", "whitespace"), tokens=EVIL)
    lm.model.parameters.value("head.b_y")[...] = 0
    save(path, lm)
    return path


def escaped(token):
    return token.encode("unicode_escape").decode()


@pytest.mark.slow
def test_tokens_are_escaped_where_they_are_listed(evil_file):
    listed = shown_by(0, "inspect", evil_file, "--vocabulary")
    assert [token for token in EVIL[2:] if escaped(token) not in listed] == []
    assert "x1b[2J" in shown_by(0, "inspect", evil_file)


def test_tokens_are_escaped_where_they_are_drawn(evil_file):
    drawn = shown_by(0, "generate", evil_file, "-n", 20, "--seed", 1, "-t", 2)
    assert [token for token in EVIL[2:] if escaped(token) not in drawn] == []


def test_tokens_are_escaped_where_they_are_scored(evil_file):
    line = " ".join(EVIL[2:5]).encode() + b"\n"
    assert "x1b[2J" in shown_by(0, "score", evil_file, "--per", "token", stdin=line)


def test_tokens_of_a_corpus_are_escaped_where_they_are_counted(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(f"{token}\n" for token in EVIL[2:]).replace("\r", ""))
    assert "x1b[2J" in shown_by(0, "vocab", corpus, "--level", "word", "--split", "whitespace")


@pytest.mark.thinned(2)
@pytest.mark.slow
def test_labels_are_escaped(copy_of):
    places, tags = copy_of(PLACES), copy_of(TAGS)
    rewrite(places, lambda ours: ours["labels"].__setitem__(0, "\x1b[31melf"))
    rewrite(tags, lambda ours: ours.update(labels=[f"\x1b[3{n}m" for n in range(len(ours["labels"]))]))
    assert "x1b[31melf" in shown_by(0, "inspect", places)
    assert "x1b[31melf" in shown_by(2, "generate", places, "--class", "zzz")
    assert "x1b[3" in shown_by(0, "predict", tags, stdin=b"we have opened\n")


def test_errors_are_escaped(copy_of):
    """What is wrong with a file is told by its own names; the file's name is another's choice, too."""
    orders = "\x1b]0;x\x07\x9b2J\u202e"
    path = copy_of(LM).with_name(f"m{orders}.safetensors")
    for change in (set_key("task", orders), set_field("model", orders, 1)):
        path.write_bytes(LM.read_bytes())
        rewrite(path, change)
        assert shown_by(4, "inspect", path).count("x1b]0;x") == 2

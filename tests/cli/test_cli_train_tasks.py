"""`charlm train` of each task: its defaults, what it refuses before it reads, and where a corpus is wrong."""

import pytest

from charlm import load
from tests.task_models import FITTING, LISTS, TASKS, TEXTS, TRAINING, needed

TINY = ("--hidden-size", 4, "--num-layers", 1, "--batch-size", 4, "--max-steps", 3, "--seed", 1, "--valid-fraction", 0)
LEVELS = {"tag": ("word", "whitespace"), "music": ("word", "whitespace"), "translate": ("word", "punct")}


@pytest.mark.parametrize("kind", TRAINING)
def test_a_task_is_trained_and_its_model_does_what_it_is_for(charlm, tmp_path, kind):
    corpus, path, task = tmp_path / "corpus", tmp_path / "m.safetensors", TASKS[kind]
    corpus.write_text(TEXTS[kind] * 4)
    result = charlm("train", corpus, "-o", path, *TINY, *TRAINING[kind]).succeeded()
    assert result.out == b"" and "wrote" in result.err
    lm = load(path)
    assert (lm.task, lm.is_conditioned) == (task, "--condition" in TRAINING[kind])
    assert (lm.text.level, lm.text.split) == LEVELS.get(task, ("char", "punct"))
    assert lm.model.config.bidirectional == (task in ("cloze", "tag", "classify"))
    assert list(lm.labels) == sorted(lm.labels)
    assert bool(lm.labels) == (kind not in ("lm", "cloze", "translate", "music"))
    unit = {"classify": "label", "music": "step", "tag": "tag", "translate": "word"}.get(task, "char")
    assert f"nats/{unit} " in result.err
    for command in FITTING[task]:
        if command != "export":  # it prints nothing of a text
            text = LISTS if command == "rescore" else TEXTS[kind]
            assert charlm(command, path, *needed(command, kind), "-q", stdin=text.encode()).succeeded().out


def test_both_sides_are_the_same_as_the_cloze_task(charlm, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.write_text(TEXTS["lm"] * 4)
    for name, flags in (("a", ("--bidirectional",)), ("b", ("--task", "cloze")), ("c", ())):
        charlm("train", corpus, "-o", tmp_path / name, *TINY, *flags).succeeded()
    one, two, causal = ((tmp_path / f"{name}.safetensors").read_bytes() for name in "abc")
    assert one == two != causal


@pytest.mark.parametrize("task", ["tag", "classify"])
def test_causal_reads_from_the_left_alone(charlm, tmp_path, task):
    corpus, path = tmp_path / "corpus", tmp_path / "m.safetensors"
    corpus.write_text(TEXTS[task] * 4)
    charlm("train", corpus, "-o", path, *TINY, "--task", task, "--causal").succeeded()
    assert not load(path).model.config.bidirectional


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--task", "tag", "--unit", "stream"), ("--task tag", "--unit stream")),
        (("--task", "cloze", "--unit", "stream"), ("--unit stream",)),
        (("--bidirectional", "--unit", "stream"), ("--unit stream",)),
        (("--condition", "--unit", "stream"), ("--condition", "--unit stream")),
        (("--task", "tag", "--level", "char"), ("--task tag", "--level char")),
        (("--task", "music", "--level", "char"), ("--task music", "--level char")),
        (("--task", "tag", "--tie-weights"), ("--tie-weights",)),
        (("--task", "classify", "--tie-weights"), ("--tie-weights",)),
        (("--task", "music", "--tie-weights"), ("--tie-weights",)),
        (("--task", "music", "--embedding-size", 8), ("--embedding-size",)),
        (("--task", "translate", "--bidirectional"), ("--task translate", "--bidirectional")),
        (("--task", "music", "--bidirectional"), ("--task music", "--bidirectional")),
        (("--task", "cloze", "--causal"), ("--task cloze", "--causal")),
        (("--task", "tag", "--condition"), ("--condition", "--task tag")),
        (("--task", "translate", "--condition"), ("--condition", "--task translate")),
        (("--condition", "--bidirectional"), ("--condition",)),
        (("--task", "cloze", "--tie-weights", "--embedding-size", 8, "--hidden-size", 8), ("--embedding-size 16",)),
        (("--task", "poetry"), ("poetry", "translate")),
    ],
)
def test_flags_that_do_not_fit_are_refused_before_the_corpus_is_read(charlm, tmp_path, flags, words):
    charlm("train", tmp_path / "missing.txt", "-o", tmp_path / "m", *flags).failed(2, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "line", "words"),
    [
        ("conditioned", "no label", "1 column instead of label TAB text"),
        ("conditioned", "x\ta\tb", "3 columns"),
        ("classify", "\ttext", "the label is empty"),
        ("classify", "good\t", "the text is empty"),
        ("tag", "the", "1 column instead of token TAB tag"),
        ("tag", "\tN", "the token is empty"),
        ("translate", "the cat", "source TAB target"),
        ("translate", "the\t", "the target is empty"),
        ("music", "60 200", "step 2 is '200'"),
        ("music", "60,,61", "step 1"),
        ("music", "", "a piece without steps"),
        ("genre", "60 61", "genre TAB piece"),
    ],
)
def test_a_bad_corpus_is_named_with_file_and_line(charlm, tmp_path, kind, line, words):
    corpus = tmp_path / "corpus.tsv"
    first = TEXTS[kind].split("\n")[0]
    corpus.write_text(f"{first}\n{first}\n{line}\n{first}\n")
    charlm("train", corpus, "-o", tmp_path / "m", *TINY, *TRAINING[kind]).failed(3, words, f"{corpus} line 3")
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.tsv"]


@pytest.mark.parametrize("kind", TRAINING)
def test_an_empty_corpus_is_refused(charlm, tmp_path, kind):
    corpus = tmp_path / "corpus"
    corpus.write_text("")
    charlm("train", corpus, "-o", tmp_path / "m", *TINY, *TRAINING[kind]).failed(3)


@pytest.mark.parametrize(
    ("kind", "line", "words"),
    [("tag", "cat\tQ", "the tag 'Q'"), ("classify", "fine\ta", "'fine'"), ("music", "5", "5")],
)
def test_what_only_the_held_out_file_has_is_told(charlm, tmp_path, kind, line, words):
    corpus, valid = tmp_path / "corpus", tmp_path / "valid"
    corpus.write_text(TEXTS[kind])
    valid.write_text(f"{line}\n")
    charlm("train", corpus, "-o", tmp_path / "m", *TINY[:-2], "--valid", valid, *TRAINING[kind]).failed(3, words)

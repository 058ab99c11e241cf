"""`charlm train --sample-every` and `--test`: what a training draws on its way, and how its end is judged."""

import shlex

import pytest

from charlm import load
from charlm.samples import _MOST
from tests.cli.shell import files_of
from tests.cli.test_cli_resume import SMALL, broken_off, text_of
from tests.task_models import TASKS, TEXTS, TRAINING

TINY = ("--hidden-size", 8, "--num-layers", 1, "--batch-size", 4, "--max-steps", 6, "--seed", 2, "--threads", 1)
DRAWN = ("--sample-every", 2)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(text_of(60))
    return path


@pytest.mark.parametrize("kind", TRAINING)
def test_each_task_that_generates_draws_samples(charlm, tmp_path, kind):
    corpus, model = tmp_path / "corpus", tmp_path / "m.safetensors"
    corpus.write_text(TEXTS[kind] * 8)
    command = ("train", corpus, "-o", model, *TINY, *TRAINING[kind], *DRAWN)
    if TASKS[kind] not in ("lm", "music"):
        charlm(*command).failed(2, "--sample-every", f"--task {TASKS[kind]}")
        assert not model.exists()
        return
    said = charlm(*command).succeeded().err
    records = charlm("inspect", model, "--samples", "--format", "jsonl").succeeded().records
    assert [record["step"] for record in records] == [2, 4, 6]
    texts = [record["text"].replace("\n", "\\n") for record in records]
    assert all(f"sample at step {step}: {text}\n" in said for step, text in zip((2, 4, 6), texts, strict=True))
    lines = charlm("inspect", model, "--samples").succeeded().lines
    assert [line.split(None, 1)[0] for line in lines] == ["2", "4", "6"]
    assert [line[12:] for line in lines] == texts


def test_the_weights_are_those_of_a_training_without_samples(charlm, corpus, tmp_path):
    flags = (*TINY, "--dropout", 0.2, "--unit", "stream")
    for name, more in (("with", DRAWN), ("again", DRAWN), ("without", ())):
        charlm("train", corpus, "-o", tmp_path / name, *flags, *more).succeeded()
    drawn, again, plain = (tmp_path / f"{name}.safetensors" for name in ("with", "again", "without"))
    assert drawn.read_bytes() == again.read_bytes()
    one, other = load(drawn), load(plain)
    assert one.model.parameters.values.tolist() == other.model.parameters.values.tolist()
    assert one.history == other.history


def test_a_prompt_begins_each(charlm, corpus, tmp_path):
    charlm("train", corpus, "-o", tmp_path / "m", *TINY, *DRAWN, "--sample-prompt", "ab").succeeded()
    assert all(one["text"].startswith("ab") for one in load(tmp_path / "m.safetensors").run.samples)
    flags = (*DRAWN, "--unit", "line", "--sample-prompt", "a\nb")
    charlm("train", corpus, "-o", tmp_path / "n", *TINY, *flags).failed(2, "newline")


def test_a_resumed_training_goes_on_with_them(charlm, monkeypatch, corpus, tmp_path):
    flags = (*SMALL, "--max-steps", 9, *DRAWN, "--sample-prompt", "ab")
    charlm("train", corpus, "-o", tmp_path / "whole", *flags).succeeded()
    command = broken_off(charlm, monkeypatch, corpus, "-o", tmp_path / "m", *flags, after=5)
    charlm(*shlex.split(command)[1:]).succeeded()
    assert (tmp_path / "m.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert [one["step"] for one in load(tmp_path / "m.safetensors").run.samples] == [2, 4, 6, 8]


@pytest.mark.slow
def test_many_samples_are_thinned_and_long_ones_cut(charlm, corpus, tmp_path):
    flags = (*TINY, "--sample-every", 1, "--sample-prompt", "a" * 600, "--max-steps", 2 * _MOST, "--epochs", 999)
    charlm("train", corpus, "-o", tmp_path / "m", *flags).succeeded()
    samples = load(tmp_path / "m.safetensors").run.samples
    assert _MOST / 2 <= len(samples) <= _MOST
    assert samples[0]["step"] == 1 and samples[-1]["step"] == 2 * _MOST
    assert max(len(one["text"]) for one in samples) == 500


# ---- --test


@pytest.mark.thinned(2)
@pytest.mark.parametrize("kind", TRAINING)
def test_the_best_weights_are_judged_at_the_end(charlm, tmp_path, kind):
    corpus, test, model = (tmp_path / name for name in ("corpus", "test set", "m.safetensors"))
    corpus.write_text(TEXTS[kind] * 8)
    test.write_text(TEXTS[kind])
    command = ("train", corpus, "-o", model, *TINY, *TRAINING[kind])
    said = charlm(*command, "--test", test).succeeded().err
    (record,) = charlm("inspect", model, "--format", "jsonl").succeeded().records
    (figures,) = charlm("evaluate", model, test, "--format", "jsonl", "--threads", 1).succeeded().records
    assert record["test"].pop("file") == str(test)
    assert record["test"] and record["test"].items() <= figures.items()
    assert said.count(f"test {test}: ") == 1
    assert [line for line in charlm("inspect", model).succeeded().lines if line.startswith(f"test           {test}: ")]
    charlm(*command[:3], tmp_path / "plain", *command[4:]).succeeded()
    trained = [load(tmp_path / f"{name}.safetensors").model.parameters.values.tolist() for name in ("m", "plain")]
    assert trained[0] == trained[1]


def test_the_checkpoint_holds_the_last_weights(charlm, corpus, tmp_path):
    for name, more in (("with", ("--test", corpus)), ("without", ())):
        charlm("train", corpus, "-o", tmp_path / name, *TINY, "--keep-checkpoint", *more).succeeded()
        charlm("train", corpus, "-o", tmp_path / name, "--resume", "--max-steps", 9, *more).succeeded()
    one, other = (load(tmp_path / f"{name}.safetensors") for name in ("with", "without"))
    assert one.model.parameters.values.tolist() == other.model.parameters.values.tolist()
    assert one.run.test and not other.run.test


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [(None, 3, ("test.txt",)), ("", 3, ("test file is empty", "test.txt")), (b"ab\xff", 3, ("test.txt",))],
)
def test_a_file_that_cannot_be_judged_is_refused_before_training(charlm, corpus, tmp_path, content, code, words):
    test = tmp_path / "test.txt"
    if content is not None:
        test.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = files_of(tmp_path)
    charlm("train", corpus, "-o", tmp_path / "m", *TINY, "--test", test).failed(code, *words)
    assert files_of(tmp_path) == before


def test_a_test_set_with_an_unknown_label_is_refused_before_training(charlm, tmp_path):
    corpus, test = tmp_path / "corpus", tmp_path / "test"
    corpus.write_text("x\tab\ny\tba\n" * 9)
    test.write_text("x\tab\nz\tab\n")
    flags = ("--task", "classify", "--test", test)
    charlm("train", corpus, "-o", tmp_path / "m", *TINY, *flags).failed(3, "z", "test")
    assert not (tmp_path / "m.safetensors").exists()

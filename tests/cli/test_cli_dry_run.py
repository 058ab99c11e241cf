"""`charlm train --dry-run`: what a training would take, and no trace of it."""

import pytest

from charlm import load
from tests.cli.shell import files_of
from tests.task_models import TEXTS, TRAINING

TINY = ("--hidden-size", 8, "--num-layers", 1, "--batch-size", 4, "--seed", 1, "--threads", 1)


@pytest.fixture
def quick(monkeypatch):
    """Measure each sampled batch once."""
    monkeypatch.setattr("charlm.estimate._SECONDS", 0.0)
    monkeypatch.setattr("charlm.estimate._LONGEST", 0.0)


def test_a_table_has_the_same_record(charlm, quick, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.write_text(TEXTS["lm"] * 8)
    flags = ("train", corpus, "-o", tmp_path / "m", *TINY, "--max-steps", 3, "--dry-run", "--format")
    (record,) = charlm(*flags, "jsonl").succeeded().records
    header, row = charlm(*flags, "csv").succeeded().lines
    assert header.split(",") == list(record) and row.split(",")[0] == str(record["parameters"])


WITH_FIGURE = ("tag", "entities", "yes-no", "classify")


@pytest.mark.parametrize("kind", TRAINING)
def test_it_tells_what_a_training_takes_and_writes_nothing(charlm, quick, tmp_path, kind):
    corpus, model = tmp_path / "corpus", tmp_path / "m.safetensors"
    corpus.write_text(TEXTS[kind] * 8)
    flags = ("train", corpus, "-o", model, *TINY, "--max-steps", 3, *TRAINING[kind])
    before = files_of(tmp_path)
    (record,) = charlm(*flags, "--dry-run", "--format", "jsonl").succeeded().records
    assert files_of(tmp_path) == before
    charlm(*flags, "--keep-checkpoint").succeeded()
    assert record["parameters"] == load(model).model.parameters.count
    assert record["steps"] == 3
    assert record["unit"] == load(model).facts.unit
    assert record["seconds"] > 0 and record["tokens_per_second"] > 0 and record["memory"] > 0
    for key, path in (("model_file", model), ("checkpoint", tmp_path / "m.ckpt.safetensors")):
        # Of a task with a figure, the weights of the lowest loss may be the kept ones, and are then stored once.
        once = 4 * record["parameters"] if (key, kind) in {("checkpoint", name) for name in WITH_FIGURE} else 0
        size = path.stat().st_size
        assert 0.9 * size - 5000 <= record[key] <= 1.1 * size + 5000 + once


def test_existing_files_are_neither_refused_nor_changed(charlm, quick, tmp_path):
    corpus, model = tmp_path / "corpus", tmp_path / "m.safetensors"
    corpus.write_text("abc\nbca\n" * 20)
    model.write_text("precious")
    log = tmp_path / "log.jsonl"
    log.write_text("precious")
    before = files_of(tmp_path)
    result = charlm("train", corpus, "-o", model, *TINY, "--epochs", 2, "--dry-run", "--log", log).succeeded()
    first, second = result.lines
    assert "parameters; " in first and "(2.0 epochs); memory " in first and "for the checkpoint" in first
    assert "tokens/s here: about " in second
    assert files_of(tmp_path) == before


def test_of_a_resumed_training_it_counts_what_is_left(charlm, quick, tmp_path):
    corpus, model = tmp_path / "corpus", tmp_path / "m.safetensors"
    corpus.write_text("abc\nbca\n" * 20)
    charlm("train", corpus, "-o", model, *TINY, "--max-steps", 4, "--keep-checkpoint").succeeded()
    before = files_of(tmp_path)
    result = charlm("train", corpus, "-o", model, "--resume", "--max-steps", 10, "--dry-run", "--format", "jsonl")
    assert result.succeeded().records[0]["steps"] == 6
    assert files_of(tmp_path) == before


def test_a_mistake_is_found(charlm, tmp_path):
    charlm("train", tmp_path / "none", "-o", tmp_path / "m", "--dry-run").failed(3, "none")

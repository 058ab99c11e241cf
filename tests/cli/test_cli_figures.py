"""Figures for the eye: four decimals, and a small one is never written as if it were zero."""

import math

import numpy as np
import pytest

from charlm import checkpoint, selfcheck
from charlm.cli import ui
from charlm.selfcheck import Check
from tests.task_models import outputs, task_model

TINY = 3e-6
ROW = {"step": 1, "epoch": 0.0004, "train_nats": 4e-7, "valid_nats": 2.5e-5, "learning_rate": 0.1}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.0000"),
        (-0.0, "0.0000"),
        (1.5, "1.5000"),
        (-12345.67891, "-12345.6789"),
        (0.001, "0.0010"),
        (3e-8, "0.00000003"),
        (1.23456e-17, "1.235e-17"),
        (0.00099996, "0.001"),
        (0.0004233, "0.0004233"),
        (-0.00004233, "-0.00004233"),
        (3.14159e-12, "0.000000000003142"),
        (5e-324, "4.941e-324"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_a_figure(value, shown):
    assert ui.figure(value) == shown
    assert math.isnan(value) or float(shown) == pytest.approx(value, rel=0.05)
    assert math.isnan(value) or (float(shown) == 0.0) == (value == 0.0)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models that are almost sure of what they expect, and have been for long."""
    folder = tmp_path_factory.mktemp("sure")
    lm, cloze = task_model("lm"), task_model("cloze")
    outputs(lm, np.log([TINY / 4, TINY / 4, 1 - TINY, TINY / 4, TINY / 4]))  # a, whatever was before
    outputs(cloze, np.log([1e-12, 1e-12, 1 - TINY, *([TINY / 6] * 6)]))  # the
    lm.history.append(ROW)
    for name, model in (("lm", lm), ("cloze", cloze)):
        checkpoint.save(folder / name, model)
    (folder / "as").write_text("aaa\n")
    (folder / "the").write_text("the the the\n")
    (folder / "gap").write_text("the ___ the\n")
    (folder / "many").write_text("a" * 50_000)
    (folder / "one").write_text("b" + "a" * 50_000)
    return folder


TABLES = {
    "score": "score lm as --no-eos",
    "score by token": "score lm as --no-eos --per token",
    "score cloze": "score cloze the",
    "suspect": "score cloze the --suspect",
    "evaluate": "evaluate cloze the",
    "coverage": "vocab many --coverage one",
    "selfcheck": "selfcheck --device cpu",
}


@pytest.mark.parametrize("row", TABLES)
def test_a_table_has_what_the_records_have(charlm, models, monkeypatch, row):
    made = [Check("a", "float64", 3e-8, 1e-6, 0.0001), Check("b", "float32", 0.0, 1e-6, 12.0)]
    monkeypatch.setattr(selfcheck, "checks", lambda ops: iter(made))
    monkeypatch.chdir(models)
    command = TABLES[row].split()
    header, *rows = (line.split("\t") for line in charlm(*command, "--format", "tsv").succeeded().lines)
    records = charlm(*command, "--format", "jsonl").succeeded().records
    if row == "score by token":
        records = records[0]["token_scores"]
    small = 0
    for cells, record in zip(rows, records, strict=True):
        for name, cell in zip(header, cells, strict=True):
            value = record.get(name)
            if isinstance(value, float) and name != "tokens_per_second" and not (row == "selfcheck" and value == 12.0):
                assert float(cell) == pytest.approx(value, rel=0.05, abs=0.0), name
                small += 0.0 < abs(value) < 5e-5
    assert small


def test_text_has_them_too(charlm, models, monkeypatch):
    monkeypatch.chdir(models)
    shown = dict(line.split(None, 1) for line in charlm("evaluate", "cloze", "the").succeeded().lines)
    assert 0.0 < float(shown["pseudo_nats_per_token"]) < 1e-5
    assert 0.0 < -float(charlm("score", "lm", "as", "--no-eos", "--format", "text").succeeded().text) < 1e-5
    first = charlm("score", "lm", "as", "--format", "text", "--per", "token").succeeded().text.split()[0]
    assert float(first) == pytest.approx(-TINY / math.log(10), rel=0.01)
    *_, last = charlm("fill", "cloze", "gap", "-n", 3).succeeded().text.split()
    assert float(last) == pytest.approx(TINY / 6, rel=0.01)
    *history, star = charlm("inspect", "lm").succeeded().lines[-1].split()
    assert star == "*"
    assert [float(cell) for cell in history] == [ROW[key] for key in ("step", "epoch", "train_nats", "valid_nats")]
    made = [Check("a", "float64", 3e-8, 1e-6, 0.0001)]
    monkeypatch.setattr(selfcheck, "checks", lambda ops: iter(made))
    assert charlm("selfcheck", "--device", "cpu").succeeded().lines[1].split()[3:5] == ["3.0e-08", "0.0001"]

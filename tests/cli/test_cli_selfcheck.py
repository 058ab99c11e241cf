"""`charlm selfcheck`: one line a check, and an exit code that tells whether all passed."""

import json

import pytest

from charlm import selfcheck
from charlm.cli.app import main
from charlm.selfcheck import Check


def test_text(capfd):
    assert main(["selfcheck", "--device", "cpu"]) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert len(lines) == 9 and all(line.startswith("ok      cpu   float64") for line in lines)
    assert "lstm-peephole" in lines[-1] and "all 9 checks passed on cpu" in err


@pytest.mark.parametrize("difference", [2e-6, float("nan"), float("inf")])
def test_one_that_fails(capfd, monkeypatch, difference):
    made = [Check("a", "float32", 0.0, 1e-6, 0.1), Check("b", "float64", difference, 1e-6, 0.2)]
    monkeypatch.setattr(selfcheck, "checks", lambda ops: iter(made))
    assert main(["selfcheck", "--device", "cpu", "--format", "jsonl"]) == 1
    out, err = capfd.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["passed"] for record in records] == [True, False]
    assert {"device", "what", "dtype", "difference", "bar", "seconds", "passed"} == set(records[0])
    assert "1 of 2 checks failed on cpu" in err and "hint: " in err

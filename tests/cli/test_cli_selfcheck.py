"""`charlm selfcheck`: one line a check, and an exit code that tells whether all passed."""

import json

import pytest

from charlm import selfcheck
from charlm.backends.compiled import library
from charlm.backends.compiled.library import CORES, obstacle, open_library
from charlm.cli.app import main
from charlm.selfcheck import Check


def test_text(capfd, monkeypatch):
    monkeypatch.setenv("CHARLM_CORE", "numpy")
    assert main(["selfcheck", "--device", "cpu"]) == 0
    out, err = capfd.readouterr()
    core, *lines = out.splitlines()
    assert core == "core    numpy"
    assert len(lines) == 10 and all(line.startswith("ok      cpu   float64") for line in lines)
    assert "lstm-peephole" in lines[-2] and err == "all 10 checks passed on cpu, core numpy\n"


@pytest.mark.slow
@pytest.mark.parametrize("core", [core for core in CORES if not obstacle(core)])
def test_a_core_is_compared_with_numpy(capfd, monkeypatch, core):
    """Its functions in two precisions, and training steps of every cell, in bfloat16 too where there are products."""
    monkeypatch.setenv("CHARLM_CORE", core)
    assert main(["selfcheck", "--device", "cpu", "--format", "jsonl"]) == 0
    out, err = capfd.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    count = 10 + 2 * (14 + 10) + (10 if open_library(core).bfloat16 else 0)
    assert len(records) == count
    assert all((record["device"], record["core"]) == ("cpu", core) for record in records)
    assert err == f"all {count} checks passed on cpu, core {core}\n"


def test_without_a_library_it_says_what_to_do(capfd, monkeypatch, tmp_path):
    monkeypatch.setenv("CHARLM_CORE", "auto")
    monkeypatch.setattr(library, "_FOLDER", tmp_path)
    monkeypatch.setattr(selfcheck, "checks", lambda ops: iter([Check("a", "float32", 0.0, 1e-6, 0.1)]))
    assert main(["selfcheck", "--device", "cpu"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("core    numpy\n")
    assert err.splitlines()[0] == "the compiled core is not installed: install a C compiler, and then charlm again"


@pytest.mark.parametrize("difference", [2e-6, float("nan"), float("inf")])
def test_one_that_fails(capfd, monkeypatch, difference):
    monkeypatch.setenv("CHARLM_CORE", "numpy")
    made = [Check("a", "float32", 0.0, 1e-6, 0.1), Check("b", "float64", difference, 1e-6, 0.2)]
    monkeypatch.setattr(selfcheck, "checks", lambda ops: iter(made))
    assert main(["selfcheck", "--device", "cpu", "--format", "jsonl"]) == 1
    out, err = capfd.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["passed"] for record in records] == [True, False]
    assert {"device", "core", "what", "dtype", "difference", "bar", "seconds", "passed"} == set(records[0])
    assert "1 of 2 checks failed on cpu, core numpy\nhint: report this output\n" in err

"""The lines of a training: units, the star, learning rates, the time left, the end and the warnings."""

import json
import re
from types import SimpleNamespace

import pytest

from charlm.cli import training_display
from charlm.cli.training_lines import rate_figure
from tests.task_models import TASKS, TEXTS, TRAINING

TINY = ("--hidden-size", 6, "--num-layers", 1, "--batch-size", 4, "--seq-length", 8, "--threads", 1, "--seed", 1)
UNITS = {  # of the loss and of the speed, the name of the baseline, and what to type next
    "lm": ("char", "char", "letters", "generate {}"),
    "conditioned": ("char", "char", "letters", "generate {} --class x -n 10"),
    "cloze": ("char", "char", "letters", "fill {} FILE"),
    "tag": ("tag", "token", "label frequencies", "predict {} FILE"),
    "yes-no": ("tag", "token", "label frequencies", "predict {} FILE"),
    "classify": ("label", "text", "label frequencies", "predict {} FILE"),
    "translate": ("word", "word", "words", "predict {} FILE"),
    "music": ("step", "step", "key frequencies", "generate {}"),
}


@pytest.fixture
def corpora(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind, text in TEXTS.items():
        (tmp_path / kind).write_text(text * 40)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("kind", UNITS)
def test_each_task_has_its_units_its_baseline_and_its_next_command(charlm, corpora, kind):
    result = charlm("train", kind, "-o", "m", *TINY, "--epochs", 3, "--valid-fraction", 0.3, *TRAINING[kind])
    lines = result.succeeded().err.splitlines()
    loss, pace, baseline, command = UNITS[kind]
    record = charlm("inspect", "m.safetensors", "--format", "jsonl").succeeded().records[0]
    outcome, history = record["outcome"], record["history"]
    assert f"{baseline} alone {outcome['baseline_nats']:.4f} nats/{loss}; * " in result.err
    evaluations = [line for line in lines if line.startswith("step ")]
    assert len(evaluations) == len(history)
    pace = "word" if kind in ("tag", "yes-no") else pace
    for line in evaluations:
        assert re.search(rf"  nats/{loss}  lr 0\.\d+  [\d,]+ {pace}s/s  \d+:\d\d left$", line), line
    figure = {"tag": "accuracy", "yes-no": "f1", "classify": "accuracy"}.get(kind, "")
    assert outcome["figure_name"] == figure
    for line, row in zip(evaluations, history, strict=True):
        shown = f"valid {row['valid_nats']:.4f}" + (f"  {figure} {row[figure]:.4f}" if figure else "")
        assert shown in line
    starred = [row["step"] for line, row in zip(evaluations, history, strict=True) if "*" in line]
    assert starred[-1] == outcome["kept_step"]
    end = lines[-1]
    assert end.startswith("best ") and end.endswith(f"Now: charlm {command.format('m.safetensors')}")
    assert f"{outcome['valid_nats']:.4g} nats/{loss}" in end and f"{baseline} alone" in end
    assert f" at step {outcome['kept_step']} of {history[-1]['step']}, " in end
    assert (f"{outcome['figure']:.4f}, " in end) if figure else ("bits)" in end) == (TASKS[kind] != "music")


def test_the_command_that_it_names_works(charlm, corpora):
    err = charlm("train", "lm", "-o", "m", *TINY, "--epochs", 2).succeeded().err
    command = err.splitlines()[-1].partition("Now: charlm ")[2].split()
    assert len(charlm(*command, "--seed", 1, "-l", 3).succeeded().lines) >= 1


def test_without_held_out_text_there_is_no_star_and_no_best(charlm, corpora):
    lines = charlm("train", "lm", "-o", "m", *TINY, "--epochs", 2, "--valid-fraction", 0).succeeded().err.splitlines()
    assert not any("*" in line for line in lines)
    assert re.match(r"\d+ steps, training loss .* nats/char, nothing held out, .*; letters alone 1", lines[-1])


def test_the_last_weights_are_not_called_the_best(charlm, corpora):
    lines = charlm("train", "lm", "-o", "m", *TINY, "--epochs", 2, "--keep", "last").succeeded().err.splitlines()
    assert not any("*" in line for line in lines) and lines[-1].startswith("last ")
    assert charlm("inspect", "m.safetensors").succeeded().lines[-1].endswith(" *")


def test_a_choice_that_the_task_does_not_have_is_refused(charlm, tmp_path):
    missing = tmp_path / "missing"
    charlm("train", missing, "-o", tmp_path / "m", "--keep", "accuracy").failed(
        2, "--keep accuracy with --task lm", "last"
    )
    charlm("train", missing, "-o", tmp_path / "m", "--keep", "f1", "--task", "classify").failed(2, "accuracy")
    charlm("train", missing, "-o", tmp_path / "m", "--keep", "best").failed(2, "--keep")


def test_tags_without_entities_have_no_f1(charlm, corpora):
    charlm("train", "tag", "-o", "m", *TINY, "--task", "tag", "--keep", "f1").failed(2, "--keep f1", "accuracy")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.002, "0.002"),
        (0.00012999, "0.00013"),
        (0.0019876, "0.00199"),
        (1.234e-6, "0.00000123"),
        (3.4567e-8, "3.46e-08"),
        (0.5, "0.5"),
        (12.0, "12"),
        (1e9, "1000000000"),
        (0.0, "0"),
    ],
)
def test_learning_rates_have_one_form(value, text):
    assert rate_figure(value) == text


def test_the_first_line_comes_after_a_minute_at_most(charlm, corpora, monkeypatch):
    """A clock that advances by ten seconds whenever it is read."""
    clock = [0.0]

    def perf_counter():
        clock[0] += 10.0
        return clock[0]

    monkeypatch.setattr(training_display, "time", SimpleNamespace(perf_counter=perf_counter))
    err = charlm("train", "lm", "-o", "m", *TINY, "--max-steps", 200).succeeded().err
    lines = [line for line in err.splitlines() if line.startswith("step ")]
    steps = [int(re.match(r"step (\d+)/200 ", line)[1]) for line in lines]
    (history,) = (one["history"] for one in charlm("inspect", "m.safetensors", "--format", "jsonl").records)
    assert 1 < steps[0] <= 6 and steps[1:] == [row["step"] for row in history]
    assert "valid" not in lines[0] and all("valid" in line for line in lines[1:])
    assert lines[0].endswith("  32:20 left")  # 194 steps of ten seconds
    left = [line.split()[-2] for line in lines]
    assert left[-1] == "0:00"


def test_the_bar_says_validating(corpora, charlm, monkeypatch):
    shown = []

    class Bar:
        disable, n = True, 0

        def set_postfix_str(self, text, refresh=True):
            shown.append(text)

        def update(self, count): ...

        def clear(self): ...

        def close(self): ...

    monkeypatch.setattr(training_display.ui, "progress_bar", lambda total, unit: Bar())
    charlm("train", "lm", "-o", "m", *TINY, "--max-steps", 20, "--valid-fraction", 0.2).succeeded()
    assert shown.count("validating") == 10
    assert all(text == "validating" or text.endswith(" nats") for text in shown)


BAD = {  # trainings that are warned of, and what to type
    "hardly learned": ("--epochs", 1, "--lr", 0.0001, ("--epochs 4",)),
    "falls steeply": ("--epochs", 8, "--lr", 0.01, "--schedule", "constant", ("--epochs 16",)),
}


@pytest.mark.parametrize("what", BAD)
def test_a_warning_is_one_line_with_what_to_type(charlm, tmp_path, what):
    corpus = tmp_path / "corpus"
    corpus.write_text(
        "".join(f"{a}{b}{c}\n" for a in ("bar", "gre", "ros") for b in "aeiou" for c in ("lini", "tti", "si"))
    )
    *flags, words = BAD[what]
    err = charlm("train", corpus, "-o", tmp_path / "m", *TINY, *flags, "-q").succeeded().err
    (line,) = err.splitlines()
    assert line.startswith("charlm: warning: ") and what in line and all(word in line for word in words)


def test_inspect_shows_the_baseline_the_validation_and_the_kept_row(charlm, corpora):
    charlm(
        "train", "classify", "-o", "m", *TINY, "--epochs", 3, "--valid-fraction", 0.3, "--task", "classify"
    ).succeeded()
    text = charlm("inspect", "m.safetensors").succeeded().lines
    record = json.loads(charlm("inspect", "m.safetensors", "--format", "jsonl").succeeded().text)
    outcome = record["outcome"]
    assert f"baseline       {outcome['baseline_nats']:.4f} nats/label, label frequencies alone" in text
    (validation,) = [line for line in text if line.startswith("validation ")]
    assert f"{outcome['valid_nats']:.4f} nats/label, accuracy {outcome['figure']:.4f}, on " in validation
    assert f"{outcome['judged']:,} of {outcome['held_out']:,} held-out tokens" in validation
    (row,) = [line for line in text if line.endswith(" *")]
    assert int(row.split()[0]) == outcome["kept_step"]
    assert any("accuracy" in line and "nats/label; * kept" in line for line in text)

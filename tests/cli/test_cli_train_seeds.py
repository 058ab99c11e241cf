"""`charlm train --seeds`: several trainings, their mean and spread, and the best of them."""

import os
import shlex
import signal
import statistics

import pytest

from charlm import load
from charlm.errors import UsageError
from charlm.session import prepare_from
from charlm.training import Trainer
from tests.cli.shell import files_of
from tests.cli.test_cli_resume import text_of

TINY = (
    "--hidden-size",
    8,
    "--num-layers",
    1,
    "--batch-size",
    4,
    "--max-steps",
    6,
    "--threads",
    1,
    "--valid-fraction",
    0.2,
)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(text_of(60))
    return path


def best_loss(model):
    return min(row["valid_nats"] for row in load(model).history)


def rows(said):
    return {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.count("  ") > 1}


def test_the_best_of_the_trainings_is_kept_and_their_spread_printed(charlm, corpus, tmp_path):
    losses, test = {}, {}
    for seed in (5, 6, 7):
        path = tmp_path / f"{seed}.safetensors"
        held_out = () if seed == 5 else ("--valid-seed", 5)
        charlm("train", corpus, "-o", path, *TINY, "--seed", seed, *held_out, "--test", corpus).succeeded()
        losses[seed], test[seed] = best_loss(path), load(path).run.test["accuracy"]
    flags = (*TINY, "--seed", 5, "--seeds", 3, "--test", corpus)
    result = charlm("train", corpus, "-o", tmp_path / "m", *flags, "--format", "jsonl").succeeded()
    said = result.err
    best = min(losses, key=losses.get)
    assert (tmp_path / "m.safetensors").read_bytes() == (tmp_path / f"{best}.safetensors").read_bytes()
    assert said.endswith(f"wrote {tmp_path / 'm.safetensors'}, seed {best}\n")
    assert set(files_of(tmp_path)) == {"corpus.txt", "m.safetensors", *(f"{seed}.safetensors" for seed in losses)}
    table = rows(said[said.index("seed        ") :])
    names = table["seed"]
    assert names[0] == "valid_nats"
    for name, expected in (("valid_nats", losses), ("test_accuracy", test)):
        at = names.index(name)
        for seed, value in expected.items():
            mark = "*" if seed == best else ""
            assert float(table[f"{seed}{mark}"][at]) == pytest.approx(value, abs=1e-4)
        assert float(table["mean"][at]) == pytest.approx(statistics.fmean(expected.values()), abs=1e-4)
        assert float(table["deviation"][at]) == pytest.approx(statistics.stdev(expected.values()), abs=1e-4)
        assert {record["seed"]: record[name] for record in result.records} == pytest.approx(expected)
    assert [(record["seed"], record["kept"]) for record in result.records] == [(one, one == best) for one in losses]
    assert set(result.records[0]) == {"seed", *names, "kept"}


def test_of_a_task_with_a_figure_the_best_has_the_highest(charlm, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.write_text("".join(f"{'xy'[i % 3 == 0]}\t{'abc'[i % 3]}{'de'[i % 2]}\n" for i in range(60)))
    flags = (*TINY, "--task", "classify", "--valid-fraction", 0.4)
    figures = {}
    for seed in (5, 6, 7):
        charlm("train", corpus, "-o", tmp_path / str(seed), *flags, "--seed", seed, "--valid-seed", 5).succeeded()
        outcome = load(tmp_path / f"{seed}.safetensors").outcome
        figures[seed] = (-outcome.figure, outcome.valid_nats)
    charlm("train", corpus, "-o", tmp_path / "m", *flags, "--seed", 5, "--seeds", 3).succeeded()
    assert load(tmp_path / "m.safetensors").train.seed == min(figures, key=figures.get)


def test_the_seed_of_the_held_out_lines_may_be_another(corpus):
    lines = corpus.read_text().splitlines()
    network = {"hidden_size": 4, "num_layers": 1}

    def held_out(**seeds):
        given = {**network, "valid_fraction": 0.2, "unit": "line", **seeds}
        return prepare_from(lines, given).valid.ids.tolist()

    assert held_out(seed=7, valid_seed=5) == held_out(seed=5) != held_out(seed=7)
    for more, flag in (
        ({"unit": "stream"}, "stream"),
        ({"valid_fraction": 0.0}, "fraction 0"),
        ({"valid": "x"}, "--valid$"),
    ):
        with pytest.raises(UsageError, match=f"--valid-seed with .*{flag}"):
            held_out(valid_seed=5, **more)


def test_of_one_text_the_end_is_held_out_for_every_seed(charlm, corpus, tmp_path):
    flags = (*TINY, "--unit", "stream", "--seq-length", 8, "--max-steps", 2, "--seed", 5, "--seeds", 2)
    charlm("train", corpus, "-o", tmp_path / "m", *flags).succeeded()
    assert load(tmp_path / "m.safetensors").train.valid_seed is None


def test_without_validation_the_training_loss_decides(charlm, corpus, tmp_path):
    flags = (*TINY, "--valid-fraction", 0, "--seed", 5, "--seeds", 2)
    assert "train_nats" in charlm("train", corpus, "-o", tmp_path / "m", *flags).succeeded().err


def interrupted_at(monkeypatch, seed, step):
    """Send Ctrl-C at a step of the training with a seed; step 0: while it is prepared."""
    run_of, prepare_of = Trainer.run, Trainer.__init__

    def run(self):
        for progress in run_of(self):
            if self.config.seed == seed and progress.step == step:
                os.kill(os.getpid(), signal.SIGINT)
            yield progress

    def prepare(self, model, config, *args):
        if config.seed == seed and step == 0:
            os.kill(os.getpid(), signal.SIGINT)
        prepare_of(self, model, config, *args)

    monkeypatch.setattr(Trainer, "run", run)
    monkeypatch.setattr(Trainer, "__init__", prepare)


@pytest.mark.thinned(2)
@pytest.mark.parametrize(("seed", "step"), [(5, 2), (6, 3), (6, 0), (7, 6)])
def test_ctrl_c_keeps_the_best_so_far_and_says_how_to_go_on(charlm, monkeypatch, corpus, tmp_path, seed, step):
    flags = (*TINY, "--seed", 5, "--seeds", 3, "--dropout", 0.1, "--cell", "gru")
    (tmp_path / "whole").mkdir()
    charlm("train", corpus, "-o", tmp_path / "whole" / "m", *flags).succeeded()
    with monkeypatch.context() as patch:
        interrupted_at(patch, seed, step)
        result = charlm("train", corpus, "-o", tmp_path / "m", *flags)
    assert result.code == 130
    model, said = tmp_path / "m.safetensors", result.err.splitlines()
    assert said[-2] == "continue all seeds with:"
    assert model.exists() == (seed > 5)
    if seed > 5:
        done = [best_loss(tmp_path / f"m.seed-{one}.safetensors") for one in range(5, seed)]
        assert best_loss(model) == min(done)
    finished = {one: (tmp_path / f"m.seed-{one}.safetensors").stat().st_mtime_ns for one in range(5, seed)}
    command = shlex.split(said[-1])
    assert command[:2] == ["charlm", "train"]
    result = charlm(*command[1:]).succeeded()
    assert "".join(f"seed {one}:" for one in finished) not in result.err or not finished
    assert model.read_bytes() == (tmp_path / "whole" / "m.safetensors").read_bytes()
    assert sorted(files_of(tmp_path)) == ["corpus.txt", "m.safetensors", "whole/m.safetensors"]


@pytest.mark.thinned(2)
@pytest.mark.parametrize(("format", "between", "more"), [("csv", ",", ()), ("tsv", "\t", ("--no-header",))])
def test_a_record_for_each_seed_as_a_table(charlm, corpus, tmp_path, format, between, more):
    flags = (*TINY, "--seed", 5, "--seeds", 2, "--format", format, *more)
    rows = [line.split(between) for line in charlm("train", corpus, "-o", tmp_path / "m", *flags).succeeded().lines]
    if not more:
        header = rows.pop(0)
        assert header == ["seed", *header[1:-1], "kept"]
    assert [row[0] for row in rows] == ["5", "6"]
    assert sorted(row[-1] for row in rows) == ["0", "1"]


def test_a_chosen_seed_is_printed(charlm, corpus, tmp_path):
    said = charlm("train", corpus, "-o", tmp_path / "m", *TINY, "--seeds", 2).succeeded().err
    first = int(said.split()[1])
    assert f"seed {first}:" in said and f"seed {first + 1}:" in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--log", "x.jsonl"), ("--seeds", "--log")),
        (("--keep-checkpoint",), ("--seeds", "--keep-checkpoint")),
        (("--no-checkpoint",), ("--seeds", "--no-checkpoint")),
        (("--dry-run",), ("--seeds", "--dry-run")),
        (("--resume",), ("--seeds", "--resume", "--seed N")),
    ],
)
def test_what_does_not_go_with_it_is_refused(charlm, corpus, tmp_path, flags, words):
    charlm("train", corpus, "-o", tmp_path / "m", *TINY, "--seeds", 2, *flags).failed(2, *words)
    assert set(files_of(tmp_path)) == {"corpus.txt"}


def test_standard_input_and_an_existing_model_are_refused(charlm, corpus, tmp_path):
    charlm("train", "-", "-o", tmp_path / "m", *TINY, "--seeds", 2).failed(2, "standard input")
    (tmp_path / "m.safetensors").write_text("precious")
    charlm("train", corpus, "-o", tmp_path / "m", *TINY, "--seeds", 2).failed(2, "output exists", "--force")
    charlm("train", corpus, "-o", tmp_path / "m", *TINY, "--seeds", 2, "--force").succeeded()


def test_a_file_of_one_seed_is_not_overwritten(charlm, corpus, tmp_path):
    for name in ("m.seed-2.safetensors", "m.seed-1.ckpt.safetensors"):
        other = tmp_path / name
        other.write_bytes(b"another model")
        result = charlm("train", corpus, "-o", tmp_path / "m", "--seeds", 2, "--seed", 1, *TINY)
        result.failed(2, "output exists", name, "--resume", "--force")
        assert other.read_bytes() == b"another model" and [path.name for path in tmp_path.glob("m*")] == [name]
        other.unlink()

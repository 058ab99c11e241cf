"""A training that is interrupted and resumed ends in the same bytes as an uninterrupted one."""

import itertools
import os
import shlex
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from charlm.backends import get_backend
from charlm.backends.compiled.library import CORES, obstacle
from tests.cli.shell import SECONDS, bash, files_of, read_line, run, started, wait_for_more

FIXTURES = Path(__file__).parents[1] / "fixtures" / "format1"
RATES = ("--lr", 0.002, "--dropout", 0.0, "--valid-fraction", 0.05)
SIZES = ("--hidden-size", 8, "--num-layers", 2, "--batch-size", 4, "--seq-length", 8)
SMALL = ("--keep-checkpoint", *SIZES, *RATES, "--seed", 3)


def text_of(lines):
    rng = np.random.default_rng(0)
    return "".join("".join(rng.choice(list("abcdefg"), rng.integers(3, 12))) + "\n" for _ in range(lines))


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(text_of(300))
    return path


def break_off(process, number):
    """Send a signal after the next evaluation; return the exit code and standard error."""
    said = b""
    while not (line := read_line(process.stderr)).startswith(b"step "):
        assert line, said
        said += line
    process.send_signal(number)
    said += line + process.stderr.read()
    return process.wait(SECONDS), said.decode()


@pytest.mark.parametrize(("cell", "unit"), [("lstm", "line"), ("gru", "stream"), ("rnn", "line")])
@pytest.mark.slow
def test_however_it_is_broken_off_the_bytes_are_those_of_an_unbroken_run(charlm, corpus, tmp_path, cell, unit):
    """Ctrl-C, then SIGTERM, then kill -9, each in mid-training; each time the printed command continues."""
    flags = [*SMALL, "--cell", cell, "--unit", unit, "--dropout", 0.2, "--max-steps", 600]
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    charlm("train", corpus, "-o", whole, *flags).succeeded()

    with started("train", corpus, "-o", broken, *flags) as process:
        code, said = break_off(process, signal.SIGINT)
    assert code == 130, said
    printed = said.splitlines()[-1]
    assert shlex.split(printed)[:2] == ["charlm", "train"]
    command = shlex.split(printed)[1:]
    assert "stopped at step" in said.splitlines()[-2]
    charlm("score", broken, stdin=b"abc\n").succeeded()  # what is there is a model

    with started(*command) as process:
        code, said = break_off(process, signal.SIGTERM)
    assert code == 143, said
    assert said.splitlines()[-1] == printed

    with started(*command) as process:
        code, said = break_off(process, signal.SIGKILL)
    assert code == -signal.SIGKILL
    charlm("score", broken, stdin=b"abc\n").succeeded()

    done = bash(printed).succeeded()
    assert f"wrote {broken}" in done.err.splitlines()
    assert broken.read_bytes() == whole.read_bytes()
    checkpoints = [tmp_path / f"{name}.ckpt.safetensors" for name in ("broken", "whole")]
    assert checkpoints[0].read_bytes() == checkpoints[1].read_bytes()


def broken_off(charlm, monkeypatch, *args, after):
    """Train in this process up to step `after`, and press Ctrl-C there; return the printed command."""
    from charlm.training import Trainer

    run_of = Trainer.run

    def interrupted(self):
        for progress in run_of(self):
            if progress.step == after:
                os.kill(os.getpid(), signal.SIGINT)
            yield progress

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", interrupted)
        result = charlm("train", *args)
    assert result.code == 130, result
    return result.err.splitlines()[-1]


OTHER_WAYS = {
    "rmsprop": ("--optimizer", "rmsprop", "--schedule", "plateau"),
    "sgd": ("--optimizer", "sgd", "--schedule", "constant", "--lr", 0.1),
    "not validated": ("--valid-fraction", 0),
    "words": ("--level", "word", "--embedding-size", 8, "--tie-weights", "--vocab-size", 20, "--min-count", 2),
    "dense": ("--dense", 5, "--cell", "gru", "--reset", "before"),
    "double": ("--dtype", "float64", "--cell", "lstm-peephole"),
    "patience": ("--patience", 5, "--lr", 0.5),
}


@pytest.mark.thinned(2)
@pytest.mark.parametrize(("way", "after"), list(zip(OTHER_WAYS, itertools.cycle([12, 8, 1]), strict=False)))
def test_other_ways_to_train_are_resumed_too(charlm, monkeypatch, tmp_path, way, after):
    """Interrupted after the first of 30 steps, at the end of an epoch of characters, and at an evaluation."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(" ".join(text_of(30)) if way == "words" else text_of(30))
    flags = (*SMALL[:-2], "--seed", 4, "--max-steps", 30, "--unit", "stream", *OTHER_WAYS[way])
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    charlm("train", corpus, "-o", whole, *flags).succeeded()
    command = broken_off(charlm, monkeypatch, corpus, "-o", broken, *flags, after=after)
    charlm(*shlex.split(command)[1:]).succeeded()
    assert broken.read_bytes() == whole.read_bytes()


def test_epochs_and_a_held_out_file_are_resumed(charlm, monkeypatch, corpus, tmp_path):
    held_out = tmp_path / "held out.txt"
    held_out.write_text(text_of(5))
    flags = (*SMALL, "--epochs", 1, "--valid", held_out)
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    charlm("train", corpus, "-o", whole, *flags).succeeded()
    command = broken_off(charlm, monkeypatch, corpus, "-o", broken, *flags, after=20)
    charlm(*shlex.split(command)[1:]).succeeded()
    assert broken.read_bytes() == whole.read_bytes()
    result = charlm("train", corpus, "-o", broken, "--resume")
    assert result.code == 0, "the held-out file is in the checkpoint"


def test_several_files_with_strange_names_are_resumed(charlm, monkeypatch, tmp_path):
    files = [tmp_path / "it's one.txt", tmp_path / "$two.txt"]
    for file in files:
        file.write_text(text_of(30))
    command = broken_off(charlm, monkeypatch, *files, "-o", tmp_path / "a model", *SMALL, "--max-steps", 20, after=5)
    assert f"wrote {tmp_path / 'a model.safetensors'}\n" in bash(command).succeeded().err


def test_the_printed_command_computes_as_the_broken_one_did(charlm, monkeypatch, corpus, tmp_path):
    """Another number of threads rounds differently, and so gives other bytes."""
    flags = (*SMALL, "--max-steps", 20, "--threads", 1, "--device", "cpu")
    command = broken_off(charlm, monkeypatch, corpus, "-o", tmp_path / "m", *flags, after=5)
    assert "--threads 1" in command


@pytest.mark.slow
def test_a_run_in_minutes_keeps_its_number_of_steps(charlm, monkeypatch, corpus, tmp_path):
    flags = (*SMALL, "--minutes", 0.01)
    command = broken_off(charlm, monkeypatch, corpus, "-o", tmp_path / "m", *flags, after=2)
    err = charlm(*shlex.split(command)[1:]).succeeded().err
    planned = err.partition("minutes are ")[2].partition(" steps")[0]
    assert f"step {planned}/{planned} " in err


def test_a_finished_run_that_is_resumed_is_finished(charlm, corpus, tmp_path):
    model = tmp_path / "m.safetensors"
    charlm("train", corpus, "-o", model, *SMALL, "--max-steps", 5).succeeded()
    before = files_of(tmp_path)
    charlm("train", corpus, "-o", model, "--resume").succeeded()
    assert files_of(tmp_path) == before


def test_more_steps_may_be_asked_for(charlm, corpus, tmp_path):
    model = tmp_path / "m.safetensors"
    charlm("train", corpus, "-o", model, *SMALL, "--max-steps", 5).succeeded()
    result = charlm("train", corpus, "-o", model, "--resume", "--max-steps", 8).succeeded()
    assert "step 8/8 " in result.err
    assert "step 5/" not in result.err


def test_fewer_steps_than_are_done_change_nothing(charlm, corpus, tmp_path):
    model = tmp_path / "m.safetensors"
    charlm("train", corpus, "-o", model, *SMALL, "--max-steps", 8).succeeded()
    before = files_of(tmp_path)
    result = charlm("train", corpus, "-o", model, "--resume", "--max-steps", 3).succeeded()
    assert "nothing is left to do: 8 steps are done, and 3 were asked for" in result.err
    assert files_of(tmp_path) == before
    model.unlink()
    charlm("train", corpus, "-o", model, "--resume").succeeded()
    assert files_of(tmp_path) == before


def test_the_same_flags_may_be_repeated(charlm, corpus, tmp_path):
    flags = (*SMALL, "--lr", 0.01, "--dense", 3, "--dense", 4, "--unit", "stream")
    charlm("train", corpus, "-o", tmp_path / "m", *flags, "--max-steps", 5).succeeded()
    charlm("train", corpus, "-o", tmp_path / "m", *flags, "--max-steps", 8, "--resume").succeeded()


# ---- what is refused


@pytest.fixture
def begun(charlm, corpus, tmp_path):
    """A training of five steps, whose files must not change."""
    model = tmp_path / "m.safetensors"
    charlm("train", corpus, "-o", model, *SMALL, "--max-steps", 5).succeeded()
    before = files_of(tmp_path)
    yield model
    after = files_of(tmp_path)
    assert {name: after[name] for name in before} == before


def test_another_corpus_is_refused(charlm, corpus, begun, tmp_path):
    text = corpus.read_bytes()
    other = tmp_path / "other.txt"
    at = text.index(b"a", len(text) // 2)
    for changed in (text[:at] + b"b" + text[at + 1 :], text[:-2] + b"\n", text + b"abc\n", text * 2):
        other.write_bytes(changed)
        charlm("train", other, "-o", begun, "--resume").failed(2, "corpus", "--init-from")
    other.write_bytes(text)
    charlm("train", corpus, other, "-o", begun, "--resume").failed(2, "corpus")


def test_the_same_corpus_from_elsewhere_is_not(charlm, corpus, tmp_path):
    model = tmp_path / "m.safetensors"
    charlm("train", corpus, "-o", model, *SMALL, "--max-steps", 5).succeeded()
    charlm("train", "-", "-o", model, "--resume", stdin=corpus.read_bytes()).succeeded()


@pytest.mark.thinned(3)
@pytest.mark.parametrize(
    ("flag", "value", "stored"),
    [
        ("--hidden-size", "9", "8"),
        ("--cell", "gru", "lstm"),
        ("--unit", "stream", "line"),
        ("--level", "word", "char"),
        ("--lr", "0.5", "0.002"),
        ("--dropout", "0.1", "0.0"),
        ("--batch-size", "5", "4"),
        ("--seed", "4", "3"),
        ("--optimizer", "sgd", "adam"),
        ("--valid-fraction", "0.2", "0.05"),
        ("--dense", "3", "none"),
        ("--min-count", "2", "1"),
        ("--dtype", "float64", "float32"),
        ("--dtype", "bfloat16", "float32"),
    ],
)
def test_another_flag_is_refused_and_named(charlm, corpus, begun, flag, value, stored):
    charlm("train", corpus, "-o", begun, "--resume", flag, value).failed(2, flag, value, stored)


@pytest.mark.parametrize("flag", ["--tie-weights", "--lowercase"])
def test_another_switch_is_refused_and_named(charlm, corpus, begun, flag):
    charlm("train", corpus, "-o", begun, "--resume", flag).failed(2, flag)


def test_another_held_out_file_is_refused(charlm, corpus, begun, tmp_path):
    charlm("train", corpus, "-o", begun, "--resume", "--valid", corpus).failed(2, "--valid")


def test_without_a_checkpoint_there_is_nothing_to_resume(charlm, corpus, tmp_path):
    model = tmp_path / "m.safetensors"
    charlm("train", corpus, "-o", model, "--resume").failed(4, "m.ckpt.safetensors")
    charlm("train", corpus, "-o", model, *SMALL, "--max-steps", 2).succeeded()
    checkpoint = tmp_path / "m.ckpt.safetensors"
    checkpoint.write_bytes(model.read_bytes())
    result = charlm("train", corpus, "-o", model, "--resume")
    assert result.code in (2, 4)
    result.failed(result.code, str(checkpoint))


def test_a_checkpoint_that_an_ended_training_has_removed_is_named_with_the_ways_out(charlm, corpus, tmp_path):
    model = tmp_path / "m.safetensors"
    charlm("train", corpus, "-o", model, *SMALL[1:], "--max-steps", 2).succeeded()
    assert not (tmp_path / "m.ckpt.safetensors").exists()
    result = charlm("train", corpus, "-o", model, "--resume", "--max-steps", 4)
    result.failed(4, "m.ckpt.safetensors", "has ended", "--init-from", "--keep-checkpoint")


def test_without_checkpoints_none_is_ever_written(charlm, monkeypatch, corpus, tmp_path):
    """And one of an earlier training is removed, which could be resumed in its place."""
    from charlm import saving

    model, checkpoint = tmp_path / "m.safetensors", tmp_path / "m.ckpt.safetensors"
    charlm("train", corpus, "-o", model, *SMALL, "--max-steps", 2).succeeded()
    assert checkpoint.exists()
    monkeypatch.setattr(saving, "SAVE_SECONDS", {True: -1.0, False: -1.0})
    monkeypatch.setattr(saving, "SAVE_RATIO", 0.0)
    monkeypatch.setattr(saving, "save_training", None)
    flags = (*SMALL[1:], "--max-steps", 9, "--no-checkpoint", "--force")
    said = broken_off(charlm, monkeypatch, corpus, "-o", model, *flags, after=5)
    assert "stopped at step 5 of 9" in said and "cannot be continued" in said
    assert not checkpoint.exists() and model.exists()
    charlm("train", corpus, "-o", model, *flags).succeeded()
    assert not checkpoint.exists()


def test_a_training_that_is_broken_off_at_its_last_step_keeps_its_checkpoint(charlm, monkeypatch, corpus, tmp_path):
    command = broken_off(charlm, monkeypatch, corpus, "-o", tmp_path / "m", *SMALL[1:], "--max-steps", 5, after=5)
    charlm(*shlex.split(command)[1:]).succeeded()


def test_a_new_plan_is_announced(charlm, corpus, tmp_path):
    model = tmp_path / "m.safetensors"
    charlm("train", corpus, "-o", model, *SMALL, "--max-steps", 5).succeeded()
    said = charlm("train", corpus, "-o", model, "--resume", "--max-steps", 12).succeeded().err
    assert "a new plan: 7 more steps, the learning rate starts anew at " in said


def test_a_damaged_checkpoint_is_refused(charlm, corpus, tmp_path):
    model, checkpoint = tmp_path / "m.safetensors", tmp_path / "m.ckpt.safetensors"
    charlm("train", corpus, "-o", model, *SMALL, "--max-steps", 2).succeeded()
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    before = files_of(tmp_path)
    charlm("train", corpus, "-o", model, "--resume").failed(4, str(checkpoint))
    assert files_of(tmp_path) == before


# ---- signals


@pytest.mark.slow
def test_a_second_signal_ends_at_once_and_what_is_there_is_whole(charlm, corpus, tmp_path):
    model = tmp_path / "m.safetensors"
    with started("train", corpus, "-o", model, *SMALL, "--max-steps", 5000) as process:
        while not read_line(process.stderr).startswith(b"step "):
            pass
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        err = process.stderr.read().decode()
        assert process.wait(SECONDS) == 130
    assert "Traceback" not in err
    charlm("score", model, stdin=b"abc\n").succeeded()
    charlm("train", corpus, "-o", model, "--resume", "--max-steps", 1).succeeded()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_training_leaves_nothing(tmp_path, number, code):
    with started("train", "-", "-o", tmp_path / "m", "--seed", 1) as process:
        process.stdin.write(b"abc\n")
        wait_for_more(process)
        process.send_signal(number)
        err = process.stderr.read().decode()
        assert process.wait(SECONDS) == code
    assert "Traceback" not in err
    assert files_of(tmp_path) == {}


@pytest.mark.slow
def test_with_the_reader_of_its_messages_gone_training_goes_on(corpus, tmp_path):
    result = bash(f"charlm train {corpus} -o {tmp_path}/m --hidden-size 4 --max-steps 3 2>&-")
    assert result.code == 0
    assert set(files_of(tmp_path)) == {corpus.name, "m.safetensors"}
    assert run("inspect", tmp_path / "m.safetensors").code == 0


# --- the core --------------------------------------------------------------------------------------------------------


NOTE = "the last digits will differ from those of an uninterrupted run"


def core_in(charlm, model):
    (record,) = charlm("inspect", model, "--format", "jsonl").succeeded().records
    return record["core"]


@pytest.mark.thinned(2)
@pytest.mark.parametrize("core", [core for core in CORES if not obstacle(core)])
def test_another_core_is_noted_once_and_named_from_then_on(charlm, monkeypatch, corpus, tmp_path, core):
    model = tmp_path / "m.safetensors"
    monkeypatch.setenv("CHARLM_CORE", core)
    assert NOTE not in charlm("train", corpus, "-o", model, *SMALL, "--max-steps", 2).succeeded().err
    assert (
        NOTE
        not in charlm("train", corpus, "-o", model, "--resume", "--max-steps", 4, "--keep-checkpoint").succeeded().err
    )
    assert core_in(charlm, model) == core
    assert f"core           {core}" in charlm("inspect", model).succeeded().lines
    monkeypatch.setenv("CHARLM_CORE", "numpy")
    assert core_in(charlm, model) == core
    result = charlm("train", corpus, "-o", model, "--resume", "--max-steps", 6, "--keep-checkpoint").succeeded()
    assert f"trained on core {core}, this run continues on core numpy: {NOTE}\n" in result.err
    assert result.err.count(NOTE) == 1
    assert core_in(charlm, model) == "numpy"
    assert NOTE not in charlm("train", corpus, "-o", model, "--resume", "--max-steps", 8).succeeded().err


def test_a_checkpoint_of_an_older_release_is_resumed_without_a_note(charlm, tmp_path):
    for name in ("stopped.safetensors", "stopped.ckpt.safetensors", "stopped.txt"):
        shutil.copy(FIXTURES / name, tmp_path)
    model = tmp_path / "stopped.safetensors"
    assert core_in(charlm, model) is None
    assert not [line for line in charlm("inspect", model).succeeded().lines if line.startswith("core ")]
    assert NOTE not in charlm("train", tmp_path / "stopped.txt", "-o", model, "--resume").succeeded().err
    assert core_in(charlm, model) == get_backend("cpu").core

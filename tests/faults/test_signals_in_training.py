"""Signals at any moment of a training: the step is finished, all is saved, and how to go on is told."""

import os
import random
import shlex
import time

import pytest

from charlm.storage.container import Container
from tests.cli.shell import SECONDS, files_of, read_line, run, started
from tests.faults.test_signals import HANGUP, INTERRUPT, SMALL, TERMINATE, broken_off, pytestmark  # noqa: F401

NOISE = ("Traceback", "ignored", "Error", "Interrupt", "charlm: error")


@pytest.fixture
def corpus(tmp_path):
    rng = random.Random(0)
    path = tmp_path / "corpus.txt"
    path.write_text("".join("".join(rng.choices("abcdefg", k=rng.randint(3, 12))) + "\n" for _ in range(300)))
    return path


def check_what_is_left(folder, err):
    """The files can be opened, and nothing else was left beside them."""
    names = {name for name in files_of(folder) if name != "corpus.txt"}
    assert names <= {"m.safetensors", "m.ckpt.safetensors"}
    for name in names:
        Container(folder / name).arrays()
    assert not [word for word in NOISE if word in err], err


@pytest.mark.slow
def test_however_often_training_is_stopped_it_ends_in_the_same_bytes(corpus, tmp_path, times):
    """At any moment from the start on: before it begins nothing is left, then it is saved and told how to go on."""
    steps = times(1500, 3_000)
    folder, whole = tmp_path / "broken", tmp_path / "whole"
    folder.mkdir()
    whole.mkdir()
    flags = ("--max-steps", steps, "--keep-checkpoint", *SMALL)
    run("train", corpus, "-o", whole / "m", *flags).succeeded()
    rng, stopped = random.Random(2), 0
    arguments, expected = ["train", corpus, "-o", folder / "m", *flags], ["m.ckpt.safetensors", "m.safetensors"]
    for number in [INTERRUPT, TERMINATE, HANGUP] * 20:
        code, out, err = broken_off(arguments, number, rng.uniform(0, 1.5))
        check_what_is_left(folder, err)
        assert out == b""
        if code == 0 and stopped:
            break
        if code == 0:  # it was done before the first signal came
            for path in folder.iterdir():
                path.unlink()
            continue
        assert code == 128 + number, err
        if "stopped at step" in err:
            assert sorted(files_of(folder)) == expected
            step = err.partition("stopped at step ")[2].partition(" ")[0].replace(",", "")
            assert Container(folder / expected[0]).header["training"]["step"] == int(step)
            arguments = shlex.split(err.splitlines()[-1])[1:]
        stopped += 1
        if stopped == times(2, 3):
            break
    assert stopped
    run(*arguments)
    assert files_of(folder) == files_of(whole)


INSIDE_A_TEXT = """
import builtins, dataclasses, sys
def interrupted(text, *names):
    signals = sys.modules.get("charlm.cli.signals")
    if hasattr(signals, "state") and signals.state.raises:
        text = f"import os, signal\\nos.kill(os.getpid(), signal.SIGINT)\\n{text}"
    builtins.exec(text, *names)
dataclasses.exec = interrupted
"""


def test_a_signal_while_python_reads_a_text_gives_the_same_exit_code(corpus, tmp_path):
    """`python -m` ends in the signal if a KeyboardInterrupt has ever left `exec`, which makes the dataclasses."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(INSIDE_A_TEXT)
    result = run("train", corpus, "-o", tmp_path / "m", *SMALL, PYTHONPATH=str(folder))
    assert (result.code, result.out, result.err) == (128 + INTERRUPT, b"", "")


@pytest.mark.slow
def test_a_second_signal_in_training_ends_it_at_once(corpus, tmp_path, times):
    folder, rng = tmp_path / "out", random.Random(3)
    folder.mkdir()
    for _ in range(times(1, 3)):
        with started("train", corpus, "-o", folder / "m", "--force", "--max-steps", 50_000, *SMALL) as process:
            while not (line := read_line(process.stderr)).startswith(b"step "):
                assert line
            process.send_signal(INTERRUPT)
            time.sleep(rng.uniform(0, 0.02))
            process.send_signal(INTERRUPT)
            err = process.stderr.read().decode()
            assert process.wait(SECONDS) == 128 + INTERRUPT
        check_what_is_left(folder, err)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("function", ["fsync", "replace", "fchmod"])
@pytest.mark.parametrize("call", [1, 2])
def test_a_signal_in_the_middle_of_a_save_leaves_it_whole(charlm, corpus, tmp_path, monkeypatch, function, call, count):
    """Two of them end the save; what was there before is then still there."""
    folder = tmp_path / "out"
    folder.mkdir()
    charlm("train", corpus, "-o", folder / "m", *SMALL, "--max-steps", 1, "--keep-checkpoint").succeeded()
    before, calls, original = files_of(folder), [], getattr(os, function)

    def signalled(*args, **kwargs):
        calls.append(args)
        if len(calls) == call:
            for _ in range(count):
                os.kill(os.getpid(), INTERRUPT)
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(f"charlm.storage.files.os.{function}", signalled)
        result = charlm("train", corpus, "-o", folder / "m", *SMALL, "--max-steps", 4, "--resume", "--keep-checkpoint")
    assert len(calls) >= call
    assert result.code == 128 + INTERRUPT
    check_what_is_left(folder, result.err)
    if count == 2 and call == 1:
        assert files_of(folder) == before
    charlm("train", corpus, "-o", folder / "m", "--max-steps", 4, "--resume").succeeded()


@pytest.mark.slow
@pytest.mark.parametrize(("core", "number"), [("numpy", INTERRUPT), ("auto", HANGUP)])
def test_a_signal_while_several_threads_compute(trained, tmp_path, core, number):
    """They finish the step."""
    flags = ("--max-steps", 50_000, "--threads", 2, "--hidden-size", 32, "--batch-size", 32, "--seed", 1)
    with started("train", trained.names, "-o", tmp_path / "m", *flags, CHARLM_CORE=core) as process:
        while not (line := read_line(process.stderr)).startswith(b"step "):
            assert line
        process.send_signal(number)
        err = process.stderr.read().decode()
        assert process.wait(SECONDS) == 128 + number, err
    assert "stopped at step" in err
    check_what_is_left(tmp_path, err)

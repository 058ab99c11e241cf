"""`charlm train --log`: the history as it grows."""

import json
import os
import shlex
import stat
import threading

import pytest

from tests.cli.shell import files_of
from tests.cli.test_cli_resume import SMALL, broken_off, text_of

FLAGS = (*SMALL, "--max-steps", 20)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(text_of(60))
    return path


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def history(charlm, model):
    return charlm("inspect", model, "--format", "jsonl").succeeded().records[0]["history"]


def test_the_log_is_the_history(charlm, corpus, tmp_path):
    log = tmp_path / "log.jsonl"
    charlm("train", corpus, "-o", tmp_path / "m", *FLAGS, "--log", log).succeeded()
    assert records(log) == history(charlm, tmp_path / "m.safetensors")
    assert len(records(log)) > 5


def test_each_record_is_there_at_once(charlm, monkeypatch, corpus, tmp_path):
    from charlm.training import Trainer

    log, seen, run_of = tmp_path / "log.jsonl", [], Trainer.run

    def watched(self):
        for progress in run_of(self):
            yield progress
            if progress.is_evaluation:
                seen.append(records(log)[-1]["step"] == progress.step)

    monkeypatch.setattr(Trainer, "run", watched)
    charlm("train", corpus, "-o", tmp_path / "m", *FLAGS, "--log", log).succeeded()
    assert seen and all(seen)


def test_a_resumed_training_goes_on_with_it(charlm, monkeypatch, corpus, tmp_path):
    whole, log = tmp_path / "whole.jsonl", tmp_path / "log file.jsonl"
    charlm("train", corpus, "-o", tmp_path / "whole", *FLAGS, "--log", whole).succeeded()
    command = broken_off(charlm, monkeypatch, corpus, "-o", tmp_path / "m", *FLAGS, "--log", log, after=9)
    assert f"--log '{log}'" in command
    # As after a kill: an evaluation that no checkpoint has, and half of another.
    log.write_bytes(log.read_bytes() + b'{"step": 19}\n{"st')
    charlm(*shlex.split(command)[1:]).succeeded()
    assert log.read_bytes() == whole.read_bytes()


def test_what_exists_is_not_overwritten_without_force(charlm, corpus, tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text("precious\n")
    before = files_of(tmp_path)
    charlm("train", corpus, "-o", tmp_path / "m", *FLAGS, "--log", log).failed(2, "log.jsonl", "--force")
    assert files_of(tmp_path) == before
    charlm("train", corpus, "-o", tmp_path / "m", *FLAGS, "--log", log, "--force").succeeded()
    assert records(log) == history(charlm, tmp_path / "m.safetensors")


@pytest.mark.parametrize("name", ["missing/log.jsonl", "."])
def test_what_cannot_be_written_is_refused_before_training(charlm, corpus, tmp_path, name):
    before = files_of(tmp_path)
    charlm("train", corpus, "-o", tmp_path / "m", *FLAGS, "--log", tmp_path / name).failed(6, "cannot write")
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("name", ["corpus.txt", "m.safetensors", "m.ckpt.safetensors"])
def test_it_may_not_be_another_file_of_the_training(charlm, corpus, tmp_path, name):
    before = files_of(tmp_path)
    charlm("train", corpus, "-o", tmp_path / "m", *FLAGS, "--log", tmp_path / name).failed(2, name, "--log")
    assert files_of(tmp_path) == before


def test_a_pipe_is_written_and_stays_one(charlm, corpus, tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    charlm("train", corpus, "-o", tmp_path / "m", *FLAGS, "--log", pipe).succeeded()
    reader.join(60)
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)
    lines = [json.loads(line) for line in read[0].splitlines()]
    assert lines == history(charlm, tmp_path / "m.safetensors")


def test_a_full_disk_costs_the_log_and_not_the_training(charlm, corpus, tmp_path):
    result = charlm("train", corpus, "-o", tmp_path / "m", *FLAGS, "--log", "/dev/full").succeeded()
    assert result.err.count("training goes on without its log") == 1
    assert (tmp_path / "m.safetensors").exists()

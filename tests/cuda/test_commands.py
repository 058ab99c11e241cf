"""The commands on the GPU's backend on the host: what they print is what they print on the processor."""

import json
import re

import numpy as np
import pytest

from charlm import backends
from charlm.checkpoint import load
from charlm.cli.app import main
from tests.conftest import REPOSITORY

NUMBER = re.compile(r"-?\d+\.\d+(e-?\d+)?")
SMALL = ["--hidden-size", "6", "--max-steps", "6", "--seed", "1", "--batch-size", "8", "--dtype", "float64"]
TASKS = {
    "lm": (["--cell", "lstm-peephole", "--dropout", "0.2"], ["generate", "score", "evaluate"]),
    "stream": (["--unit", "stream", "--level", "word", "--embedding-size", "5"], ["generate", "score", "evaluate"]),
    "cloze": (["--bidirectional"], ["fill", "score", "evaluate"]),
    "tag": (["--task", "tag"], ["predict", "evaluate"]),
    "spelled": (["--task", "tag", "--char-features", "3", "--embedding-size", "4"], ["predict", "evaluate"]),
    "classify": (["--task", "classify", "--cell", "gru"], ["predict", "evaluate"]),
    "translate": (["--task", "translate", "--cell", "lstm"], ["predict", "evaluate"]),
}
TAGGED = "Will\t1\nsees\t0\nRose\t1\n\nthe\t0\nrose\t0\nsees\t0\nWill\t1\n\n" * 8
CORPORA = {
    "tag": TAGGED,
    "spelled": TAGGED,
    "classify": "good\tfine and good\nbad\tsad and bad\n" * 8,
    "translate": "ein haus\ta house\nein hund\ta dog\n" * 8,
}


@pytest.fixture
def gpu(ops, monkeypatch):
    """A machine that has a GPU, as far as `get_backend` sees."""
    monkeypatch.setattr(backends, "_cuda", lambda gpu: ops)
    return ops


def printed(capfd, *arguments):
    assert main(list(map(str, arguments))) == 0, capfd.readouterr().err
    return capfd.readouterr().out


def rounded(text):
    """Give a text with its numbers to ten places: float64 agrees to fewer than all."""
    text = re.sub(r'("tokens_per_second": )[\d.]+', r"\1 0", text)
    return NUMBER.sub(lambda match: f"{float(match[0]):.9g}", text)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_from_corpus_to_results(gpu, capfd, tmp_path, task):
    flags, commands = TASKS[task]
    corpus, model = tmp_path / "corpus.txt", tmp_path / "model.safetensors"
    corpus.write_text(CORPORA.get(task, "the cook\nthe rose is red\nwill the cook\na dog\n" * 4))
    results = []
    for device in ("cpu", "cuda"):
        out = [printed(capfd, "train", corpus, "-o", model, "--force", "--device", device, *SMALL, *flags)]
        weights = load(model, gpu).language_model.model.parameters.values
        for command in commands:
            more = {"generate": ["--seed", "3", "-n", "3", "-l", "12"], "evaluate": ["--format", "jsonl"]}
            files = [] if command == "generate" else [_input(tmp_path, command, task, corpus)]
            out.append(rounded(printed(capfd, command, model, *files, "--device", device, *more.get(command, []))))
        if task in ("lm", "stream"):
            adapting = ["--dynamic", "0.05", "--dynamic-length", "7", "--cache", "9"]
            out += [rounded(printed(capfd, "surprisal", model, corpus, "--device", device, *adapting))]
        results.append((out, gpu.numpy(weights)))
    np.testing.assert_allclose(results[1][1], results[0][1], rtol=0, atol=1e-10)
    assert results[0][0] == results[1][0] and all(results[0][0][1:])


def _input(folder, command, task, corpus):
    """Give a file to read: what has to be predicted, or the corpus itself."""
    lines = {"fill": "the ___\na ___ is red\n", "tag": "Will sees Rose\n", "classify": "fine\nsad and bad\n"}
    lines |= {"translate": "ein haus\nein hund\n", "spelled": "Will sees Roses\n"}
    if command not in ("fill", "predict"):
        return corpus
    path = folder / f"{command}.txt"
    path.write_text(lines[command if command == "fill" else task])
    return path


def test_resuming_and_starting_from_another_model(gpu, capfd, tmp_path):
    names, model, other = (tmp_path / name for name in ("names.txt", "a.safetensors", "b.safetensors"))
    names.write_text("".join((REPOSITORY / "corpora" / "dinosaurs.txt").read_text().splitlines(keepends=True)[:60]))
    small = ["--hidden-size", "6", "--batch-size", "8", "--seed", "1", "--dtype", "float64"]
    begin = ["train", names, "-o", model, *small]
    printed(capfd, *begin, "--device", "cuda", "--max-steps", "3", "--keep-checkpoint")
    printed(capfd, "train", names, "-o", model, "--resume", "--device", "cpu", "--max-steps", "6")
    printed(capfd, *begin[:3], other, *begin[4:], "--device", "cpu", "--max-steps", "6", "--init-from", model)
    cpu = json.loads(printed(capfd, "evaluate", other, names, "--device", "cpu", "--format", "jsonl"))
    again = [*begin[:3], other, *begin[4:], "--force", "--max-steps", "6", "--init-from", model]
    printed(capfd, *again, "--device", "cuda")
    cuda = json.loads(printed(capfd, "evaluate", other, names, "--device", "cuda", "--format", "jsonl"))
    assert cuda["nats_per_token"] == pytest.approx(cpu["nats_per_token"], rel=1e-9)

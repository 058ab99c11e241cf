"""`charlm export` and `charlm import`: files of other programs."""

import json
import sys

import numpy as np
import pytest

import charlm as library
from charlm.checkpoint import save
from tests.exchange.test_torch import TOKENS, saved, state_dict
from tests.task_models import task_model


def test_what_is_exported_comes_back(charlm, trained, tmp_path):
    here, back = tmp_path / "m.safetensors", tmp_path / "back"
    result = charlm("export", trained.char, "-o", here).succeeded()
    assert result.out == b"" and "embedding.weight" in result.err and "rnn.weight_ih_l0" in result.err
    result = charlm("import", here, "-o", back).succeeded()
    assert "lstm 1 x 8, char level" in result.err
    assert (tmp_path / "back.safetensors").read_bytes() == trained.char.read_bytes()
    charlm("import", here, "-o", back).failed(2, "file exists", "--force")
    assert charlm("import", here, "-o", back, "--force", "-q").succeeded().err == ""


def test_an_onnx_file_is_told_by_its_suffix(charlm, trained, tmp_path):
    pytest.importorskip("onnx")
    path = tmp_path / "m.onnx"
    result = charlm("export", trained.stream, "-o", path, "--signature", "step").succeeded()
    lines = [line.split(maxsplit=2) for line in result.err.splitlines()]
    assert lines[0] == ["input", "token", "int64 [batch]"]
    assert ["output", "next_state_a", "float [1, batch, 8]"] in lines
    charlm("import", path, "-o", tmp_path / "back").succeeded()
    assert (tmp_path / "back.safetensors").read_bytes() == trained.stream.read_bytes()
    charlm("import", path, "-o", tmp_path / "other", "--vocabulary", trained.names).failed(2, "has its own")
    charlm("score", path, trained.names).failed(4, "not a model file", "charlm import FILE")


def test_without_the_package_the_extra_is_named(charlm, trained, tmp_path, monkeypatch):
    for name in [*sys.modules]:
        if name.partition(".")[0] == "onnx" or name.startswith("charlm.exchange.onnx"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("charlm.exchange.onnx_file", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    charlm("export", trained.char, "-o", tmp_path / "m.onnx").failed(6, "onnx is not installed", "charlm-rnn[onnx]")
    charlm("import", tmp_path / "m.onnx", "-o", tmp_path / "m").failed(6, "onnx is not installed")
    assert not list(tmp_path.iterdir())


def test_the_lines_that_load_a_file(charlm, trained, tmp_path):
    shown = charlm("export", trained.char, "--to", "torch", "--show").succeeded().lines
    assert shown[0] == "import torch" and len(shown) < 25
    both = charlm("export", trained.char, "-o", tmp_path / "x.safetensors", "--show").succeeded().lines
    assert [line.replace("x.safetensors", "model_torch.safetensors") for line in both] == shown
    compile("\n".join(shown), "shown", "exec")
    charlm("export", trained.char, "--show").failed(2, "--show without a format", "--to torch")
    charlm("export", trained.char, "-o", tmp_path / "x.onnx", "--show").failed(2, "--show with --to onnx")
    assert not (tmp_path / "x.onnx").exists()
    charlm("export", trained.char, "-o", tmp_path / "x.onnx", "--to", "torch").failed(2, "another format", "FILE.safe")
    charlm("export", trained.char).failed(2, "no file to write", "-o FILE.onnx", "FILE.html")


def test_a_page(charlm, trained, tmp_path):
    path = tmp_path / "names.html"
    lines = charlm("export", trained.char, "-o", path).succeeded().err.splitlines()
    assert lines[0].split() == ["layer0.W", "32", "x", "28", "float32"]
    large = path.stat().st_size
    charlm("export", trained.char, "-o", path, "--precision", "float16").failed(2, "file exists", "--force")
    charlm("export", trained.char, "-o", path, "--precision", "float16", "--force", "-q").succeeded()
    assert path.stat().st_size < large
    charlm("export", trained.char, "-o", tmp_path / "x", "--to", "page", "--show").failed(2, "--show with --to page")


def test_a_state_dict_with_its_vocabulary(charlm, tmp_path):
    path, tokens = saved(tmp_path / "there.safetensors", state_dict("GRU")), tmp_path / "tokens.txt"
    tokens.write_text("".join(f"{token}\n" for token in TOKENS))
    command = ("import", path, "-o", tmp_path / "here")
    charlm(*command).failed(2, "no vocabulary in", "--vocabulary FILE")
    charlm(*command, "--eos", "a").failed(2, "--eos without --vocabulary")
    result = charlm(*command, "--vocabulary", tokens, "--unit", "line").succeeded()
    assert "gru 2 x 6, word level, 9 tokens" in result.err
    model = library.load(tmp_path / "here")
    assert (model.text.unit, model.text.split, model.tokenizer.vocabulary.tokens[:4]) == (
        "line",
        "whitespace",
        ("<EOS>", "<UNK>", "the", "cat"),
    )
    scores = charlm("score", tmp_path / "here", "--format", "jsonl", stdin=b"the cat\n").records
    assert scores[0]["tokens"] == 3
    tokens.write_text(json.dumps([*"abcdefgh", "\n"]))
    tokens.rename(tmp_path / "tokens.json")
    letters = ("--vocabulary", tmp_path / "tokens.json", "--eos", r"\n", "--force")
    assert "char level, 10 tokens" in charlm(*command, *letters).succeeded().err


@pytest.mark.parametrize("kind", ["translate", "music"])
def test_other_tasks_are_refused(charlm, tmp_path, kind):
    save(tmp_path / "m.safetensors", task_model(kind))
    charlm("export", tmp_path / "m", "-o", tmp_path / "x.onnx").failed(2, "charlm export does not work with", kind)


def test_files_are_not_lost(charlm, trained, tmp_path):
    before = trained.char.read_bytes()
    charlm("export", trained.char, "-o", trained.char, "--force").failed(2, "input is also the output")
    charlm("export", trained.folder / "char", "-o", trained.char, "--force").failed(2, "input is also the output")
    charlm("import", trained.char, "-o", trained.char, "--force").failed(2, "input is also the output")
    charlm("import", trained.char, "-o", tmp_path / "m").failed(2, "is a model of charlm")
    charlm("export", trained.char, "-o", tmp_path / "m.bin").failed(2, "unknown format", "--to")
    charlm("export", trained.char, "-o", tmp_path / "no" / "m.onnx").failed(6, "cannot write")
    charlm("export", tmp_path / "missing", "-o", tmp_path / "m.onnx").failed(4, "no such file")
    assert trained.char.read_bytes() == before and not list(tmp_path.iterdir())


def test_a_model_with_shared_exchange_facts_is_a_model_no_more(charlm, trained, tmp_path):
    """A file for PyTorch is in the same format as a model, and is told from one."""
    path = tmp_path / "m.safetensors"
    charlm("export", trained.char, "-o", path).succeeded()
    charlm("score", path, trained.names).failed(4, "not a charlm model", "charlm import FILE -o MODEL")
    assert np.isfinite(next(iter(library.score(library.import_model(path), ["a"]))).nats)

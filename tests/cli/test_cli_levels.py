"""`--level byte` and `--level subword` through the commands."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from charlm import checkpoint
from charlm.backends import NumpyBackend
from tests.cli.conftest import TINY
from tests.forms import times

HAS_PIECES = importlib.util.find_spec("sentencepiece") is not None
needs_pieces = pytest.mark.skipif(not HAS_PIECES, reason="needs sentencepiece: pip install 'charlm-rnn[subword]'")
LEVELS = ["byte", pytest.param("subword", marks=needs_pieces)]
TEXT = "".join(f"{line}\n" for line in ["the cat sees  a dog", "a dog, the cat", " café 龍", "it's 12:30"] * 8)
STEPS = (*TINY, "--max-steps", 8, "--seed", 1, "-q")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("levels")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    return folder


@pytest.fixture
def model(charlm: Callable, folder: Path) -> Callable[[str], Path]:
    """Return the model of lines of a level, trained once."""

    def made(level: str) -> Path:
        path = folder / f"{level}.safetensors"
        if not path.exists():
            charlm("train", folder / "text.txt", "-o", path, "--level", level, "--unit", "line", *STEPS).succeeded()
        return path

    return made


def _loaded(path: Path):
    return checkpoint.load(path, NumpyBackend()).language_model


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_generated_is_utf8(charlm, model, level):
    path = model(level)
    language_model = _loaded(path)
    values = language_model.model.parameters.values
    values[...] = np.random.default_rng(1).normal(size=values.size)  # as likely to draw one byte as another
    checkpoint.save(path.with_name("odd.safetensors"), language_model)
    odd = ("generate", path.with_name("odd"), "-n", times(12, 300), "-l", 20, "--seed", 1)
    text = charlm(*odd).succeeded().text
    assert any(not one.isascii() for one in text)
    raw = charlm(*odd, "--raw").succeeded()
    with pytest.raises(UnicodeDecodeError):
        raw.out.decode()
    assert charlm(*odd, "--raw", "--format", "jsonl").code == 2
    records = charlm(*odd, "--format", "jsonl").succeeded().records
    assert [one["text"] for one in records] == text.split("\n")[:-1]
    assert all(one["unk_mass_rejected"] > 0 for one in records)
    names = language_model.tokenizer.splitter.bytes_by_token
    for one in records:
        data = b"".join(names[token] for token in one["tokens"] if token != "<EOS>")
        assert data.decode(errors="ignore") == one["text"]


@pytest.mark.parametrize("level", LEVELS)
def test_figures_agree(charlm, model, folder, level):
    path, text = model(level), "the cat\n  a  café 龍 \n\n \na\n"
    scores = charlm("score", path, "--format", "jsonl", "--log-base", 2, stdin=text.encode()).records
    for per in ("word", "token"):
        sums = [0.0] * 5
        rows = charlm("surprisal", path, "--per", per, "--format", "jsonl", stdin=text.encode()).records
        for row in rows:
            sums[row["line"] - 1] += row["surprisal"]
        assert sums == pytest.approx([-one["log2p"] for one in scores], abs=1e-6)
        records = charlm("score", path, "--per", per, "--format", "jsonl", "--log-base", 2, stdin=text.encode()).records
        found = [sum(one["log2p"] for one in record[f"{per}_scores"]) for record in records]
        assert found == pytest.approx([one["log2p"] for one in scores], abs=1e-6)
    figures = charlm("evaluate", path, "--format", "jsonl", stdin=text.encode()).records[0]
    bits = -sum(one["log2p"] for one in scores)
    assert figures["bits_per_byte"] == pytest.approx(bits / len(text.encode()))
    assert figures["bits_per_char"] == pytest.approx(bits / len(text))
    assert figures["oov"] == 0
    row = charlm("next", path, "-p", "the c", "-k", 1, "--format", "jsonl").records[0]
    after = charlm("score", path, "--per", "token", "--format", "jsonl", stdin=b"the c").records[0]
    assert row["prob"] <= 1
    assert after["tokens"] == len(after["token_scores"])


@pytest.mark.parametrize("level", ["char", *LEVELS])
def test_bytes_that_are_not_utf8_are_read_as_the_warning_says(charlm, model, level):
    path, stdin = model(level), b"caf\xe9\n"
    warned = {"char": "read as unknown characters", "subword": "read as tokens of one byte each", "byte": ""}[level]
    result = charlm("score", path, "--format", "jsonl", stdin=stdin).succeeded()
    assert (result.records[0]["oov"] == 0) == (level != "char")
    paired = charlm("evaluate", path, "--pairs", stdin=b"cat\tca\xe9\n").succeeded()
    for err in (result.err, paired.err, charlm("compare", path, path, "--on", "-", stdin=stdin).succeeded().err):
        assert err.count("not UTF-8") == bool(warned) and warned in err


@pytest.mark.thinned(2)
@pytest.mark.parametrize("level", LEVELS)
def test_commands_that_read_lines(charlm, model, folder, level):
    path = model(level)
    ranked = charlm("rank", path, folder / "text.txt", "-n", 3, "--format", "jsonl").records
    assert {one["text"] for one in ranked} <= set(TEXT.split("\n"))
    assert all(0 <= run["start"] < run["end"] <= len(one["text"]) for one in ranked for run in one["runs"])
    kept = charlm("filter", path, folder / "text.txt", "--top", 2).succeeded().lines
    assert set(kept) <= set(TEXT.split("\n"))
    compared = charlm("compare", path, path, "--on", folder / "text.txt", "--format", "jsonl").records
    assert compared[0]["level"] == level
    regions = charlm("surprisal", path, "--region", "|", "--format", "jsonl", stdin="the| cat |café\n".encode()).records
    assert [one["region"] for one in regions] == ["the", "cat", "café", "<EOS>"]
    assert all(one["tokens"] for one in regions)
    page = folder / "page.html"
    charlm("score", path, folder / "text.txt", "--html", page).succeeded()
    assert {"é", "龍"} <= set(page.read_text(encoding="utf-8"))
    summary = charlm("inspect", path, "--format", "jsonl").records[0]
    assert summary["config"]["level"] == level
    assert "piece_model" not in summary["config"]
    assert f"--level {level}" in charlm("inspect", path, "--command").succeeded().text


@pytest.mark.thinned(2)
@pytest.mark.parametrize("level", LEVELS[::-1])
def test_training_goes_on_and_begins_from_weights(charlm, model, folder, level):
    text, path = folder / "text.txt", folder / f"more-{level}.safetensors"
    begin = ("train", text, "-o", path, "--level", level, "--unit", "stream", *TINY, "--seed", 1, "-q")
    charlm(*begin, "--max-steps", 6, "--keep-checkpoint").succeeded()
    assert charlm("train", text, "-o", path, "--resume", "--level", "char").code == 2
    charlm("train", text, "-o", path, "--resume", "--max-steps", 8, "-q").succeeded()
    other = folder / f"other-{level}.safetensors"
    (more := folder / "more.txt").write_text("zebras zoom\n" * 40)
    from_weights = charlm("train", more, "-o", other, "--init-from", path, "--max-steps", 1, "--force")
    assert from_weights.code == 0
    first, second = _loaded(path), _loaded(other)
    assert first.text.piece_model == second.text.piece_model
    size = len(first.tokenizer.vocabulary)
    assert f"{size:,} of {size:,} tokens matched" in from_weights.err
    exported = folder / f"{level}-torch.safetensors"
    charlm("export", path, "-o", exported, "--to", "torch", "--force").succeeded()
    charlm("import", exported, "-o", folder / f"{level}-back.safetensors", "--force").succeeded()
    back = _loaded(folder / f"{level}-back.safetensors")
    assert back.tokenizer.encode("café").tolist() == first.tokenizer.encode("café").tolist()


@pytest.mark.slow
def test_a_binary_file_is_learned_by_heart_and_printed_again(charlm, folder):
    data = b"\xef\xbb\xbf\0\r\n" + bytes(byte for byte in range(256) if byte != 10) + b"\r\n"
    (binary := folder / "binary").write_bytes(data)
    path = folder / "heart.safetensors"
    flags = ("--level", "byte", "--raw", "--unit", "stream", "--hidden-size", 128, "--num-layers", 1, "--dropout", 0)
    steps = ("--batch-size", 1, "--seq-length", 300, "--max-steps", 120, "--lr", 0.03, "--valid-fraction", 0)
    charlm("train", binary, "-o", path, *flags, *steps, "--seed", 1, "-q").succeeded()
    drawn = charlm("generate", path, "-l", len(data), "-t", 0, "--raw").succeeded()
    assert drawn.out.removesuffix(b"\n") == data
    score = charlm("score", path, binary, "--format", "jsonl").records
    assert sum(one["tokens"] for one in score) == len(data)
    assert "\r" in score[0]["text"]


def test_a_raw_model_reads_every_text_as_it_was_trained(charlm, folder):
    """Also what `score` does not read: prompts, lines that arrive, Kaldi's lists, and texts to inspect."""
    path = folder / "raw.safetensors"
    charlm("train", folder / "text.txt", "-o", path, "--level", "byte", "--raw", "--unit", "line", *STEPS).succeeded()
    data, given = b"\xef\xbb\xbfa\r\n", "\ufeffa\r"
    assert charlm("generate", path, "-p", "-", "-l", 0, stdin=data).succeeded().out == data
    assert charlm("next", path, "-p", "-", stdin=data).out == charlm("next", path, "-p", given).succeeded().out
    (followed,) = charlm("rank", path, "--follow", "--above", 0, "--format", "jsonl", stdin=data).succeeded().records
    assert followed["text"] == given
    (costs := folder / "costs").write_bytes(b"\xef\xbb\xbfu-1 1\r\n")
    kaldi = ("--input-format", "kaldi", "--score", costs, "--format", "jsonl")
    (best,) = charlm("rescore", path, *kaldi, stdin=b"u-1 a\r\n").succeeded().records
    assert best["text"] == "a\r"
    shown = charlm("inspect", path, "--activations", "-", "--unit", "0:0", "--format", "jsonl", stdin=data).succeeded()
    assert [one["token"] for one in shown.records] == ["<0xEF>", "<0xBB>", "<0xBF>", "a", "\r"]
    decays = [charlm("inspect", path, "--gradients", stdin=text).succeeded().out for text in (data * 9, b"a\n" * 9)]
    assert decays[0] != decays[1]


def test_what_does_not_fit_is_refused_by_name(charlm, model, folder):
    cloze = folder / "cloze.safetensors"
    text = folder / "text.txt"
    charlm("train", text, "-o", cloze, "--bidirectional", "--level", "byte", *STEPS, "--force").succeeded()
    charlm("fill", cloze, stdin=b"a ___\n").failed(2, "--level byte")
    assert charlm("score", cloze, text).code == 0
    charlm("train", text, "-o", folder / "no", "--level", "byte", "--vocab-size", 300).failed(2, "--level byte")
    charlm("train", text, "-o", folder / "no", "--raw").failed(2, "--level byte")
    charlm("generate", model("char"), "--raw").failed(2, "--level char")
    charlm("generate", model("byte"), "-p", "\udcff").failed(2, "--raw")
    charlm("next", model("byte"), "-p", "\udcff").succeeded()
    assert charlm("generate", model("byte"), "-p", "\udcff", "--raw").out.startswith(b"\xff")


def test_vocab_counts_bytes(charlm):
    rows = charlm("vocab", "-", "--level", "byte", "--format", "jsonl", stdin="aéa\n".encode()).records
    assert rows == [
        {"token": "a", "id": 98, "count": 2},
        {"token": "<0xA9>", "id": 170, "count": 1},
        {"token": "<0xC3>", "id": 196, "count": 1},
    ]


@needs_pieces
def test_vocab_counts_pieces(charlm, folder):
    rows = charlm("vocab", folder / "text.txt", "--level", "subword", "--vocab-size", 300, "--format", "jsonl").records
    assert "▁the" in {one["token"] for one in rows}
    assert sum(one["count"] for one in rows) > 100
    charlm("vocab", folder / "text.txt", "--level", "subword", "--vocab-size", 30).failed(2, "300 or more")


@needs_pieces
def test_without_sentencepiece_a_model_says_what_to_install(charlm, model, monkeypatch):
    from charlm.text.tokens.subword import pieces_of

    path = model("subword")
    pieces_of.cache_clear()
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    charlm("score", path, stdin=b"a\n").failed(6, "pip install 'charlm-rnn[subword]'")

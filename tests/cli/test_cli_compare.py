"""`charlm compare`: several models on the same text."""

import pytest

import charlm as library
from charlm.checkpoint import save
from tests.task_models import task_model


def test_a_table_with_the_best_first(charlm, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained.folder)
    lines = charlm("compare", "word.safetensors", "char.safetensors", "--on", trained.names).succeeded().lines
    assert lines[0].endswith("s.e.  difference to best (95 %)")
    assert [line.split()[0] for line in lines[1:]] == ["char.safetensors", "word.safetensors"]
    assert lines[1].endswith("  .") and " to +" in lines[2]
    figure = lines[1].split()[3]
    assert lines[0].index("bits/char") + len("bits/char") == lines[1].index(figure) + len(figure)


def test_records_are_those_of_the_library(charlm, trained):
    records = charlm("compare", trained.char, trained.word, "--on", trained.names, "--format", "jsonl").records
    models = {str(path): library.load(path) for path in (trained.char, trained.word)}
    found = library.compare(models, trained.names.read_text().splitlines())
    assert [one["model"] for one in records] == [one.name for one in found]
    for record, one in zip(records, found, strict=True):
        assert record == {
            "model": one.name,
            "level": one.level,
            "parameters": one.parameters,
            "tokens": one.tokens,
            "oov": one.oov,
            "bits_per_char": one.bits_per_char,
            "standard_error": one.standard_error,
            "difference": one.difference,
            "low": one.low,
            "high": one.high,
        }
    tsv = charlm("compare", trained.char, trained.word, "--on", trained.names, "--format", "tsv").lines
    assert tsv[0].split("\t") == list(records[0])


def test_unknown_tokens_are_told(charlm, trained):
    result = charlm("compare", trained.word, "--on", trained.names).succeeded()
    assert "tokens are <UNK>, and cost their spelling" in result.err


def test_a_model_twice_is_two_rows_without_a_difference(charlm, trained):
    first, second = charlm(
        "compare", trained.char, trained.char, "--format", "jsonl", stdin=trained.names.read_bytes()
    ).records
    assert second["model"] == f"{first['model']} (2)"
    assert (second["difference"], second["low"], second["high"]) == (0, 0, 0)


def test_cloze_models_are_named_as_such(charlm, tmp_path):
    save(tmp_path / "c.safetensors", task_model("cloze-char"))
    command = ("compare", tmp_path / "c.safetensors", "--on", "-")
    assert "pseudo_bits_per_char" in charlm(*command, "--format", "jsonl", stdin=b"abc\nca\n").records[0]
    assert "pseudo-bits/char" in charlm(*command, stdin=b"abc\nca\n").lines[0]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [(b"", 3, ("empty", "at least one line")), (b"\n", 0, ())],
)
def test_a_text_without_characters(charlm, trained, text, code, words):
    """The end of an empty line is predicted, and counts as a character."""
    result = charlm("compare", trained.char, stdin=text)
    assert result.code == code
    assert all(word in result.err for word in words)


def test_what_is_no_language_model_is_refused(charlm, tmp_path, trained):
    save(tmp_path / "t.safetensors", task_model("tag"))
    charlm("compare", trained.char, tmp_path / "t.safetensors", stdin=b"a\n").failed(2, "charlm compare", "task tag")
    charlm("compare", stdin=b"a\n").failed(2, "MODEL")

"""The command with corpora that are kept on the disk: nothing but the disk tells them from others."""

import shlex

import pytest

from tests.cli.shell import run
from tests.cli.test_cli_resume import SMALL, broken_off, text_of
from tests.stored import keep_on_disk


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(text_of(300))
    return path


def test_a_stream_from_the_disk_makes_the_same_model(charlm, monkeypatch, corpus, tmp_path):
    flags = ("train", corpus, *SMALL, "--unit", "stream", "--max-steps", 30)
    kept, stored = tmp_path / "kept.safetensors", tmp_path / "stored.safetensors"
    said = charlm(*flags, "-o", kept).succeeded()
    keep_on_disk(monkeypatch, tmp_path / "cache")
    for _ in range(2):  # encoded, and found
        again = charlm(*flags, "-o", stored, "--force").succeeded()
        assert stored.read_bytes() == kept.read_bytes()
        assert again.err.splitlines()[0] == said.err.splitlines()[0]
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.thinned(2)
@pytest.mark.parametrize(  # every pair of them
    ("level", "held_out", "unit"),
    [("char", False, "line"), ("char", True, "stream"), ("word", True, "line"), ("word", False, "stream")],
)
def test_a_training_is_resumed_from_the_disk(charlm, monkeypatch, corpus, cache, tmp_path, unit, held_out, level):
    flags = [*SMALL, "--unit", unit, "--max-steps", 100, "--level", level]
    if held_out:
        (tmp_path / "held_out.txt").write_text(text_of(40))
        flags += ["--valid", tmp_path / "held_out.txt"]
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    charlm("train", corpus, "-o", whole, *flags).succeeded()
    assert len(list(cache.iterdir())) == 1 + held_out
    command = broken_off(charlm, monkeypatch, corpus, "-o", broken, *flags, after=33)
    for path in cache.iterdir():
        path.unlink()  # a cache may be emptied at any time
    charlm(*shlex.split(command)[1:]).succeeded()
    assert broken.read_bytes() == whole.read_bytes()
    corpus.write_text(text_of(300).replace("a", "b", 1))
    charlm(*shlex.split(command)[1:]).failed(2, "the corpus is not the one")


def test_a_line_that_changes_sides_is_another_corpus(charlm, corpus, cache, tmp_path):
    held_out, model = tmp_path / "held_out.txt", tmp_path / "model.safetensors"
    held_out.write_text("abc\n")
    charlm("train", corpus, "-o", model, *SMALL, "--max-steps", 3, "--valid", held_out).succeeded()
    again = ("train", corpus, "-o", model, "--valid", held_out, "--resume", "--max-steps", 4, "--keep-checkpoint")
    charlm(*again).succeeded()
    corpus.write_text(corpus.read_text() + "abc\n")
    held_out.write_text("")
    charlm(*again).failed(2, "the corpus is not the one")


def test_a_cache_that_cannot_be_written_is_done_without(charlm, monkeypatch, corpus, cache, tmp_path):
    """The training is the same one, and its checkpoint is that of the text: it goes on with a cache, too."""
    (tmp_path / "file").write_bytes(b"")
    with_cache, without = tmp_path / "with.safetensors", tmp_path / "without.safetensors"
    charlm("train", corpus, "-o", with_cache, *SMALL, "--max-steps", 3).succeeded()
    for limit in (3, 5):
        monkeypatch.setenv("CHARLM_CACHE", str(tmp_path / "file"))
        further = ["--resume", "--keep-checkpoint"] if limit > 3 else SMALL
        charlm("train", corpus, "-o", without, *further, "--max-steps", limit).succeeded()
        monkeypatch.setenv("CHARLM_CACHE", str(cache))
        if limit > 3:
            charlm("train", corpus, "-o", with_cache, *further, "--max-steps", limit).succeeded()
        assert without.read_bytes() == with_cache.read_bytes()


def test_the_place_of_what_is_refused(charlm, corpus, cache, tmp_path):
    corpus.write_bytes(corpus.read_bytes() + b"ab\xff\n")
    message = f"byte 0xff is not UTF-8, {corpus} line 301"
    charlm("train", corpus, "-o", tmp_path / "model.safetensors", *SMALL).failed(3, message)
    charlm("vocab", corpus).failed(3, message)


def test_small_corpora_touch_no_disk(corpus, tmp_path):
    """In a process of its own, in which nothing is changed but where the cache would be."""
    cache = tmp_path / "cache"
    run("train", corpus, "-o", tmp_path / "m", *SMALL, "--max-steps", 2, CHARLM_CACHE=str(cache)).succeeded()
    assert not cache.exists()

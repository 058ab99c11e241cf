"""`charlm train`: what it writes, what it repeats, what it refuses, and what a mistake must not harm."""

import gzip
import json
import os
import re

import numpy as np
import pytest
from safetensors import safe_open

from charlm.config import CELL_NAMES, TextConfig
from charlm.settings import CorpusSize, chosen
from charlm.task import task_of
from charlm.training.setbacks import MOST_SETBACKS
from tests.cli.shell import files_of, run

TINY = (
    "--keep-checkpoint",
    "--hidden-size",
    4,
    "--num-layers",
    1,
    "--max-steps",
    4,
    "--batch-size",
    4,
    "--seq-length",
    8,
)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("".join(f"{a}{b}{a}\n" for a in "abcd" for b in "efg"))
    return path


@pytest.fixture
def model(tmp_path):
    return tmp_path / "model.safetensors"


def checkpoint_of(model):
    return model.with_name(model.name.replace(".safetensors", ".ckpt.safetensors"))


def weights_of(path):
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def header_of(path):
    with safe_open(path, framework="np") as file:
        return json.loads(file.metadata()["charlm"])


# ---- what it writes


def test_a_model_and_its_checkpoint_are_written_and_nothing_else(charlm, corpus, tmp_path):
    result = charlm("train", corpus, "-o", tmp_path / "m.safetensors", *TINY).succeeded()
    assert set(files_of(tmp_path)) == {"corpus.txt", "m.safetensors", "m.ckpt.safetensors"}
    assert result.out == b""
    assert re.search(r"^step 4/4 .* train \d\.\d+ .* valid \d\.\d+", result.err, re.MULTILINE)
    model = tmp_path / "m.safetensors"
    assert f"wrote {model}\n" in result.err
    end = result.err.splitlines()[-1]
    assert re.fullmatch(rf"best .* at step \d of 4, .*; letters alone .*\. Now: charlm generate {model} -n 10", end)


def test_the_suffix_is_added(charlm, corpus, tmp_path):
    charlm("train", corpus, "-o", tmp_path / "dir.v2", *TINY).succeeded()
    assert {"dir.v2.safetensors", "dir.v2.ckpt.safetensors"} < set(files_of(tmp_path))


def test_the_flags_are_in_the_model(charlm, corpus, model):
    flags = ["--cell", "gru", "--reset", "before", "--dense", 5, "--dense", 6, "--embedding-size", 3, "--dropout", 0.1]
    flags += ["--unit", "stream", "--dtype", "float64", "--schedule", "constant", "--optimizer", "sgd", "--lr", 0.1]
    flags += ["--clip", 1, "--vocab-size", 5, "--min-count", 2, "--patience", 3, "--lowercase", "--seed", 9]
    flags += ["--normalize", "nfkc"]
    charlm("train", corpus, "-o", model, *TINY, *flags).succeeded()
    header = header_of(model)
    network, training, text = header["model"], header["train"], header["text"]
    assert (network["cell"], network["reset"], network["dense"]) == ("gru", "before", [5, 6])
    assert (network["embedding_size"], network["dropout"], network["dtype"]) == (3, 0.1, "float64")
    assert (text["unit"], text["level"], text["lowercase"]) == ("stream", "char", True)
    assert text["normalize"] == "nfkc"
    assert (training["schedule"], training["optimizer"], training["learning_rate"]) == ("constant", "sgd", 0.1)
    assert (training["clip"], training["vocab_size"], training["min_count"]) == (1, 5, 2)
    assert (training["patience"], training["seed"], training["max_steps"]) == (3, 9, 4)
    assert len(header["vocabulary"]) == network["vocabulary_size"] == 7
    assert {array.dtype for array in weights_of(model).values()} == {np.dtype("float64")}


def test_the_defaults_are_those_of_the_contract_and_of_the_corpus(charlm, corpus, model):
    done = charlm("train", corpus, "-o", model, "--max-steps", 1, "--seed", 1).succeeded()
    header = header_of(model)
    network, training = header["model"], header["train"]
    text = {"level": "char", "unit": "line", "split": "punct", "lowercase": False, "normalize": "nfc"}
    assert header["text"] == text
    assert (network["cell"], network["dense"], network["tie_weights"]) == ("lstm", [], False)
    assert (network["relevance_gate"], network["dtype"], training["vocab_size"]) == (False, "float32", None)
    assert (training["optimizer"], training["schedule"], training["clip"]) == ("adam", "cosine", 5.0)
    task, tokens = task_of("lm"), sum(len(line) + 1 for line in corpus.read_text().splitlines())
    size = CorpusSize(tokens, len(header["vocabulary"]))
    expected = chosen(task, TextConfig(**text), size, {"max_steps": 1})
    assert expected.items() <= {**network, **training}.items()
    for value in (expected["hidden_size"], expected["batch_size"], f"{expected['learning_rate']:g}"):
        assert re.search(rf"^settings from the corpus: .*\b{re.escape(str(value))}\b", done.err, re.MULTILINE)


def test_settings_that_have_no_effect_are_not_named(charlm, corpus, model):
    """Nothing is held out beside a file of held-out text; and without any setting there is no line."""
    sizes = (
        "--unit",
        "line",
        "--hidden-size",
        4,
        "--num-layers",
        1,
        "--embedding-size",
        0,
        "--dropout",
        0,
        "--lr",
        0.01,
    )
    given = (*sizes, "--batch-size", 4, "--seq-length", 8, "--max-steps", 1, "--min-count", 1)
    done = charlm("train", corpus, "-o", model, *given, "--valid", corpus).succeeded()
    assert "settings from the corpus" not in done.err
    done = charlm("train", corpus, "-o", model, *given, "--force").succeeded()
    assert re.search(r"^settings from the corpus: \d+% held out$", done.err, re.MULTILINE)


def test_without_a_limit_the_epochs_follow_from_the_corpus(charlm, corpus, model):
    without_limit = ("--hidden-size", 4, "--num-layers", 1, "--batch-size", 64)
    charlm("train", corpus, "-o", model, *without_limit).succeeded()
    header = header_of(model)
    assert header["history"][-1]["epoch"] == header["train"]["epochs"] > 1


@pytest.mark.thinned(2)
@pytest.mark.parametrize("level", ["char", "word"])
@pytest.mark.parametrize("unit", ["line", "stream"])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_every_cell_learns_and_is_read_again(charlm, corpus, model, cell, unit, level):
    flags = ("--cell", cell, "--unit", unit, "--level", level, "--valid-fraction", 0.2)
    charlm("train", corpus, "-o", model, *TINY, *flags).succeeded()
    assert charlm("generate", model, "-l", 5, "--seed", 1).succeeded().out.endswith(b"\n")
    assert len(charlm("score", model, corpus).succeeded().lines) == 13


def test_a_small_corpus_shrinks_the_batches_with_a_warning(charlm, corpus, model):
    result = charlm("train", corpus, "-o", model, "--hidden-size", 4, "--max-steps", 2).succeeded()
    assert "charlm: warning: the corpus is small" in result.err


def test_a_held_out_file(charlm, corpus, model, tmp_path):
    held_out = tmp_path / "held-out.txt"
    held_out.write_text("aea\nxxx\n")
    result = charlm("train", corpus, "-o", model, *TINY, "--valid", held_out).succeeded()
    assert "8 held out" in result.err
    assert "valid" in result.err
    assert header_of(model)["history"][-1]["valid_nats"] is not None
    assert "x" not in header_of(model)["vocabulary"]


def test_nothing_held_out(charlm, corpus, model):
    result = charlm("train", corpus, "-o", model, *TINY, "--valid-fraction", 0).succeeded()
    assert " 0 held out" in result.err
    assert header_of(model)["history"][-1]["valid_nats"] is None


def test_starting_from_another_model(charlm, corpus, model, tmp_path):
    charlm("train", corpus, "-o", model, *TINY, "--seed", 1, "--valid-fraction", 0).succeeded()
    again = tmp_path / "again.safetensors"
    flags = (*TINY, "--init-from", model, "--lr", 1e-9, "--seed", 2, "--valid-fraction", 0)
    result = charlm("train", corpus, "-o", again, *flags).succeeded()
    assert "9 of 9 tokens matched" in result.err
    for name, array in weights_of(model).items():
        np.testing.assert_allclose(weights_of(again)[name], array, atol=1e-6)


def test_minutes_become_a_number_of_steps_that_repeats_the_run(charlm, corpus, tmp_path):
    timed, counted = tmp_path / "timed.safetensors", tmp_path / "counted.safetensors"
    flags = ("--hidden-size", 4, "--num-layers", 1, "--seed", 5, "--valid-fraction", 0)
    result = charlm("train", corpus, "-o", timed, *flags, "--minutes", 0.005).succeeded()
    (line,) = [line for line in result.err.splitlines() if "minutes are" in line]
    steps = int(line.rpartition("--max-steps ")[2])
    assert steps >= 1
    assert f"step {steps:,}/{steps:,} " in result.err
    charlm("train", corpus, "-o", counted, *flags, "--max-steps", steps).succeeded()
    for name, array in weights_of(counted).items():
        np.testing.assert_array_equal(array, weights_of(timed)[name])


# ---- what it repeats


def both_files(model):
    return model.read_bytes(), checkpoint_of(model).read_bytes()


def test_the_same_seed_gives_the_same_bytes(corpus, tmp_path):
    written = []
    for number, hash_seed in enumerate(["0", "1", "random"]):
        model = tmp_path / f"{number}.safetensors"
        flags = (*TINY, "--level", "word", "--dropout", 0.2, "--seed", 7)
        result = run("train", corpus, "-o", model, *flags, PYTHONHASHSEED=hash_seed).succeeded()
        assert not result.err.startswith("seed")
        written.append(both_files(model))
    assert written[0] == written[1] == written[2]


def test_another_seed_gives_another_model(charlm, corpus, tmp_path):
    for seed in (1, 2):
        charlm("train", corpus, "-o", tmp_path / f"{seed}.safetensors", *TINY, "--seed", seed).succeeded()
    one, two = (weights_of(tmp_path / f"{seed}.safetensors") for seed in (1, 2))
    assert any(not np.array_equal(one[name], two[name]) for name in one)


def test_a_chosen_seed_is_printed_and_repeats_the_run(charlm, corpus, tmp_path):
    first, again, other = (tmp_path / f"{name}.safetensors" for name in ("first", "again", "other"))
    result = charlm("train", corpus, "-o", first, *TINY).succeeded()
    seed = re.search(r"^seed (\d+)$", result.err, re.MULTILINE)[1]
    charlm("train", corpus, "-o", again, *TINY, "--seed", seed).succeeded()
    assert both_files(again) == both_files(first)
    assert f"seed {seed}\n" not in charlm("train", corpus, "-o", other, *TINY).succeeded().err


def test_the_same_text_gives_the_same_bytes_wherever_it_comes_from(charlm, corpus, tmp_path):
    text = corpus.read_bytes()
    lines = text.splitlines(keepends=True)
    pressed, dos, begin, end = (tmp_path / name for name in ("c.gz", "dos.txt", "begin.txt", "end.txt"))
    pressed.write_bytes(gzip.compress(text, mtime=0))
    dos.write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    begin.write_bytes(b"".join(lines[:5])[:-1])  # without its last newline
    end.write_bytes(b"".join(lines[5:]))
    written = []
    for number, (files, stdin) in enumerate(
        [([corpus], b""), ([pressed], b""), ([dos], b""), ([begin, end], b""), (["-"], text), ([begin, "-"], text[20:])]
    ):
        model = tmp_path / f"{number}.safetensors"
        charlm("train", *files, "-o", model, *TINY, "--seed", 1, stdin=stdin).succeeded()
        # The model file has the names of its files, so the files differ in their headers alone.
        header = {key: value for key, value in header_of(model).items() if key not in ("run", "sha256")}
        written.append((header, {name: array.tobytes() for name, array in weights_of(model).items()}))
    assert written == [written[0]] * 6


# ---- what it refuses


def test_a_model_is_not_overwritten_without_force(charlm, corpus, model, tmp_path):
    charlm("train", corpus, "-o", model, *TINY, "--seed", 1).succeeded()
    before = files_of(tmp_path)
    result = charlm("train", corpus, "-o", model, *TINY, "--seed", 2).failed(2, str(model))
    assert "--force" in result.err.splitlines()[-1] and "--resume" in result.err.splitlines()[-1]
    charlm("train", corpus, "-o", model.with_suffix(""), *TINY, "--seed", 2).failed(2)
    assert files_of(tmp_path) == before
    charlm("train", corpus, "-o", model, *TINY, "--seed", 2, "--force").succeeded()
    assert files_of(tmp_path)["model.safetensors"] != before["model.safetensors"]


def test_nor_is_a_checkpoint(charlm, corpus, model, tmp_path):
    charlm("train", corpus, "-o", model, *TINY).succeeded()
    model.unlink()
    before = files_of(tmp_path)
    charlm("train", corpus, "-o", model, *TINY).failed(2, str(checkpoint_of(model)))
    assert files_of(tmp_path) == before


BAD_CORPORA = {
    "empty": b"",
    "newlines": b"\n\n\n",
    "binary": b"abc\0def\n" * 20,
    "latin1": "caf\xe9\n".encode("latin1") * 20,
    "utf16": "abcdef\n".encode("utf-16") * 20,
    "utf32": "abcdef\n".encode("utf-32") * 20,
    "mark": b"\xef\xbb\xbf",
    "broken.gz": gzip.compress(b"abcdefgh\n" * 1000, mtime=0)[:-20],
    "empty.gz": gzip.compress(b"", mtime=0),
}


def test_one_character_is_a_corpus(charlm, tmp_path, model):
    corpus = tmp_path / "one.txt"
    corpus.write_bytes(b"a")
    result = charlm("train", corpus, "-o", model, *TINY, "--seed", 1).succeeded()
    assert "the corpus is small: batches of 1 x 2 tokens" in result.err
    assert model.exists()


@pytest.mark.parametrize("name", [*BAD_CORPORA, "missing", "directory"])
def test_a_bad_corpus(charlm, tmp_path, model, name):
    path = tmp_path / name
    if name == "directory":
        path.mkdir()
    elif name != "missing":
        path.write_bytes(BAD_CORPORA[name])
    before = files_of(tmp_path)
    result = charlm("train", path, "-o", model, *TINY, "--seed", 1).failed(3)
    assert result.out == b""
    assert files_of(tmp_path) == before


def test_a_bad_corpus_among_others_is_named_with_its_line(charlm, corpus, tmp_path, model):
    wrong = tmp_path / "wrong.txt"
    wrong.write_bytes(b"one\ntwo\nth\xffree\n")
    charlm("train", corpus, wrong, "-o", model, *TINY).failed(3, str(wrong), "line 3", "0xff", "offset 10")


@pytest.mark.parametrize("name", ["missing", "empty", "latin1"])
def test_a_bad_held_out_file(charlm, corpus, tmp_path, model, name):
    path = tmp_path / name
    if name != "missing":
        path.write_bytes(BAD_CORPORA[name])
    before = files_of(tmp_path)
    charlm("train", corpus, "-o", model, *TINY, "--valid", path, "--seed", 1).failed(3)
    assert files_of(tmp_path) == before


def test_words_without_a_word(charlm, tmp_path, model):
    path = tmp_path / "blank.txt"
    path.write_text("  \n \t \n")
    charlm("train", path, "-o", model, *TINY, "--level", "word").failed(3)
    charlm("train", path, "-o", model, *TINY, "--level", "word", "--split", "whitespace").failed(3)


def test_no_token_is_common_enough(charlm, corpus, model):
    charlm("train", corpus, "-o", model, *TINY, "--min-count", 1000).failed(3, "--min-count")


OUT_OF_RANGE = {
    "--hidden-size": [0, -1, 1 << 40, "x", 1.5],
    "--num-layers": [0, 1000],
    "--embedding-size": [-1],
    "--dense": [0],
    "--dropout": [-0.1, 1, "nan"],
    "--softmax": ["sampled"],
    "--seq-length": [0],
    "--batch-size": [0],
    "--epochs": [0, -3],
    "--max-steps": [0],
    "--minutes": [0, -1, "nan", "inf"],
    "--lr": [0, -1, "nan", "inf"],
    "--clip": [-1, "nan"],
    "--valid-fraction": [-0.1, 1, "nan"],
    "--patience": [0],
    "--vocab-size": [0],
    "--min-count": [0],
    "--seed": [-1, 1 << 70],
    "--threads": [0],
    "--cell": ["transformer"],
    "--level": ["syllable"],
    "--unit": ["page"],
    "--optimizer": ["lion"],
    "--schedule": ["linear"],
    "--dtype": ["float16"],
    "--device": ["tpu"],
}


@pytest.mark.parametrize(
    ("flag", "value"), [(flag, value) for flag, values in OUT_OF_RANGE.items() for value in values]
)
def test_a_flag_out_of_range_is_refused_before_anything_is_read(charlm, tmp_path, model, flag, value):
    charlm("train", tmp_path / "no-such-corpus", "-o", model, f"{flag}={value}").failed(2, flag)
    assert files_of(tmp_path) == {}


@pytest.mark.parametrize(
    "flags",
    [
        ("--tie-weights", "--embedding-size", 64, "--hidden-size", 32),
        ("--tie-weights", "--embedding-size", 128, "--dense", 64),
        ("--relevance-gate", "--cell", "gru"),
        ("--cutoffs", 5),
        ("--softmax", "adaptive", "--task", "tag"),
        ("--cutoffs", 9, "--cutoffs", 5, "--softmax", "adaptive"),
        ("--activation", "relu", "--cell", "lstm"),
        ("--reset", "before", "--cell", "lstm"),
    ],
)
def test_flags_that_do_not_fit_together_are_refused_before_anything_is_read(charlm, tmp_path, model, flags):
    charlm("train", tmp_path / "no-such-corpus", "-o", model, *flags).failed(2, flags[0])
    assert files_of(tmp_path) == {}


def test_a_folder_that_is_missing_is_told_before_anything_is_read(charlm, tmp_path):
    target = tmp_path / "missing" / "model.safetensors"
    charlm("train", tmp_path / "no-such-corpus", "-o", target, *TINY).failed(6, str(target))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_is_not_to_be_written_is_told_before_anything_is_read(charlm, tmp_path):
    tmp_path.chmod(0o555)
    charlm("train", tmp_path / "no-such-corpus", "-o", tmp_path / "model", *TINY).failed(6, str(tmp_path))


def test_a_folder_in_the_place_of_the_model_is_told_before_training(charlm, corpus, model):
    model.mkdir()
    result = charlm("train", corpus, "-o", model, *TINY, "--force")
    assert result.code in (2, 6)
    result.failed(result.code, str(model))
    assert "step" not in result.err


def test_what_does_not_fit_into_memory(charlm, corpus, model):
    charlm("train", corpus, "-o", model, *TINY, "--hidden-size", 1 << 20).failed(6, "memory", "--hidden-size")


def test_training_that_leaves_the_finite_numbers(charlm, corpus, model):
    flags = ("--optimizer", "sgd", "--lr", 1e9, "--clip", 0, "--cell", "gru")
    flags += ("--schedule", "constant", "--max-steps", 100_000)
    run("train", corpus, "-o", model, *TINY, "--seed", 1).succeeded()
    before = model.read_bytes()
    result = run("train", corpus, "-o", model, *TINY, *flags, "--seed", 1, "--force").failed(5, "--lr")
    assert "step 2" in result.err
    assert result.err.count("continuing from the best weights so far, at half the learning rate") == MOST_SETBACKS
    assert model.read_bytes() == before, "nothing was validated that could take its place"


def test_a_failed_command_leaves_an_existing_model_as_it_was(charlm, corpus, model, tmp_path):
    charlm("train", corpus, "-o", model, *TINY, "--seed", 1).succeeded()
    empty, other = tmp_path / "empty.txt", tmp_path / "other.txt"
    empty.write_bytes(b"")
    other.write_text(corpus.read_text().replace("aea", "aeb"))
    before = files_of(tmp_path)
    for code, args in (
        (2, [corpus]),
        (3, [tmp_path / "missing", "--force"]),
        (3, [empty, "--force"]),
        (3, [corpus, "--force", "--valid", tmp_path / "missing"]),
        (2, [corpus, "--force", "--hidden-size", 0]),
        (2, [corpus, "--force", "--tie-weights", "--embedding-size", 3]),
        (2, [corpus, "--force", "--bogus"]),
        (4, [corpus, "--force", "--init-from", tmp_path / "missing"]),
        (4, [corpus, "--force", "--init-from", corpus]),
        (6, [corpus, "--force", "--hidden-size", 1 << 20]),
        (2, [other, "--resume"]),
        (2, [corpus, "--resume", "--cell", "rnn"]),
        (2, [corpus, "--resume", "--hidden-size", 0]),
        (3, [tmp_path / "missing", "--resume"]),
    ):
        charlm("train", *TINY[:-4], *args, "-o", model).failed(code)
        assert files_of(tmp_path) == before, args
    for code, args in (
        (2, ["generate", model, "-t", -1]),
        (3, ["score", model, tmp_path / "missing"]),
        (3, ["evaluate", model, empty]),
        (2, ["inspect", model, "--bogus"]),
    ):
        charlm(*args).failed(code)
        assert files_of(tmp_path) == before, args

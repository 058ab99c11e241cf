"""Taggers that read words by their characters: `--char-features` from the corpus to the predictions."""

import json

import numpy as np
import pytest

from charlm import api, checkpoint, load
from charlm.errors import ModelFileError, UsageError
from charlm.exchange.blocks import ONNX
from charlm.exchange.network import form_of
from tests.cli.conftest import TINY
from tests.task_models import task_model
from tests.test_checkpoint import not_refused, parts_of, rewrite, set_field, set_key

# The ending decides, which shapes of unknown words do not show.
STEMS = ("ba", "do", "ki", "mu", "pe", "ra", "to", "wi")
TRAIN = "".join(f"{stem}{x}n\tN\nthe\tD\n{stem}{x}v\tV\n\n" for stem in STEMS for x in "aeiou")
HELD = "zoxn\tN\nthe\tD\nfuxv\tV\n\n"
FLAGS = ("--task", "tag", "--char-features", 6, "--embedding-size", 5, "--min-count", 2, "--seed", 2, "--threads", 1)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spelled")
    (folder / "train.tsv").write_text(TRAIN)
    (folder / "held.tsv").write_text(HELD)
    return folder


@pytest.fixture
def speller(charlm, files):
    path = files / "speller.safetensors"
    if not path.exists():
        flags = (*FLAGS, *TINY, "--max-steps", 90, "--no-checkpoint")
        charlm("train", files / "train.tsv", "-o", path, *flags).succeeded()
    return path


def test_unknown_words_are_read_by_their_own_characters(charlm, files, speller):
    """Two words that are one to the vocabulary have different tags."""
    ids = load(speller).tokenizer.encode_tokens(["zoxn", "fuxv"])
    assert ids[0] == ids[1]
    rows = charlm("predict", speller, "-", "--format", "jsonl", stdin=b"zoxn the fuxv\n").succeeded().records
    assert rows[0]["prediction"] == ["N", "D", "V"] and min(rows[0]["prob"]) > 0.5


def test_every_way_of_predicting_reads_the_same(charlm, files, speller):
    (files / "lines.tsv").write_text("id\tsentence\n1\tzoxn the fuxv\n")
    record = charlm("evaluate", speller, files / "held.tsv", "--format", "jsonl").succeeded().records[0]
    assert record["accuracy"] == 1.0 and record["tokens"] == 3
    columns = charlm("predict", speller, files / "held.tsv", "--columns").succeeded().lines
    assert [line.split("\t")[:2] for line in columns[:3]] == [["zoxn", "N"], ["the", "D"], ["fuxv", "V"]]
    table = charlm("predict", speller, files / "lines.tsv", "--field", "sentence", "--format", "jsonl").succeeded()
    assert table.records[0]["prediction"] == ["N", "D", "V"]
    (predicted,) = api.predict(load(speller), ["zoxn the fuxv"])
    assert predicted.prediction == ["N", "D", "V"]


def test_the_model_file_has_the_characters(charlm, files, speller):
    header = json.loads(parts_of(speller)[0]["__metadata__"]["charlm"])
    assert header["characters"][0] == "n" or set("nvt") <= set(header["characters"])
    assert header["model"]["characters"] == len(header["characters"]) and header["model"]["char_features"] == 6
    shown = charlm("inspect", speller).succeeded().out.decode()
    assert "embedding of 5 and 6 features of characters from each side" in shown
    command = charlm("inspect", speller, "--command").succeeded().out.decode()
    assert "--char-features 6" in command and "--characters" not in command


def test_a_model_without_has_no_trace_of_it(charlm, files, tmp_path):
    flags = ("--task", "tag", "--seed", 2, "--threads", 1, *TINY, "--max-steps", 1, "--char-features", 0)
    charlm("train", files / "train.tsv", "-o", tmp_path / "m", *flags).succeeded()
    text = parts_of(tmp_path / "m.safetensors")[0]["__metadata__"]["charlm"]
    assert "char_features" not in text and "characters" not in text
    assert "--char" not in charlm("inspect", tmp_path / "m", "--command").succeeded().out.decode()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), ("--task lm with --char-features", "--task tag")),
        (("--task", "classify"), ("--task classify with --char-features", "--task tag")),
        (("--task", "tag", "--embedding-size", 0), ("--char-features 6 without an embedding", "--embedding-size N")),
    ],
)
def test_where_it_has_no_meaning_it_is_refused(charlm, files, tmp_path, flags, words):
    charlm("train", files / "train.tsv", "-o", tmp_path / "m", "--char-features", 6, *flags).failed(2, *words)


def test_no_other_program_reads_it(charlm, speller, tmp_path):
    torch = ("-o", tmp_path / "x.safetensors", "--to", "torch")
    charlm("export", speller, *torch).failed(2, "torch.nn reads words by their ids", "--char-features")
    with pytest.raises(UsageError, match="ONNX reads words by their ids"):
        form_of(load(speller).model.config, ONNX, "ONNX")


def test_activations_are_those_of_the_layers_above(charlm, speller):
    shown = charlm("inspect", speller, "--activations", "-", "--format", "jsonl", stdin=b"zoxn fuxv\n").succeeded()
    assert shown.records


@pytest.mark.slow
def test_threads_do_not_change_the_bytes(charlm, files, tmp_path):
    for threads in (1, 2):
        more = ("--dropout", 0.3, "--max-steps", 4, "--threads", threads)
        charlm("train", files / "train.tsv", "-o", tmp_path / f"{threads}", *FLAGS, *TINY, *more).succeeded()
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()


def test_characters_start_from_those_of_the_same_name(charlm, files, speller, tmp_path):
    (tmp_path / "other.tsv").write_text("uzv\tV\nzun\tN\n\n" * 9)
    flags = (*FLAGS, *TINY, "--max-steps", 1, "--lr", 1e-9, "--init-from", speller)
    done = charlm("train", tmp_path / "other.tsv", "-o", tmp_path / "two", *flags).succeeded()
    assert "of 2 characters" in done.err
    one, two = (load(path) for path in (speller, tmp_path / "two.safetensors"))
    name = "input.characters.input.E"
    E = [model.model.parameters.value(name) for model in (one, two)]
    assert set(two.codec.characters) == {"u", "z"}
    rows = [0, 1 + one.codec.characters.index("u")]
    np.testing.assert_allclose(E[1][[0, 1 + two.codec.characters.index("u")]], E[0][rows], atol=1e-6)
    plain = task_model("tag", embedding_size=5, hidden_size=8, num_layers=1)
    checkpoint.save(tmp_path / "plain.safetensors", plain)
    flags = (*FLAGS, *TINY, "--init-from", tmp_path / "plain")
    charlm("train", tmp_path / "other.tsv", "-o", tmp_path / "no", *flags).failed(2, "char features is 0, not 6")


def test_vectors_start_the_words_alone(charlm, files, tmp_path):
    (tmp_path / "glove.txt").write_text("the 1 2.5 -3\n")
    flags = ("--task", "tag", "--char-features", 3, "--seed", 1, *TINY, "--max-steps", 1, "--lr", 1e-12)
    vectors = ("--vectors", tmp_path / "glove.txt")
    charlm("train", files / "train.tsv", "-o", tmp_path / "m", *flags, *vectors).succeeded()
    model = load(tmp_path / "m.safetensors")
    table = model.model.parameters.value("input.E")
    np.testing.assert_allclose(table[model.tokenizer.vocabulary.ids["the"]], [1, 2.5, -3], atol=1e-6)


def test_characters_that_do_not_fit_are_refused(speller, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(speller.read_bytes())
    changes = {
        "missing": lambda ours: ours.pop("characters"),
        "null": set_key("characters", None),
        "text": set_key("characters", "abc"),
        "one more": lambda ours: ours["characters"].append("ß"),
        "one fewer": lambda ours: ours["characters"].pop(),
        "doubled": lambda ours: ours["characters"].__setitem__(0, ours["characters"][1]),
        "two in one": lambda ours: ours["characters"].__setitem__(0, "ab"),
        "a number": lambda ours: ours["characters"].__setitem__(0, 3),
        "more of the network": set_field("model", "characters", 99),
        "features of the network": set_field("model", "char_features", 7),
        "no features": set_field("model", "char_features", 0),
        "no embedding": set_field("model", "embedding_size", 0),
        "another task": set_field("model", "task", "classify"),
    }
    assert not not_refused(path, changes)
    path.write_bytes(speller.read_bytes())
    load(path)
    with pytest.raises(ModelFileError, match="characters"):
        rewrite(path, lambda ours: (ours["model"].pop("char_features"), ours["model"].pop("characters")))
        load(path)

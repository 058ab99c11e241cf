"""`charlm evaluate`, `inspect` and `vocab`: the figures of a text, of a model and of a corpus."""

import json
import math
import os
from collections import Counter

import pytest

from charlm import load
from charlm.inference.scoring import Scorer

# ---- evaluate

FIGURES = [
    "tokens",
    "oov",
    "nats_per_token",
    "perplexity",
    "perplexity_without_oov",
    "accuracy",
    "bits_per_char",
    "bits_per_byte",
    "tokens_per_second",
]
TEXT = "Raton\nsau\u00e9\n\nTri\N{SNOWMAN}ce\n"


def evaluation(charlm, path, text=TEXT, *flags):
    data = text if isinstance(text, bytes) else text.encode()
    (record,) = charlm("evaluate", path, "--format", "jsonl", *flags, stdin=data).succeeded().records
    return record


def test_the_figures_of_lines_are_the_sums_of_their_scores(charlm, trained):
    record = evaluation(charlm, trained.char)
    assert list(record) == FIGURES
    lines = TEXT.split("\n")[:-1]
    scores = list(Scorer(load(trained.char)).score(lines))
    nats, tokens = sum(score.nats for score in scores), sum(score.tokens for score in scores)
    assert (record["tokens"], record["oov"]) == (tokens, 2)
    assert record["nats_per_token"] == pytest.approx(nats / tokens, rel=1e-5)
    assert record["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-5)
    known = nats - sum(score.oov_nats for score in scores)
    assert record["perplexity_without_oov"] == pytest.approx(math.exp(known / (tokens - 2)), rel=1e-5)
    assert record["bits_per_char"] == pytest.approx(nats / math.log(2) / len(TEXT), rel=1e-5)
    assert record["bits_per_byte"] == pytest.approx(nats / math.log(2) / len(TEXT.encode()), rel=1e-5)
    assert record["tokens_per_second"] > 0


def test_the_figures_of_a_stream_are_those_of_one_text(charlm, trained):
    lines = trained.sentences.read_text().split("\n")[:3]
    record = evaluation(charlm, trained.stream, "".join(f"{line}\n" for line in lines), "--batch-size", 1)
    scores = list(Scorer(load(trained.stream), carry_state=True).score(lines))
    tokens = sum(score.tokens for score in scores)
    assert record["tokens"] == tokens
    assert record["nats_per_token"] == pytest.approx(sum(score.nats for score in scores) / tokens, rel=1e-5)


@pytest.mark.parametrize("name", ["char", "stream", "word"])
def test_the_size_of_a_batch_hardly_matters(charlm, trained, name):
    text = (trained.sentences if name != "char" else trained.names).read_text()
    records = [evaluation(charlm, getattr(trained, name), text, "--batch-size", size) for size in (1, 7, 64)]
    for record in records:
        assert record["tokens"] == records[0]["tokens"]
        assert record["nats_per_token"] == pytest.approx(records[0]["nats_per_token"], rel=1e-4)


def test_words_are_counted_as_words_and_characters_as_characters(charlm, trained):
    record = evaluation(charlm, trained.word, "the cat sees it.\n")
    assert record["tokens"] == 6
    ratio = record["nats_per_token"] / math.log(2) / record["bits_per_char"]
    assert ratio == pytest.approx(len("the cat sees it.\n") / 6, rel=1e-9)


def test_evaluate_prints_text_and_tsv(charlm, trained):
    text = charlm("evaluate", trained.char, stdin=TEXT.encode()).succeeded()
    assert [line.split()[0] for line in text.lines] == FIGURES
    assert text.err == ""
    header, row = charlm("evaluate", trained.char, "--format", "tsv", stdin=TEXT.encode()).succeeded().lines
    assert header.split("\t") == FIGURES
    assert len(row.split("\t")) == len(FIGURES)


def test_evaluate_reads_files(charlm, trained, tmp_path):
    whole = evaluation(charlm, trained.char)
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text(TEXT[:6])
    two.write_text(TEXT[6:])
    (record,) = charlm("evaluate", trained.char, one, two, "--format", "jsonl").succeeded().records
    assert record["tokens"] == whole["tokens"]
    assert record["nats_per_token"] == pytest.approx(whole["nats_per_token"], rel=1e-6)
    charlm("evaluate", trained.char, tmp_path / "missing").failed(3, "missing")


@pytest.mark.parametrize("text", ["", "\n", "?\n", b"\xff\n"])
def test_evaluate_of_next_to_nothing_is_strict_json_too(charlm, trained, text):
    if not text:
        assert charlm("evaluate", trained.char, stdin=b"").failed(3).out == b""
        return
    record = evaluation(charlm, trained.char, text)
    assert record["tokens"] == len(text)
    assert record["bits_per_byte"] > 0


def test_of_unknown_words_alone_there_is_still_the_end(charlm, trained):
    record = evaluation(charlm, trained.word, "zebra\n")
    assert (record["tokens"], record["oov"]) == (2, 1)
    (score,) = Scorer(load(trained.word)).score(["zebra"])
    assert record["perplexity_without_oov"] == pytest.approx(math.exp(score.nats - score.oov_nats), rel=1e-5)


# ---- inspect


@pytest.mark.parametrize("name", ["char", "stream", "word"])
def test_inspect_as_a_record(charlm, trained, name):
    (record,) = charlm("inspect", getattr(trained, name), "--format", "jsonl").succeeded().records
    assert {"config", "parameters", "vocabulary_size", "history"} <= set(record)
    lm = load(getattr(trained, name))
    config = record["config"]
    assert (config["hidden_size"], config["num_layers"], config["seed"]) == (8, 1, 1)
    assert config["cell"] == lm.model.config.cell
    assert (config["unit"], config["level"]) == (lm.text.unit, lm.text.level)
    assert (config["max_steps"], config["learning_rate"]) == (40, 0.02)
    assert record["parameters"] == lm.model.parameters.count
    assert record["vocabulary_size"] == len(lm.tokenizer.vocabulary)
    assert record["history"] == lm.history
    assert record["history"][-1]["step"] == 40
    assert set(record["history"][-1]) >= {"step", "epoch", "train_nats", "valid_nats", "learning_rate"}


def test_inspect_as_text(charlm, trained):
    result = charlm("inspect", trained.char).succeeded()
    assert result.err == ""
    for part in (
        " lstm, 1 layer of 8, one-hot",
        "a sequence for each record",
        "seed 1",
        "parameters",
        "vocabulary",
        "head.W_y",
    ):
        assert part in result.text
    assert f"{load(trained.char).model.parameters.count:,}" in result.text


def test_inspect_draws_the_loss(charlm, trained):
    plain, plotted = (charlm("inspect", trained.char, *flags).succeeded().lines for flags in ([], ["--plot"]))
    assert plotted[: len(plain)] == plain
    chart = plotted[len(plain) :]
    assert len(chart) > 10
    drawing = [line.partition("|")[2] for line in chart if "|" in line]
    assert "".join(drawing).count("o") > 1 and "\N{MIDDLE DOT}" in "".join(drawing)
    assert drawing[0].strip() and drawing[-1].strip()
    assert all(len(line) <= 80 for line in chart)
    losses = [row["train_nats"] for row in load(trained.char).history]
    assert losses[0] > losses[-1]
    columns = [max(line.rfind("\N{MIDDLE DOT}"), line.rfind("o")) for line in drawing]
    assert columns[0] < columns[-1]  # high at the beginning, low at the end


def test_inspect_prints_the_vocabulary(charlm, trained):
    tokens = list(load(trained.word).tokenizer.vocabulary.tokens)
    assert charlm("inspect", trained.word, "--vocabulary").succeeded().lines == tokens
    assert tokens[:2] == ["<EOS>", "<UNK>"]


# ---- vocab


def test_vocab_counts_as_train_does(charlm, trained):
    text = trained.names.read_text()
    header, *rows = charlm("vocab", trained.names).succeeded().lines
    assert header == "token\tid\tcount"
    counts = Counter(text.replace("\n", ""))
    expected = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    assert rows == [f"{token}\t{number}\t{count}" for number, (token, count) in enumerate(expected, start=2)]


def test_vocab_has_the_flags_of_train(charlm, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.write_text("The cat, the dog. <unk> cat\n")

    def tokens(*flags):
        records = charlm("vocab", corpus, "--level", "word", "--format", "jsonl", *flags).succeeded().records
        assert all(set(record) == {"token", "id", "count"} for record in records)
        assert [record["id"] for record in records] == list(range(2, len(records) + 2))
        return {record["token"]: record["count"] for record in records}

    assert tokens() == {"cat": 2, ",": 1, ".": 1, "The": 1, "dog": 1, "the": 1}
    assert tokens("--lowercase", "--vocab-size", 2) == {"cat": 2, "the": 2}
    assert tokens("--split", "whitespace") == {"The": 1, "cat": 1, "cat,": 1, "dog.": 1, "the": 1}
    assert tokens("--min-count", 2) == {"cat": 2}


def test_vocab_reads_standard_input_and_several_files(charlm, tmp_path):
    (tmp_path / "one").write_text("ab")
    out = charlm("vocab", tmp_path / "one", "-", stdin=b"bc\n").succeeded().lines
    assert out[1:] == ["b\t2\t2", "a\t3\t1", "c\t4\t1"]


def test_vocab_keeps_its_fields_apart(charlm):
    out = charlm("vocab", "-", stdin=b"\\\t\r\x0b\n").succeeded().lines
    assert sorted(line.split("\t")[0] for line in out[1:]) == sorted(["\\\\", "\\t", "\\r", "\x0b"])
    assert all(line.count("\t") == 2 for line in out)


def test_coverage(charlm, tmp_path):
    corpus, other = tmp_path / "corpus", tmp_path / "other"
    corpus.write_text("a a b c\n")
    other.write_text("a b d d e\n")
    args = ("vocab", corpus, "--level", "word", "--coverage", other)
    (record,) = charlm(*args, "--format", "jsonl").succeeded().records
    assert (record["tokens"], record["oov"], record["oov_rate"]) == (5, 3, 0.6)
    assert (record["types"], record["oov_types"]) == (4, 2)
    (rare,) = charlm(*args, "--min-count", 2, "--format", "jsonl").succeeded().records
    assert (rare["oov"], rare["oov_types"]) == (4, 3)
    header, row = charlm(*args).succeeded().lines
    assert header.split("\t") == list(record) and row.split("\t")[:2] == ["5", "3"]
    twice = charlm(*args, "--coverage", other, "--format", "jsonl").succeeded().records
    assert twice[0]["tokens"] == 10


def test_vocab_of_a_wrong_corpus(charlm, tmp_path):
    charlm("vocab", tmp_path / "missing").failed(3)
    charlm("vocab", tmp_path).failed(3)
    charlm("vocab", "-", stdin=b"caf\xe9\n").failed(3)
    charlm("vocab", "-", "--vocab-size", 0, stdin=b"a\n").failed(2, "--vocab-size")


# ---- what is no model

NO_MODELS = {
    "empty": b"",
    "short": b"\x01",
    "text": b"Tyrannosaurus\nTriceratops\n" * 9,
    "json": b'{"cell": "lstm"}' * 9,
    "pickle": b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x07" * 9,
    "zip": b"PK\x03\x04" + b"\0" * 60,
    "hdf5": b"\x89HDF\r\n\x1a\n" + b"\0" * 60,
    "html": b"<!DOCTYPE html><html></html>" * 3,
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "gzip": b"\x1f\x8b\x08" + b"\0" * 60,
    "endless header": (1 << 62).to_bytes(8, "little") + b'{"a":1}' * 9,
    "empty header": (2).to_bytes(8, "little") + b"{}",
    "deep header": (100_000).to_bytes(8, "little") + b'{"a":' * 20_000,
    "not ours": (52).to_bytes(8, "little")
    + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'.ljust(52)[:51]
    + b"}\0\0\0\0",
}


@pytest.mark.parametrize("name", [*NO_MODELS, "missing", "directory", "truncated"])
def test_what_is_no_model_is_told(charlm, trained, tmp_path, name):
    path = tmp_path / f"{name}.safetensors"
    if name == "directory":
        path.mkdir()
    elif name == "truncated":
        path.write_bytes(trained.char.read_bytes()[:-1])
    elif name != "missing":
        path.write_bytes(NO_MODELS[name])
    for command in (["generate", "--seed", "1"], ["score"], ["evaluate"], ["inspect"]):
        assert charlm(command[0], path, *command[1:], stdin=b"abc\n").failed(4, str(path)).out == b""
    if name == "pickle":
        assert "pickle" in charlm("inspect", path).err


def test_a_damaged_model_is_told_or_read(charlm, trained, tmp_path):
    """A hundred bytes, one at a time: a model of ours, or an error of ours, and nothing else."""
    whole = trained.char.read_bytes()
    path = tmp_path / "damaged.safetensors"
    codes = Counter()
    for at in range(0, len(whole), max(1, len(whole) // 100)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        result = charlm("score", path, "--format", "jsonl", stdin=b"Ra\n")
        codes[result.code] += 1
        if result.code:
            result.failed(4)
            assert result.out == b""
        else:
            assert len(result.records) == 1
    assert codes[4] > 5


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("model", {"hidden_size": 9}),
        ("model", {"hidden_size": 10**12}),
        ("model", {"num_layers": 99}),
        ("model", {"cell": "transformer"}),
        ("model", {"dropout": "x"}),
        ("model", {"dropout": None}),
        ("model", {"dtype": "float64"}),
        ("model", {"dense": 3}),
        ("model", {"dense": [[]]}),
        ("model", {"surprise": 1}),
        ("text", {"level": "byte"}),
        ("train", {"batch_size": "many"}),
        ("", {"version": 99}),
        ("", {"version": "1"}),
        ("", {"format": "other"}),
        ("", {"vocabulary": ["<EOS>", "<UNK>"]}),
        ("", {"vocabulary": 7}),
        ("", {"history": 7}),
        ("", {"model": []}),
        ("", {"kind": 3}),
    ],
)
def test_a_header_that_does_not_hold_is_told(charlm, trained, tmp_path, part, changes):
    from safetensors.numpy import load_file, save_file

    whole = trained.char.read_bytes()
    header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["__metadata__"]["charlm"]
    ours = json.loads(header)
    (ours[part] if part else ours).update(changes)
    path = tmp_path / "edited.safetensors"
    save_file(load_file(trained.char), path, metadata={"charlm": json.dumps(ours)})
    assert charlm("inspect", path).failed(4, str(path)).out == b""
    assert charlm("score", path, stdin=b"Ra\n").failed(4, str(path)).out == b""


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_model_that_may_not_be_read_is_told(charlm, trained, tmp_path):
    path = tmp_path / "secret.safetensors"
    path.write_bytes(trained.char.read_bytes())
    path.chmod(0)
    charlm("inspect", path).failed(4, str(path))

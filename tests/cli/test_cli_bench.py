"""`charlm bench`: records of what was asked for, in each format, and refusals."""

import pytest

from charlm.backends import get_backend

SIZES = ("--hidden-size", 8, "--num-layers", 1, "--batch-size", 4, "--seq-length", 6)
QUICK = (*SIZES, "--seconds", 0.01, "--repeats", 1, "--threads", 1)
KEYS = {
    "case", "core", "cell", "hidden_size", "num_layers", "embedding_size", "vocabulary_size", "batch_size",
    "seq_length", "dtype", "threads", "tokens_per_second", "peak_share", "peak_gflops", "seconds",
}  # fmt: skip


def test_json_has_a_record_for_each_case(charlm):
    records = charlm("bench", "--format", "jsonl", *QUICK).succeeded().records
    assert [record["case"] for record in records] == ["train", "generate", "score", "start"]
    for record in records:
        assert set(record) == KEYS
        assert record["tokens_per_second"] > 0
        assert (record["hidden_size"], record["vocabulary_size"], record["threads"]) == (8, 65, 1)
        assert record["core"] == get_backend("cpu").core
    for record in records[:3]:
        assert 0 < record["peak_share"] < 1.2 and record["peak_gflops"] > 0 and record["seconds"] is None
    assert records[3]["peak_share"] is None and records[3]["seconds"] > 0


@pytest.mark.slow
def test_tsv_has_the_same_columns_and_leaves_cells_empty(charlm):
    head, start = charlm("bench", "start", "--format", "tsv", *QUICK).succeeded().lines
    row = dict(zip(head.split("\t"), start.split("\t"), strict=True))
    assert set(row) == KEYS and row["peak_share"] == "" and float(row["seconds"]) > 0


def test_text_says_the_sizes_and_the_case(charlm):
    network, machine, train = charlm("bench", "train", "--cell", "gru", *QUICK).succeeded().lines
    assert network.startswith("network   gru 1 x 8, vocabulary 65, one-hot, float32")
    assert machine.startswith(f"machine   core {get_backend('cpu').core}, threads 1") and "GFLOP/s" in machine
    assert train.startswith("train") and "tokens/s" in train and "peak share 0." in train


def test_flags_of_the_model_count(charlm):
    flags = ("--level", "word", "--vocab-size", 30, "--embedding-size", 4, "--dtype", "float64", "--cell", "rnn")
    (record,) = charlm("bench", "generate", "--format", "jsonl", *flags, *QUICK).succeeded().records
    wanted = {"vocabulary_size": 30, "embedding_size": 4, "dtype": "float64", "cell": "rnn", "batch_size": 1}
    assert {key: record[key] for key in wanted} == wanted


def test_a_text_of_ones_own(charlm, trained):
    (record,) = charlm("bench", "score", "--text", trained.names, "--format", "jsonl", *QUICK).succeeded().records
    assert 2 < record["vocabulary_size"] < 30


def test_pinned_processors_are_told(charlm, monkeypatch):
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert "warning" not in charlm("bench", "train", *QUICK).succeeded().err
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert "OPENBLAS_CORETYPE is set" in charlm("bench", "train", *QUICK).succeeded().err


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("walk",), 2, "walk"),
        (("train", "--hidden-size", 0), 2, "hidden"),
        (("train", "--vocab-size", 2), 2, "--vocab-size"),
        (("train", "--seconds", 0), 2, "--seconds"),
        (("train", "--text", "missing.txt"), 3, "no such file"),
        (("train", "--tie-weights"), 2, "tie"),
    ],
)
def test_refusals(charlm, flags, code, words):
    charlm("bench", *flags).failed(code, words)

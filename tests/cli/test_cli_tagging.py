"""Taggers of entities on the command line: CoNLL files as they are, and the figures of entities."""

import numpy as np
import pytest

from charlm import checkpoint, load
from tests.cli.conftest import TINY
from tests.task_models import parameter, task_model

SENTENCES = (("In", "O"), ("Tampa", "B-LOC"), ("Bay", "I-LOC")), (("Ann", "B-PER"), ("likes", "O"), ("Rome", "B-LOC"))


def conll(sentence):
    rows = (f"{number}\t{word}\t{tag}\t-\n" for number, (word, tag) in enumerate(sentence, 1))
    return "# text = " + " ".join(word for word, _ in sentence) + "\n" + "".join(rows) + "\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conll")
    (folder / "train.conll").write_text("".join(map(conll, SENTENCES * 12)))
    (folder / "test.conll").write_text("".join(map(conll, SENTENCES)))
    (folder / "plain.tsv").write_text("".join("".join(f"{w}\t{t}\n" for w, t in one) + "\n" for one in SENTENCES))
    checkpoint.save(folder / "lm.safetensors", task_model("lm"))
    return folder


@pytest.fixture
def tagger(charlm, files):
    path = files / "ner.safetensors"
    if not path.exists():
        columns = ("--token-column", 2, "--tag-column", 3)
        flags = (*TINY, "--embedding-size", 8, "--seed", 1, "--no-checkpoint")
        charlm("train", files / "train.conll", "-o", path, "--task", "tag", *columns, *flags).succeeded()
    return path


def test_a_conll_file_is_read_as_it_is(charlm, files, tagger):
    text = load(tagger).text
    assert (text.token_column, text.tag_column) == ("2", "3")
    record = charlm("evaluate", tagger, files / "test.conll", "--format", "jsonl").succeeded().records[0]
    assert (record["sentences"], record["tokens"]) == (2, 6)
    other = charlm("evaluate", tagger, files / "plain.tsv", "--token-column", 1, "--tag-column", 2, "--format", "jsonl")
    assert other.succeeded().records[0] == record
    charlm("evaluate", tagger, files / "plain.tsv").failed(3, "2 columns, but --tag-column is 3")


def test_evaluate_prints_the_figures_of_entities(charlm, files, tagger):
    record = charlm("evaluate", tagger, files / "test.conll", "--format", "jsonl").succeeded().records[0]
    assert [(row["type"], row["entities"]) for row in record["by_type"]] == [("LOC", 2), ("PER", 1)]
    assert {"precision", "recall", "f1", "accuracy"} < set(record)
    lines = charlm("evaluate", tagger, files / "test.conll").succeeded().lines
    row = record["by_type"][0]
    shown = "  ".join(f"{name} {row[name]:.4f}" for name in ("precision", "recall", "f1"))
    assert f"LOC (2)  {shown}" in lines
    header = charlm("evaluate", tagger, files / "test.conll", "--format", "tsv").succeeded().lines[0]
    assert header.split("\t")[-3:] == ["precision", "recall", "f1"]


def test_predict_reads_a_column_and_prints_word_and_tag(charlm, files, tagger):
    lines = charlm("predict", tagger, files / "test.conll", "--columns").succeeded().lines
    assert lines[0] == "# text = In Tampa Bay" and [line.split("\t")[0] for line in lines[1:5]] == [
        "In",
        "Tampa",
        "Bay",
        "",
    ]
    again = charlm("predict", tagger, files / "plain.tsv", "--token-column", 1).succeeded().lines
    assert again == [line for line in lines if not line.startswith("# ")]


def test_columns_are_for_tags(charlm, files):
    for flags, words in (
        (("--token-column", 2, "--tag-column", 3), "--token-column with --task lm"),
        (("--task", "tag", "--token-column", 2), "--tag-column is missing"),
    ):
        charlm("train", files / "test.conll", "-o", files / "no", *flags).failed(2, words)
    for command in ("predict", "evaluate"):
        charlm(command, files / "lm", files / "test.conll", "--token-column", 2).failed(2)


def test_the_command_that_repeats_the_training_has_the_columns(charlm, files, tagger):
    command = charlm("inspect", tagger, "--command").succeeded().out.decode()
    assert "--token-column 2 --tag-column 3 --tag-scheme iob2" in command
    assert "--tag" not in charlm("inspect", files / "lm", "--command").succeeded().out.decode()


def test_a_chain_learns_is_read_again_and_is_not_exported(charlm, files, tmp_path):
    flags = ("--task", "tag", "--token-column", 2, "--tag-column", 3, "--crf", "--seed", 1, *TINY)
    path = tmp_path / "crf"
    charlm("train", files / "train.conll", "-o", path, *flags).succeeded()
    assert load(tmp_path / "crf.safetensors").model.config.crf
    record = charlm("evaluate", path, files / "test.conll", "--format", "jsonl").succeeded().records[0]
    assert record["f1"] == record["accuracy"] == 1.0
    rows = charlm("predict", path, files / "test.conll", "--columns", "--format", "jsonl").succeeded().records
    assert [row["prediction"] for row in rows[1:4]] == ["O", "B-LOC", "I-LOC"]
    assert all(0.5 < row["prob"] <= 1 for row in rows if row["prob"] is not None)
    charlm("export", path, "-o", tmp_path / "other.safetensors", "--to", "torch").failed(2, "--crf")
    assert "--crf" in charlm("inspect", path, "--command").succeeded().out.decode()
    shown = charlm("inspect", path).succeeded().out.decode()
    assert "a chain of tags" in shown and "tokens in column 2 and tags in column 3" in shown


def test_a_chain_starts_from_another_one_by_the_names_of_its_tags(charlm, files, tmp_path):
    (tmp_path / "other.tsv").write_text("In\tO\nBern\tB-LOC\n\nAnn\tB-ORG\nspoke\tO\n" * 9)
    flags = ("--task", "tag", "--crf", "--seed", 1, *TINY, "--max-steps", 1, "--lr", 1e-9)
    first = ("--token-column", 2, "--tag-column", 3)
    charlm("train", files / "train.conll", "-o", tmp_path / "one", *flags[:-4], *first).succeeded()
    columns = ("--token-column", 1, "--tag-column", 2, "--init-from", tmp_path / "one")
    charlm("train", tmp_path / "other.tsv", "-o", tmp_path / "two", *flags, *columns).succeeded()
    one, two = (load(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    A = [model.model.parameters.value("head.A") for model in (one, two)]
    ids = [[model.labels.index(tag) for tag in ("B-LOC", "O")] for model in (one, two)]
    np.testing.assert_allclose(*(table[np.ix_(at, at)] for table, at in zip(A, ids, strict=True)), atol=1e-6)
    assert A[0].any() and abs(A[1][two.labels.index("B-ORG")]).max() < 1e-6


def test_a_chain_is_for_tags(charlm, files):
    charlm("train", files / "test.conll", "-o", files / "no", "--crf").failed(2, "--task lm with --crf")


def test_the_command_stores_the_vectors_in_the_model(charlm, tmp_path):
    (tmp_path / "glove.txt").write_text("the 1 2.5 -3e-1\ncat 4 5 6\n")
    (tmp_path / "tags.tsv").write_text("the\tD\ncat\tN\nsits\tV\n\n" * 12)
    path, flags = tmp_path / "m.safetensors", ("--task", "tag", "--seed", 1, *TINY, "--max-steps", 1, "--lr", 1e-12)
    vectors = ("--vectors", tmp_path / "glove.txt")
    done = charlm("train", tmp_path / "tags.tsv", "-o", path, *flags, *vectors).succeeded()
    assert "vectors for 2 of 3 tokens" in done.err
    model = load(path)
    assert model.model.config.embedding_size == 3 and model.run.vectors == str(tmp_path / "glove.txt")
    table, ids = parameter(model, "input.E"), model.tokenizer.vocabulary.ids
    np.testing.assert_allclose(table[ids["cat"]], [4, 5, 6], atol=1e-6)
    assert f"--vectors {tmp_path / 'glove.txt'}" in charlm("inspect", path, "--command").succeeded().out.decode()
    again = charlm("train", tmp_path / "tags.tsv", "-o", path, *flags, *vectors, "--force", "--embedding-size", 4)
    again.failed(2, "--embedding-size 4")
    checkpoint.save(tmp_path / "tag.safetensors", task_model("tag"))
    both = ("--init-from", tmp_path / "tag", *vectors)
    charlm("train", tmp_path / "tags.tsv", "-o", tmp_path / "no", *flags, *both).failed(2, "--vectors with --init-from")

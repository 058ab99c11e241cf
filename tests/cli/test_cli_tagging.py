"""Taggers of entities on the command line: CoNLL files as they are, and the figures of entities."""

import pytest

from charlm import checkpoint, load
from tests.cli.conftest import TINY
from tests.task_models import task_model

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

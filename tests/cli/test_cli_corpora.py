"""Corpora of columns from the command line: what is refused, what is warned of, and columns of tags in each format."""

import pytest

from tests.task_models import TEXTS, saved

TINY = ("--hidden-size", 4, "--num-layers", 1, "--batch-size", 4, "--max-steps", 2, "--seed", 1, "-q")
GOOD = "".join(f"{label}\tthe {noun} was {label}\n" for noun in ("soup", "cook", "room") for label in ("good", "bad"))
SWAPPED = "".join(f"text {n}\t{n % 2}\n" for n in range(20))
OF_TRAINING = ("the corpus is small", "the model has hardly learned")  # of any training as tiny as these
TASKS = {
    "classify": ("--task", "classify"),
    "condition": ("--condition",),
    "music": ("--task", "music", "--condition"),
    "tag": ("--task", "tag"),
    "translate": ("--task", "translate"),
    "lm": (),
    "cloze": ("--bidirectional",),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("corpora"))


def trained(charlm, tmp_path, text, task, *flags):
    (tmp_path / "corpus").write_text(text)
    return charlm("train", tmp_path / "corpus", "-o", tmp_path / "m", "--force", *TINY, *TASKS[task], *flags)


@pytest.mark.parametrize(
    ("task", "text", "name"),
    [
        ("classify", "good\ta\ngood\tb\ngood\tc\n", "label"),
        ("condition", "good\ta\ngood\tb\ngood\tc\n", "label"),
        ("classify", "1\ta\n", "label"),
        ("music", "jig\t60\njig\t62 -\n", "genre"),
        ("tag", "the\tX\n\ncat\tX\n", "tag"),
    ],
)
def test_a_single_class_is_refused(charlm, tmp_path, task, text, name):
    result = trained(charlm, tmp_path, text, task).failed(3, f"is the only {name}")
    assert result.err.splitlines()[1].startswith("hint: ")
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


@pytest.mark.parametrize(
    ("task", "text", "words"),
    [
        ("classify", SWAPPED, "the columns look swapped, label TAB text is expected"),
        ("condition", SWAPPED, "the columns look swapped"),
        ("tag", "".join(f"{'DN'[n % 2]}\tword{n}\n" for n in range(20)), "swapped, token TAB tag is expected"),
        ("classify", f"label\ttext\n{GOOD}", "looks like a header"),
        ("condition", f"label\ttext\n{GOOD}", "looks like a header"),
        ("translate", "source\ttarget\nthe cat\tle chat\n", "looks like a header"),
        ("classify", f"{GOOD}Good\tx\n", "the labels 'Good' and 'good' differ"),
        ("condition", f"{GOOD} good\tx\n", "the labels ' good' and 'good' differ"),
        ("cloze", "one line of a whole book\n", "the text is one line"),
        ("tag", "the\tP\ncat\tN\nit\tP\n", "one sentence: end each sentence with a blank line"),
        ("translate", "the cat\tle chat\n", "no part of it can be held out"),
    ],
)
def test_what_looks_wrong_is_warned_of_once_also_with_quiet(charlm, tmp_path, task, text, words):
    result = trained(charlm, tmp_path, text, task).succeeded()
    said = [line for line in result.err.splitlines() if not any(known in line for known in OF_TRAINING)]
    assert len([line for line in said if line.startswith("charlm: warning: ") and words in line]) == 1
    assert len(said) <= 2  # a corpus of sentences that end nowhere is also a single one
    assert result.out == b""


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("classify", GOOD),
        ("condition", GOOD),
        ("tag", TEXTS["tag"]),
        ("translate", TEXTS["translate"]),
        ("music", TEXTS["genre"]),
        ("lm", "two\nlines\n"),
    ],
)
def test_nothing_is_said_of_other_corpora(charlm, tmp_path, task, text):
    err = trained(charlm, tmp_path, text, task).succeeded().err
    assert [line for line in err.splitlines() if not any(known in line for known in OF_TRAINING)] == []


@pytest.mark.parametrize("end", ["", "\n"])
def test_one_line_that_is_to_be_a_record_is_advised_to_be_a_stream(charlm, tmp_path, end):
    text = f"one line of a whole book{end}"
    assert "--unit stream" in trained(charlm, tmp_path, text, "lm", "--unit", "line").succeeded().err
    assert "--unit stream" not in trained(charlm, tmp_path, text, "lm", "--force").succeeded().err


def test_a_stream_of_one_line_is_what_it_should_be(charlm, tmp_path):
    result = trained(charlm, tmp_path, "one line of a whole book " * 9, "lm", "--unit", "stream").succeeded()
    assert "one line" not in result.err


def test_a_header_among_the_pairs_is_told_of_when_they_are_evaluated(charlm, models):
    text = TEXTS["translate"].encode()
    assert charlm("evaluate", models.translate, stdin=text).succeeded().err == ""
    result = charlm("evaluate", models.translate, stdin=b"source\ttarget\n" + text).succeeded()
    assert result.err.count("looks like a header") == 1


def test_so_when_they_are_held_out(charlm, tmp_path):
    (tmp_path / "valid").write_text("source\ttarget\nthe cat\tle chat\n")
    result = trained(charlm, tmp_path, TEXTS["translate"], "translate", "--valid", tmp_path / "valid").succeeded()
    assert result.err.count("charlm: warning: held out: the first record looks like a header") == 1


# ---- predict is given a corpus


@pytest.mark.parametrize("kind", ["tag", "yes-no", "classify", "translate"])
@pytest.mark.parametrize("flags", [(), ("--format", "tsv"), ("--format", "jsonl"), ("--unbuffered",), ("-q",)])
def test_a_corpus_in_place_of_texts_is_warned_of(charlm, models, kind, flags):
    path, text = models.folder / f"{kind}.safetensors", TEXTS[kind].replace("what\tN", "it\tN").encode()
    result = charlm("predict", path, *flags, stdin=text).succeeded()
    (warning,) = result.err.splitlines()
    assert warning.startswith("charlm: warning: the lines ")
    assert ("--columns" if kind in ("tag", "yes-no") else "cut -f") in warning
    assert len(result.lines) == text.count(b"\n") + ("tsv" in flags)
    assert charlm("predict", path, *flags, stdin=text.replace(b"\t", b" ")).succeeded().err == ""


@pytest.mark.parametrize("command", [("evaluate",), ("train", "--valid")])
@pytest.mark.parametrize("lines", ["60\n\n", "60 61\n62\n64 60\n"])
def test_a_key_that_was_never_seen_has_its_file_and_line(charlm, models, tmp_path, command, lines):
    corpus, wrong = tmp_path / "corpus", tmp_path / "wrong"
    corpus.write_text("60 62\n64\n")
    wrong.write_text("60\n62 60,5\n60\n")
    if command[0] == "evaluate":
        result = charlm("evaluate", models.music, wrong)
    else:
        result = charlm("train", corpus, "-o", tmp_path / "m", *TINY, "--task", "music", "--valid", wrong)
    result.failed(3, "the key 5 was never seen in training", f"{wrong} line 2")


# ---- columns of tags

COLUMNS = b"# sent_id = 1\nthe\ncat\n \nsees\tV\n\n\nit\n"
PLACES = ["# sent_id = 1", "the", "cat", "", "sees", "", "", "it"]
TOKENS = {"the", "cat", "sees", "it"}


def test_columns_as_text(charlm, models):
    lines = charlm("predict", models.tag, "--columns", stdin=COLUMNS).succeeded().lines
    assert [line.split("\t")[0] for line in lines] == PLACES
    assert [line.count("\t") for line in lines] == [int(place in TOKENS) for place in PLACES]


def test_every_row_of_tsv_has_every_field(charlm, models):
    header, *rows = charlm("predict", models.tag, "--columns", "--format", "tsv", stdin=COLUMNS).succeeded().lines
    cells = [row.split("\t") for row in rows]
    assert header.split("\t") == ["text", "prediction", "prob"]
    assert [cell[0] for cell in cells] == PLACES and {len(cell) for cell in cells} == {3}
    assert [all(cell[1:]) for cell in cells] == [place in TOKENS for place in PLACES]
    tabs = charlm("predict", models.tag, "--columns", "--format", "tsv", stdin=b"# a\tb\n").succeeded().lines
    assert tabs[1:] == ["# a\\tb\t\t"]


def test_records_of_columns(charlm, models):
    records = charlm("predict", models.tag, "--columns", "--format", "jsonl", stdin=COLUMNS).succeeded().records
    assert [record["text"] for record in records] == PLACES
    assert [record["prediction"] is not None for record in records] == [place in TOKENS for place in PLACES]
    assert all((record["prob"] is None) == (record["prediction"] is None) for record in records)


@pytest.mark.parametrize("form", ["text", "tsv", "jsonl"])
@pytest.mark.parametrize("line", ["the DET", "1\tthe\tthe\tDET", "\tDET", "the DET\tx\ty"])
def test_other_columns_are_refused_with_file_and_line_after_what_is_before(charlm, models, tmp_path, form, line):
    path = tmp_path / "in.txt"
    path.write_text(f"the\ncat\n{line}\nit\n")
    result = charlm("predict", models.tag, "--columns", "--format", form, path).failed(3, f"{path} line 3")
    whole = charlm("predict", models.tag, "--columns", "--format", form, stdin=b"the\ncat\n").succeeded()
    assert result.out == whole.out


def test_train_and_evaluate_read_the_same_format(charlm, models, tmp_path):
    plain = "the\tP\ncat\tN\n\nit\tP\nsees\tV\n"
    same = "# newdoc\n# sent_id = 1\nthe\tP\ncat\tN\n \t\n# 2\nit\tP\nsees\tV\n  \n"
    results = []
    for text in (plain, same):
        trained(charlm, tmp_path, text, "tag").succeeded()
        figures = charlm("evaluate", models.tag, stdin=text.encode()).succeeded().out
        results.append(((tmp_path / "m.safetensors").read_bytes(), figures))
    assert results[0] == results[1]
    assert b"\t" not in results[0][1]

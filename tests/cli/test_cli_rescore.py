"""`charlm rescore`: lists in every form, the best hypotheses in every format, and weights found with references."""

import csv
import io
import json
from pathlib import Path

import pytest

from tests.task_models import saved

CORPORA = Path(__file__).resolve().parents[2] / "corpora"
COLUMNS = ("--id", 1, "--score", 3, "--text", 4)
LISTS = b"""u1\t1\t-4.1\tit cat it cat it, too.
u1\t2\t-4.3\tthe cat sees it, too.
u2\t1\t-9\tdog a like fish.
u2\t2\t-9.5\ta dog likes fish.
u2\t3\t-30\t
"""
REFERENCES = b"u1\tthe cat sees it, too.\nu2\ta dog likes fish.\n"
BEST = ["the cat sees it, too.", "a dog likes fish."]


@pytest.fixture
def lists(tmp_path):
    (tmp_path / "lists").write_bytes(LISTS)
    (tmp_path / "refs").write_bytes(REFERENCES)
    return tmp_path / "lists"


def lnp_of(charlm, model, texts):
    given = "".join(f"{text}\n" for text in texts).encode()
    found = charlm("score", model, "--log-base", "e", "--format", "jsonl", stdin=given).succeeded().records
    return [record["lnp"] for record in found]


def test_totals_are_the_formula_on_what_score_prints(charlm, trained, lists):
    weights = ("--lm-weight", 0.5, "--word-bonus", -2)
    result = charlm("rescore", trained.word, lists, *COLUMNS, *weights, "--all", "--format", "jsonl").succeeded()
    rows = [line.split("\t") for line in LISTS.decode().splitlines()]
    lnps = lnp_of(charlm, trained.word, [row[3] for row in rows])
    expected = [
        (row[0], row[1], row[2], row[3], len(row[3].split()), float(row[2]) + 0.5 * lnp - 2 * len(row[3].split()))
        for row, lnp in zip(rows, lnps, strict=True)
    ]
    expected.sort(key=lambda one: (one[0], -one[5]))
    assert len(result.records) == 5
    for record, (name, rank, score, text, words, total) in zip(result.records, expected, strict=True):
        assert list(record) == ["id", "column2", "score", "lnp", "words", "total", "text"]
        assert (record["id"], record["column2"], record["score"]) == (name, rank, score)
        assert (record["text"], record["words"]) == (text, words)
        assert record["total"] == pytest.approx(total, abs=1e-4)


def test_the_best_in_every_format(charlm, trained, lists):
    def of(*more):
        return charlm("rescore", trained.word, lists, *COLUMNS, "--lm-weight", 1, *more).succeeded().text

    header, *rows = [line.split("\t") for line in of().splitlines()]
    assert header == ["id", "column2", "score", "lnp", "words", "total", "text"]
    assert [(row[0], row[1], row[6]) for row in rows] == [("u1", "2", BEST[0]), ("u2", "2", BEST[1])]
    assert of("--no-header") == of().partition("\n")[2]
    table = list(csv.DictReader(io.StringIO(of("--format", "csv"))))
    assert [one["text"] for one in table] == BEST
    assert of("--format", "text") == "".join(f"{text}\n" for text in BEST)
    assert of("--format", "kaldi") == f"u1 {BEST[0]}\nu2 {BEST[1]}\n"
    kaldi = of("--format", "kaldi", "--all").splitlines()
    assert kaldi[:2] == [f"u1-2 {BEST[0]}", "u1-1 it cat it cat it, too."]
    assert sorted(line.split()[0] for line in kaldi) == ["u1-1", "u1-2", "u2-1", "u2-2", "u2-3"]
    assert "u2-3" in kaldi
    nbest = of("--format", "nbest").splitlines()
    assert nbest == [
        f"{row[0]} ||| {row[6]} ||| score= {float(row[2]):.4f} lnp= {row[3]} words= {row[4]} ||| {row[5]}"
        for row in rows
    ]


def test_kaldis_lists_and_costs(charlm, trained, tmp_path):
    """The id is no word, the smallest cost is the best, and the ids of all hypotheses come back."""
    rows = [line.split("\t") for line in LISTS.decode().splitlines()]
    (tmp_path / "text").write_text("".join(f"{u}-x-{n} {text}".rstrip() + "\n" for u, n, _, text in rows))
    (tmp_path / "cost").write_text("".join(f"{u}-x-{n} {-float(score)}\n" for u, n, score, _ in rows))
    kaldi = ("rescore", trained.word, tmp_path / "text", "--input-format", "kaldi", "--score", tmp_path / "cost")
    (tmp_path / "table").write_bytes(LISTS)
    table = ("rescore", trained.word, tmp_path / "table", *COLUMNS)
    for weights in (("--lm-weight", 0), ("--lm-weight", 1), ("--lm-weight", 0.3, "--word-bonus", 9)):
        ours, theirs = (
            charlm(*command, *weights, "--all", "--format", "jsonl").succeeded().records for command in (kaldi, table)
        )
        assert [one["text"] for one in ours] == [one["text"] for one in theirs]
        assert [(one["lnp"], one["words"], one["total"]) for one in ours] == [
            (one["lnp"], one["words"], one["total"]) for one in theirs
        ]
        assert [one["id"] for one in ours] == [f"{one['id']}-x-{one['column2']}" for one in theirs]
    assert charlm(*kaldi, "--format", "kaldi").succeeded().text == f"u1-x {BEST[0]}\nu2-x {BEST[1]}\n"
    everything = charlm(*kaldi, "--format", "kaldi", "--all").succeeded().lines
    assert sorted(line.split()[0] for line in everything) == sorted(f"{u}-x-{n}" for u, n, *_ in rows)
    (tmp_path / "table").write_text("".join(f"{u}-x-{n}\t{n}\t{-float(s)}\t{text}\n" for u, n, s, text in rows))
    same = charlm(*table, "--kaldi-ids", "--negate", "--format", "kaldi").succeeded().text
    assert same == f"u1-x {BEST[0]}\nu2-x {BEST[1]}\n"


def test_moses_lists_come_back_with_new_features(charlm, trained, tmp_path):
    (tmp_path / "moses").write_text(
        "0 ||| it cat it cat it, too. ||| LM0= -3 ||| -4.1\n0 ||| the cat sees it, too. ||| LM0= -2 ||| -4.3 ||| 0-0\n"
    )
    moses = ("rescore", trained.word, tmp_path / "moses", "--input-format", "nbest")
    first, second = charlm(*moses, "--format", "nbest", "--all").succeeded().lines
    (lnp,) = lnp_of(charlm, trained.word, BEST[:1])
    total = lnp - 4.3
    assert first == f"0 ||| {BEST[0]} ||| LM0= -2 score= -4.3000 lnp= {lnp:.4f} words= 5 ||| {total:.4f}"
    assert second.startswith("0 ||| it cat it cat it, too. ||| LM0= -3 score= -4.1000 ")
    (record,) = charlm(*moses, "--format", "jsonl").succeeded().records
    assert list(record) == ["id", "features", "score", "lnp", "words", "total", "text"]


def test_columns_of_csv_and_json_lines_go_through(charlm, trained, tmp_path):
    with (tmp_path / "l.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["utt", "note", "am", "words", "hyp"],
                ["1", 'a "b",\tc', "-1", "x", "the cat\nsees it"],
                ["1", "", "-2", "y", ""],
            ]
        )
    named = ("--id", "utt", "--score", "am", "--text", "hyp", "--all", "--lm-weight", 0)
    result = charlm("rescore", trained.word, tmp_path / "l.csv", *named, "--format", "csv").succeeded()
    assert "the input has a column 'words'" in result.err
    rows = list(csv.DictReader(io.StringIO(result.text)))
    assert [(r["utt"], r["note"], r["am"], r["input_words"], r["words"], r["text"]) for r in rows] == [
        ("1", 'a "b",\tc', "-1", "x", "4", "the cat\nsees it"),
        ("1", "", "-2", "y", "0", ""),
    ]
    lines = [
        {"utt": 1, "am": -1.5, "hyp": "the cat", "more": [1, None]},
        {"utt": 1, "am": "-1", "hyp": "a dog", "more": {}},
    ]
    given = "".join(json.dumps(one) + "\n" for one in lines).encode()
    options = ("--input-format", "jsonl", "--format", "jsonl")
    records = charlm("rescore", trained.word, *named, *options, stdin=given).succeeded().records
    assert [(one["utt"], one["am"], one["more"], one["text"]) for one in records] == [
        (1, "-1", {}, "a dog"),
        (1, -1.5, [1, None], "the cat"),
    ]


def test_tuned_weights_are_printed_and_can_be_typed_again(charlm, trained, lists):
    command = ("rescore", trained.word, lists, *COLUMNS)
    tuned = charlm(*command, "--tune", lists.parent / "refs").succeeded()
    words = tuned.err.split()
    assert words[0::2][:2] == ["lm-weight", "word-bonus"]
    assert tuned.err.endswith("WER 66.67 % -> 0.00 %  (2 utterances, oracle 0.00 %)\n")
    assert charlm(*command, "--lm-weight", words[1], "--word-bonus", words[3]).succeeded().out == tuned.out
    assert [line.split("\t")[-1] for line in tuned.lines[1:]] == BEST
    again = charlm(*command[:2], *COLUMNS, "--tune", lists.parent / "refs", "-q", stdin=LISTS).succeeded()
    assert (again.out, again.err) == (tuned.out, tuned.err)
    from_pipe = charlm(*command, "--tune", "-", stdin=REFERENCES.replace(b"\t", b" ")).succeeded()
    assert from_pipe.out == tuned.out


def test_utterances_that_cannot_be_tuned_on_are_named(charlm, trained, lists):
    refs = b"u1\tthe cat sees it, too.\nu7\tx\nu8\ty\n"
    result = charlm("rescore", trained.word, lists, *COLUMNS, "--tune", "-", stdin=refs).succeeded()
    warnings = [line for line in result.err.splitlines() if "warning" in line]
    assert warnings == [
        "charlm: warning: 1 utterance has no reference and cannot be tuned on; the first is 'u2'",
        "charlm: warning: 2 utterances have no hypotheses and cannot be tuned on; the first is 'u7'",
    ]
    assert len(result.lines) == 3


def test_the_lists_of_the_kitchen_are_read(charlm, trained):
    """60 lists of 12 hypotheses; without a language model, the first of each is the best."""
    test = CORPORA / "kitchen_nbest_test.tsv"
    result = charlm("rescore", trained.word, test, *COLUMNS, "--lm-weight", 0, "--format", "kaldi").succeeded()
    firsts = [line.split("\t") for line in test.read_text().splitlines() if "\t1\t" in line]
    assert result.lines == [f"{row[0]} {row[3]}" for row in firsts] and len(firsts) == 60


@pytest.mark.parametrize(
    ("arguments", "given", "code", "message", "hint"),
    [
        (COLUMNS[:4], LISTS, 2, "--text is missing", "--id 1 --score 3 --text 3"),
        ((), LISTS, 2, "--id is missing", "--input-format nbest"),
        ((*COLUMNS[:4], "--text", 9), LISTS, 2, "--text 9 with 4 columns", "from 1 to 4"),
        (("--id", 1, "--score", 1, "--text", 4), LISTS, 2, "are one column", "--score"),
        (("--id", 4, "--score", 3, "--text", 4), LISTS, 2, "--id 4 is the column of the text", "--id"),
        ((*COLUMNS, "--lm-weight", "nan"), LISTS, 2, "--lm-weight is nan", "--lm-weight 0.5"),
        ((*COLUMNS, "--tune", "-"), LISTS, 2, "two inputs are standard input", "name the file"),
        ((*COLUMNS, "--tune", "x", "--word-bonus", 1), LISTS, 2, "--word-bonus with --tune", "leave it out"),
        (("--input-format", "kaldi"), LISTS, 2, "--score is missing", "--score FILE"),
        (("--input-format", "kaldi", "--score", "-"), LISTS, 2, "two inputs are standard input", "name a file"),
        (("--input-format", "nbest", "--id", 1), LISTS, 2, "--id with --input-format nbest", "leave it out"),
        (("--input-format", "nbest"), LISTS, 3, "1 field instead of id |||", "--input-format tsv"),
        (COLUMNS, LISTS + LISTS, 3, "of 'u1' are not adjacent, standard input line 6", "sort -s -k1,1"),
        (COLUMNS, b"u\tr\tam\thyp\n" + LISTS, 3, "the score is 'am', which is not a number", "--id NAME"),
        (COLUMNS, LISTS + b"u3\t1\tnan\tx\n", 3, "the score nan is not finite, standard input line 6", "leave"),
        (COLUMNS, LISTS + b"\t1\t-1\tx\n", 3, "the id is empty, standard input line 6", "id"),
        (COLUMNS, LISTS + b"u3\t1\n", 3, "2 columns instead of 4, standard input line 6", "columns"),
        ((*COLUMNS, "--kaldi-ids"), LISTS, 3, "does not end with a number, standard input line 1", "utt-1"),
        ((*COLUMNS, "--tune", "/dev/null"), LISTS, 3, "no reference for 'u1'", "ids of the lists"),
        ((*COLUMNS, "--format", "kaldi"), b"a b\t1\t0\tx\n", 3, "the id 'a b' contains white space", "--format tsv"),
        ((*COLUMNS, "--format", "nbest"), b"a\t1\t0\tx ||| y\n", 3, "a field contains |||", "--format tsv"),
        ((*COLUMNS, "--class", "x"), LISTS, 2, "--class: this model was not trained with --condition", "--condition"),
    ],
)
def test_what_does_not_fit_is_refused(charlm, trained, arguments, given, code, message, hint):
    result = charlm("rescore", trained.word, *arguments, stdin=given)
    result.failed(code, message)
    assert hint in result.err.splitlines()[-1]


def test_labels_and_pseudo_probabilities(charlm, tmp_path):
    models = saved(tmp_path)
    given = b"u\t1\t0\tabc\n"
    (record,) = charlm(
        "rescore", models.conditioned, *COLUMNS, "--class", "y", "--format", "jsonl", stdin=given
    ).records
    (score,) = charlm("score", models.conditioned, "--log-base", "e", "--format", "jsonl", stdin=b"y\tabc\n").records
    assert record["lnp"] == pytest.approx(score["lnp"])
    charlm("rescore", models.conditioned, *COLUMNS, stdin=given).failed(2, "no class given")
    (record,) = charlm("rescore", models.cloze, *COLUMNS, "--format", "jsonl", stdin=b"u\t1\t0\tthe cat\n").records
    assert list(record)[3:] == ["pseudo_lnp", "words", "total", "text"]
    charlm("rescore", models.tag, *COLUMNS, stdin=given).failed(2, "does not work")

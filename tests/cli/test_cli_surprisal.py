"""`charlm surprisal`: items in, a row a word out, in the format of the items."""

import csv
import json
import re

import pytest

from charlm.config import TextConfig
from charlm.inference.words import written_words
from charlm.text import EOS, splitter_of
from tests import forms
from tests.cli import test_cli_tables as tables
from tests.cli.shell import on_terminal, started
from tests.cli.test_cli_tables import ODD, lines_of_the_corpora, rows_of
from tests.task_models import saved

COLUMNS = ["line", "position", "word", "surprisal", "entropy", "entropy_reduction", "rank", "tokens", "oov"]
ITEMS = [
    {"item": "1", "sentence": 'the cat sees | it, "too" | .', "list": "A,B"},
    {"item": "", "sentence": "she | likes | fish.", "list": "\\t"},
    {"item": "3", "sentence": "", "list": " "},
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("surprisal"))


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    folder = tmp_path_factory.mktemp("items")
    for name, between in (("items.csv", ","), ("items.tsv", "\t")):
        with (folder / name).open("w", newline="") as file:
            quoting = csv.QUOTE_MINIMAL if between == "," else csv.QUOTE_NONE
            writer = csv.DictWriter(
                file, list(ITEMS[0]), delimiter=between, quoting=quoting, quotechar='"' if between == "," else None
            )
            writer.writeheader()
            writer.writerows(ITEMS)
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ITEMS))
    return folder


def parsed(data, form):
    if form == "csv":
        return rows_of(data)
    lines = data.decode().split("\n")[:-1]
    if form == "jsonl":
        return [json.loads(line) for line in lines]
    return [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_a_table_comes_back_in_its_format_with_a_row_a_word(charlm, trained, items, form):
    args = ("surprisal", trained.word, items / f"items.{form}", "--field", "sentence")
    rows = parsed(charlm(*args).succeeded().out, form)
    assert list(rows[0]) == [*ITEMS[0], *COLUMNS]
    for number, item in enumerate(ITEMS, start=1):
        mine = [row for row in rows if int(row["line"]) == number]
        assert [{name: row[name] for name in item} for row in mine] == [item] * len(mine)
        assert [row["word"] for row in mine] == [*item["sentence"].split(), EOS]
        assert [int(row["position"]) for row in mine] == list(range(1, len(mine) + 1))
    # The format can be another one.
    other = "jsonl" if form == "csv" else "csv"
    again = parsed(charlm(*args, "--format", other).succeeded().out, other)
    assert [(row["item"], row["list"], row["word"]) for row in again] == [
        (row["item"], row["list"], row["word"]) for row in rows
    ]


@pytest.mark.parametrize("name", ["char", "word", "stream"])
def test_words_sum_to_the_score_of_the_line(charlm, trained, name):
    model, stdin = getattr(trained, name), trained.sentences.read_bytes()[:500] + b"\n\n  \nzzz qq, z\n"
    for flags in ((), ("--no-eos",), *([("--carry-state",)] if name == "stream" else [])):
        scores = charlm("score", model, "--log-base", 2, "--format", "jsonl", *flags, stdin=stdin).succeeded().records
        for per in ("word", "token"):
            rows = (
                charlm("surprisal", model, "--per", per, "--format", "jsonl", *flags, stdin=stdin).succeeded().records
            )
            sums = [0.0] * len(scores)
            for row in rows:
                sums[row["line"] - 1] += row["surprisal"]
            assert [-score["log2p"] for score in scores] == pytest.approx(sums, rel=0, abs=1e-6)


def test_the_tables_of_other_programs_are_columns(charlm, trained):
    """Those of neural-complexity's main.py --words, and of lm-zoo get-surprisals; by a header of their names or cut."""
    stdin = b"the cat sees it.\nshe likes fish.\n"
    whole = parsed(charlm("surprisal", trained.word, stdin=stdin).succeeded().out, "tsv")
    names = "word,sentid,sentpos,wlen,surp,entropy,entred"
    rows = parsed(charlm("surprisal", trained.word, "--columns", names, stdin=stdin).succeeded().out, "tsv")
    assert list(rows[0]) == names.split(",")
    for at, (row, one) in enumerate(zip(rows, whole, strict=True)):
        assert row["word"] == one["word"] and row["wlen"] == str(len(one["word"]))
        assert (int(row["sentid"]), int(row["sentpos"])) == (int(one["line"]) - 1, int(one["position"]) - 1)
        assert (row["surp"], row["entropy"]) == (one["surprisal"], one["entropy"])
        before = float(whole[at - 1]["entropy"]) - float(one["entropy"]) if one["position"] != "1" else 0.0
        assert float(row["entred"]) == pytest.approx(max(0.0, before), abs=2e-4)
    tokens = charlm("surprisal", trained.word, "--per", "token", stdin=stdin).succeeded().lines
    cut = ["\t".join(line.split("\t")[:4]) for line in tokens]
    assert cut[0] == "line\tposition\ttoken\tsurprisal"
    named = charlm(
        *("surprisal", trained.word, "--per", "token", "--columns", "sentence_id,token_id,token,surprisal"), stdin=stdin
    ).succeeded()
    assert named.lines == ["sentence_id\ttoken_id\ttoken\tsurprisal", *cut[1:]]


def test_columns_are_chosen_and_ordered(charlm, trained, items):
    args = ("surprisal", trained.word, items / "items.csv", "--field", "sentence", "--columns")
    whole = rows_of(charlm(*args[:-1]).succeeded().out)
    for form in ("csv", "jsonl"):
        rows = parsed(charlm(*args, "word, item,surprisal", "--format", form).succeeded().out, form)
        assert list(rows[0]) == ["word", "item", "surprisal"]
        assert [(row["word"], row["item"]) for row in rows] == [(row["word"], row["item"]) for row in whole]
    charlm(*args, "word,surprisl").failed(2, "no column is named 'surprisl'", "did you mean surprisal?")
    charlm(*args, "word,word").failed(2, "twice")
    charlm(*args, "token").failed(2, "'token'")
    charlm(*args, "").failed(2, "''")


def test_regions_are_rows_or_a_column(charlm, trained, items):
    args = ("surprisal", trained.word, items / "items.csv", "--field", "sentence", "--region", "|")
    rows = rows_of(charlm(*args).succeeded().out)
    assert list(rows[0]) == [*ITEMS[0], "line", "region_number", "region", *COLUMNS[3:]]
    assert [row["region"] for row in rows] == [
        *("the cat sees", 'it, "too"', ".", EOS, "she", "likes", "fish.", EOS, "", EOS)
    ]
    assert [row["region_number"] for row in rows] == list("1234123412")
    assert rows[0]["sentence"] == ITEMS[0]["sentence"]
    words = rows_of(charlm(*args, "--per", "word").succeeded().out)
    assert list(words[0]) == [*ITEMS[0], "line", "region_number", *COLUMNS[1:]]
    assert [(row["word"], row["region_number"]) for row in words[:8]] == [
        *(("the", "1"), ("cat", "1"), ("sees", "1"), ("it,", "2"), ('"too"', "2"), (".", "3"), (EOS, "4"), ("she", "1"))
    ]
    assert "one word" not in charlm(*args).err
    joined = charlm("surprisal", trained.word, "--region", "^", stdin=b"the^cat\na^b\n").succeeded()
    assert joined.err.count("warning") == 1 and "'the^cat'" in joined.err


def test_a_conditioned_model_reads_its_label(charlm, models):
    rows = parsed(charlm("surprisal", models.conditioned, stdin=b"x\tab c\ny\tb\n").succeeded().out, "tsv")
    assert [(row["label"], row["line"], row["word"]) for row in rows] == [
        *(("x", "1", "ab"), ("x", "1", "c"), ("x", "1", EOS), ("y", "2", "b"), ("y", "2", EOS))
    ]
    charlm("surprisal", models.conditioned, "--field", 1).failed(2, "--condition")


def test_a_column_with_a_name_of_ours_is_renamed(charlm, models):
    stdin = b"word,t,line\nw,abc,9\n"
    args = ("surprisal", models.lm, "--field", "t", "--input-format", "csv", "--no-eos")
    result = charlm(*args, stdin=stdin).succeeded()
    (row,) = rows_of(result.out)
    assert (row["input_word"], row["t"], row["input_line"], row["line"], row["word"]) == ("w", "abc", "9", "1", "abc")
    assert result.err.count("it is printed as") == 2
    (row,) = rows_of(charlm(*args, "--columns", "input_word,word", stdin=stdin).succeeded().out)
    assert row == {"input_word": "w", "word": "abc"}


def test_values_of_json_keep_their_types(charlm, models):
    stdin = b'{"n": [1, null], "t": "ab c"}\n{"t": "", "late": 2}\n'
    args = ("surprisal", models.lm, "--field", "t", "--input-format", "jsonl")
    rows = charlm(*args, stdin=stdin).succeeded().records
    assert [(row.get("n"), row["t"], row.get("late")) for row in rows] == [([1, None], "ab c", None)] * 3 + [
        (None, "", 2)
    ]
    charlm(*args, "--format", "csv", stdin=stdin).failed(3, "unexpected key 'late'", "line 2")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--per", "region"), ("--per region without --region", "--region '|'")),
        (("--region", ""), ("--region is empty",)),
        (("--carry-state",), ("--carry-state with a --unit line model",)),
        (("--input-format", "csv"), ("without --field",)),
        (("items.csv",), ("no column is named, items.csv is a table", "--field NAME")),
        (("items.tsv",), ("no column is named",)),
        (("items.jsonl",), ("no column is named",)),
        (("items.csv", "--field", "sentense"), ("did you mean sentence?",)),
    ],
)
def test_what_is_refused(charlm, models, items, monkeypatch, args, words):
    monkeypatch.chdir(items)
    assert charlm("surprisal", models.lm, *args).failed(2, *words).out == b""


def test_a_table_is_read_as_text_on_request(charlm, models, items):
    out = charlm("surprisal", models.lm, items / "items.csv", "--input-format", "text", "--per", "token").succeeded()
    assert out.lines[1].startswith("1\t1\ti\t")


# ---- every text comes back


def one_row_a_text(charlm, models, folder, texts):
    """Return the output for a table of texts: with a mark that is in none of them, a row has a whole line."""
    with (folder / "texts.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([["text"], *([text] for text in texts)])
    args = ("--field", "text", "--region", "\x1f\x1f", "--no-eos")
    return charlm("surprisal", models.lm, folder / "texts.csv", *args).succeeded().out


def check_round_trip(charlm, models, folder, texts):
    rows = rows_of(one_row_a_text(charlm, models, folder, texts))
    assert [row["text"] for row in rows] == texts
    assert [row["region"] for row in rows] == [text.replace("\n", " ") for text in texts]
    lines = [text.replace("\n", " ") for text in texts]
    stdin = "".join(f"{line}\n" for line in lines).encode()
    words = rows_of(charlm("surprisal", models.lm, "--format", "csv", stdin=stdin).succeeded().out)
    splitter = splitter_of(TextConfig())
    assert [row["word"] for row in words] == [one.word for line in lines for one in written_words(line, splitter)]


def test_csv_round_trips(charlm, models, tmp_path):
    check_round_trip(charlm, models, tmp_path, [*ODD, "a\nb"])


def test_csv_of_the_corpora_round_trips(charlm, models, tmp_path, shared_corpora):
    for _, lines in lines_of_the_corpora(shared_corpora, forms.times(6, 600)):
        check_round_trip(charlm, models, tmp_path, lines)


@pytest.mark.slow
@pytest.mark.parametrize("program", ["pandas", "sqlite-utils", "Rscript"])
def test_other_programs_read_every_text_back(charlm, models, shared_corpora, tmp_path, program):
    if not tables._has(program):
        pytest.skip(f"{program} is not installed")
    for name, lines in [("odd", ODD), *lines_of_the_corpora(shared_corpora, 4_000)]:
        table = tmp_path / "table.csv"
        table.write_bytes(one_row_a_text(charlm, models, tmp_path, lines))
        kept = [re.sub("\r\n?", "\n", line) for line in lines] if program != "pandas" else lines
        assert tables._READERS[program](table, tmp_path) == kept, name


# ---- at a terminal


@pytest.mark.slow
def test_a_terminal_shows_a_table_and_a_bar(trained):
    code, shown = on_terminal("surprisal", trained.word, which=(1,), stdin=b"the cat\n")
    header, *rows = tables.ANSI.sub(b"", shown).decode().replace("\r\n", "\n").split("\n")[:-1]
    assert code == 0 and header.split() == COLUMNS and [row.split()[2] for row in rows] == ["the", "cat", EOS]
    _, shown = on_terminal("surprisal", trained.char, trained.names)
    assert b"/s]" in shown


@pytest.mark.slow
def test_a_line_is_answered_before_the_next_one_is_read(trained):
    with started("surprisal", trained.word, "--unbuffered") as process:
        process.stdin.write(b"the cat\n")
        found = b"".join(process.stdout.readline() for _ in range(4))
        assert found.count(b"\n") == 4 and EOS.encode() in found
        process.stdin.close()

"""Tables in and out: CSV, a header or none, columns that go through, Kaldi's form, tables at a terminal, bars."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys

import pytest

from charlm.cli import tables_out
from tests import forms
from tests.cli.shell import on_terminal, strict_json
from tests.task_models import saved

# Each is one line; some readers change it unless it is in quotes.
ODD = [
    "a\tb", "\t", 'say "no"', '"', '""', "'a'", "a,b", ",", ";", "a\rb", "\r\ra", "NA", "null", "nan", "None", "", "",
    " a", "a ", " ", "#x", "\\", "a\\tb", "TRUE", "1.0", "007", "1e5", "=1+1", "-", "\ufeffa", "a\u2028b", "\x85",
    "\x0b\x0c", "\x1c", "___ a", "日本 ___", "👍🏽", "e\u0301",
]  # fmt: skip
ANSI = re.compile(rb"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("tables"))


def asked(models):
    return {"score": models.lm, "predict": models.classify, "fill": models.cloze}


def lines_of_the_corpora(folder, most):
    for path in sorted((folder / "unicode").glob("*")):
        lines = path.read_text().removesuffix("\n").split("\n")[:most]
        yield path.name, [line[: forms.times(400, 1 << 24)] for line in lines]


def rows_of(data):
    csv.field_size_limit(1 << 24)
    header, *rows = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
    assert all(len(row) == len(header) for row in rows)
    return [dict(zip(header, row, strict=True)) for row in rows]


# ---- CSV


@pytest.mark.parametrize("command", ["score", "predict", "fill"])
def test_csv_round_trips(charlm, models, command):
    stdin = "".join(f"{line}\n" for line in ODD).encode()
    data = charlm(command, asked(models)[command], "--format", "csv", stdin=stdin).succeeded().out
    assert [row["text"] for row in rows_of(data)] == ODD
    assert b"\r\n" not in data
    tsv = charlm(command, asked(models)[command], "--format", "tsv", stdin=stdin).succeeded().lines
    assert [line.split("\t") for line in tsv[1:]] == [
        [_escaped(value) for value in row.values()] for row in rows_of(data)
    ]


def _escaped(text):
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


@pytest.mark.parametrize("command", ["score", "predict", "fill"])
def test_csv_of_the_corpora_round_trips(charlm, models, shared_corpora, command):
    for _, lines in lines_of_the_corpora(shared_corpora, forms.times(12, 4_000)):
        stdin = "".join(f"{line}\n" for line in lines).encode()
        data = charlm(command, asked(models)[command], "--format", "csv", stdin=stdin).succeeded().out
        assert [row["text"] for row in rows_of(data)] == lines


@pytest.mark.slow
@pytest.mark.parametrize("program", ["pandas", "sqlite-utils", "Rscript"])
def test_other_programs_read_every_text_back(charlm, models, shared_corpora, tmp_path, program):
    """In the tests of the long form, where the program is installed.

    R and sqlite-utils read a carriage return in a file of text as a newline, in quotes too; JSON Lines keep it.
    """
    read = _READERS[program]
    if not _has(program):
        pytest.skip(f"{program} is not installed")
    for command, model in asked(models).items():
        for name, lines in [("odd", ODD), *lines_of_the_corpora(shared_corpora, 4_000)]:
            text, table = tmp_path / "lines.txt", tmp_path / "table.csv"
            text.write_bytes("".join(f"{line}\n" for line in lines).encode())
            table.write_bytes(charlm(command, model, text, "--format", "csv").succeeded().out)
            kept = [re.sub("\r\n?", "\n", line) for line in lines] if program != "pandas" else lines
            assert read(table, tmp_path) == kept, (command, name)
            if program == "sqlite-utils":
                table.write_bytes(charlm(command, model, text, "--format", "jsonl").succeeded().out)
                assert read(table, tmp_path, "--nl") == lines, (command, name)


def _has(program):
    if program == "pandas":
        return subprocess.run([sys.executable, "-c", "import pandas"], capture_output=True).returncode == 0
    return shutil.which(program) is not None


def _by_pandas(table, _folder):
    code = (
        "import json, sys, pandas; t = pandas.read_csv(sys.argv[1], keep_default_na=False, dtype={'text': str});"
        "print(json.dumps(list(t['text'])))"
    )
    return json.loads(subprocess.run([sys.executable, "-c", code, str(table)], capture_output=True, check=True).stdout)


def _by_sqlite(table, folder, form="--csv"):
    base = folder / "base.db"
    base.unlink(missing_ok=True)
    subprocess.run(["sqlite-utils", "insert", str(base), "t", str(table), form], check=True, capture_output=True)
    rows = subprocess.run(["sqlite-utils", "rows", str(base), "t"], check=True, capture_output=True).stdout
    return [row["text"] for row in json.loads(rows)]


def _by_r(table, folder):
    code = (
        f't <- read.csv("{table}", na.strings=character(), colClasses=c(text="character"), encoding="UTF-8");'
        f'writeLines(vapply(t$text, function(x) paste(as.integer(charToRaw(x)), collapse=" "), ""), "{folder}/bytes")'
    )
    subprocess.run(["Rscript", "-e", code], check=True, capture_output=True)
    lines = (folder / "bytes").read_text().split("\n")[:-1]
    return [bytes(map(int, line.split())).decode() for line in lines]


_READERS = {"pandas": _by_pandas, "sqlite-utils": _by_sqlite, "Rscript": _by_r}


def test_a_field_is_in_quotes_where_a_reader_would_change_it():
    for text in ["a", "NA", "1.5", "日本", "a b", "-"]:
        assert tables_out.csv_field(text) == text
    for text in ["", " a", "a ", 'a"', "a,b", "a\rb", "a\nb", "a\tb", "\0", "\u2028", "'a", "#a", "a;b"]:
        assert tables_out.csv_field(text) == '"' + text.replace('"', '""') + '"'
    assert tables_out.csv_field(0.5) == "0.5000" and tables_out.csv_field(3) == "3"


@pytest.mark.parametrize("format", ["tsv", "csv"])
def test_no_header(charlm, models, trained, format):
    stdin = b"abc\n\nthe ___\n"
    for command, model in {**asked(models), "evaluate": models.lm}.items():
        args = (command, model, "--format", format)
        whole, without = (charlm(*args, *flag, stdin=stdin).succeeded().lines for flag in ((), ("--no-header",)))
        if command == "evaluate":  # its last figure is the speed
            whole, without = ([line[:20] for line in lines] for lines in (whole, without))
        assert without == whole[1:] and len(without) in (1, 3)
    vocab = charlm("vocab", trained.names, "--format", format).succeeded().lines
    assert charlm("vocab", trained.names, "--format", format, "--no-header").succeeded().lines == vocab[1:]


def test_vocab_and_inspect_as_csv(charlm, trained):
    tokens = rows_of(charlm("vocab", trained.names, "--format", "csv").succeeded().out)
    assert set(tokens[0]) == {"token", "id", "count"}
    history = rows_of(charlm("inspect", trained.char, trained.word, "--format", "csv").succeeded().out)
    assert {row["model"] for row in history} == {str(trained.char), str(trained.word)}
    record = charlm("inspect", trained.char, "--format", "jsonl").succeeded().records[0]
    assert [row["step"] for row in history if row["model"] == str(trained.char)] == [
        str(one["step"]) for one in record["history"]
    ]
    listed = rows_of(charlm("inspect", trained.char, "--vocabulary", "--format", "csv").succeeded().out)
    assert {row["token"] for row in listed[2:]} <= {row["token"] for row in tokens}
    commands = rows_of(charlm("inspect", trained.char, "--command", "--format", "csv").succeeded().out)
    assert commands[0]["command"].startswith("charlm train")
    norms = charlm("inspect", trained.char, "--gradients", trained.names, "--longest", 3, "--format", "csv").succeeded()
    assert [row["k"] for row in rows_of(norms.out)] == ["0", "1", "2", "3"]


# ---- columns in


TABLE = [
    {"id": "7", "sentence": "abc", "log10p": "x"},
    {"id": "", "sentence": 'a, "b"\nc', "log10p": ""},
    {"id": "a,b", "sentence": "", "log10p": "\\t"},
]


@pytest.fixture
def tables(tmp_path):
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(TABLE[0]))
        writer.writeheader()
        writer.writerows(TABLE)
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in TABLE))
    return tmp_path


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_other_columns_go_through_in_front_of_the_new_ones(charlm, models, tables, name):
    for command, model in asked(models).items():
        own = {"score": "log10p", "predict": "log10p", "fill": "log10p_"}[command]
        args = (command, model, tables / name, "--field", "sentence", "--format")
        result = charlm(*args, "csv").succeeded()
        renamed = "log10p" if own == "log10p_" else "input_log10p"
        assert (f"it is printed as '{renamed}'" in result.err) == (renamed != "log10p")
        rows = rows_of(result.out)
        assert list(rows[0])[:2] == ["id", renamed]
        assert [(r["id"], r["text"], r[renamed]) for r in rows] == [tuple(row.values()) for row in TABLE]
        records = charlm(*args, "jsonl").succeeded().records
        assert [(r["id"], r["text"], r[renamed]) for r in records] == [tuple(row.values()) for row in TABLE]


def test_the_text_of_a_column_is_scored_as_a_line_is(charlm, models, tables):
    plain = charlm("score", models.lm, "--format", "text", stdin=b'abc\na, "b" c\n\n').succeeded().lines
    for name in ("t.csv", "t.jsonl"):
        args = ("score", models.lm, tables / name, "--field", "sentence")
        assert charlm(*args, "--format", "text").succeeded().lines == plain
    (figures,) = (
        charlm("evaluate", models.lm, tables / "t.csv", "--field", "sentence", "--format", "jsonl").succeeded().records
    )
    (expected,) = charlm("evaluate", models.lm, "--format", "jsonl", stdin=b'abc\na, "b" c\n\n').succeeded().records
    assert {**figures, "tokens_per_second": 0} == {**expected, "tokens_per_second": 0}


def test_columns_of_tsv_go_through_as_they_are(charlm, models):
    stdin = b'C:\\new\tab"c\\\t \\t"\n'
    (row,) = charlm("score", models.lm, "--field", 2, "--no-header", stdin=stdin).succeeded().lines
    cells = row.split("\t")
    assert cells[:2] == ["C:\\new", ' \\t"'] and cells[-1] == 'ab"c\\\\'


def test_values_of_json_keep_their_types(charlm, models):
    stdin = b'{"n": 1, "x": [1.5, null], "t": "abc", "text": true}\n{"t": "", "late": 2}\n'
    args = ("score", models.lm, "--field", "t", "--input-format", "jsonl", "--format")
    one, two = charlm(*args, "jsonl", stdin=stdin).succeeded().records
    assert (one["n"], one["x"], one["input_text"], one["text"]) == (1, [1.5, None], True, "abc")
    assert two["late"] == 2 and two["text"] == ""
    result = charlm(*args, "csv", stdin=stdin).failed(3, "unexpected key 'late'", "line 2", "--format jsonl")
    assert rows_of(result.out)[0]["x"] == "[1.5, null]"


@pytest.mark.parametrize("per", ["word", "token"])
def test_parts_of_a_line_have_its_columns(charlm, trained, tables, per):
    args = ("score", trained.char, tables / "t.csv", "--field", "sentence", "--per", per, "--format")
    rows = rows_of(charlm(*args, "csv").succeeded().out)
    records = charlm(*args, "jsonl").succeeded().records
    for number, (record, given) in enumerate(zip(records, TABLE, strict=True), start=1):
        parts = [row for row in rows if row["line"] == str(number)]
        assert [row["id"] for row in parts] == [given["id"]] * len(parts)
        scores = record[f"{per}_scores"]
        assert [row[per] for row in parts] == [one[per] for one in scores]
        assert sum(one["log10p"] for one in scores) == pytest.approx(record["log10p"], rel=0, abs=1e-9)
    shown = charlm(*args, "text").succeeded().lines
    assert [len(line.split(" ")) for line in shown] == [len(record[f"{per}_scores"]) for record in records]


# ---- Kaldi


def test_kaldi(charlm, models):
    plain = charlm("score", models.lm, "--format", "text", "--log-base", "e", stdin=b"abc  a\n\n").succeeded().lines
    flags = ("--format", "kaldi", "--log-base", "e", "--key")
    stdin = b"utt-1 abc  a\nutt-2\n"
    found = charlm("score", models.lm, *flags, 1, stdin=stdin).succeeded().lines
    assert found == [f"utt-{n} {score}" for n, score in enumerate(plain, start=1)]
    costs = charlm("score", models.lm, *flags, 1, "--negate", stdin=stdin).succeeded().lines
    assert costs == [line.replace(" -", " ") for line in found]
    tsv = b"0.5\tutt-1\tabc  a\n0.1\tutt-2\t\n"
    assert charlm("score", models.lm, *flags, 2, "--field", 3, stdin=tsv).succeeded().lines == found
    named = b"id\ttext\nutt-1\tabc  a\nutt-2\t\n"
    assert charlm("score", models.lm, *flags, "id", "--field", "text", stdin=named).succeeded().lines == found
    charlm("score", models.lm, *flags, 1, "--field", 2, stdin=b"a b\tx\n").failed(3, "'a b' contains white space")
    charlm("score", models.lm, *flags, 1, "--field", 2, stdin=b"\tx\n").failed(3, "the key is empty", "line 1")


# ---- mistakes


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("score", "--format", "kaldi"), ("without --key", "--key 1")),
        (("score", "--key", "1"), ("without --format kaldi",)),
        (("score", "--key", "2", "--format", "kaldi"), ("--key 2 without --field",)),
        (("score", "--key", "2", "--field", "2", "--format", "kaldi"), ("the column of the text",)),
        (("score", "--key", "1", "--format", "kaldi", "--per", "word"), ("--per word",)),
        (("score", "--negate"), ("--negate without",)),
        (("score", "--input-format", "csv"), ("without --field",)),
        (("score", "--input-format", "text", "--field", "1"), ("with --input-format text",)),
        (("score", "--field", "9"), ("--field 9 with 2 columns",)),
        (("score", "--field", "senence"), ("no column is named 'senence'", "did you mean sentence?")),
    ],
)
def test_what_is_refused(charlm, models, args, words):
    command, *flags = args
    assert charlm(command, models.lm, *flags, stdin=b"id\tsentence\na\tb\n").failed(2, *words).out == b""


def test_where_no_column_is_read(charlm, models):
    charlm("score", models.conditioned, "--field", 1).failed(2, "--condition")
    charlm("evaluate", models.classify, "--field", 1).failed(2, "labelled texts")
    charlm("predict", models.tag, "--columns", "--field", 1).failed(2, "--columns")


def test_a_malformed_row_ends_the_output_after_the_rows_before_it(charlm, models):
    result = charlm("score", models.lm, "--field", 1, stdin=b"a\tb\nb\tc\nc\n").failed(
        3, "1 column instead of 2", "line 3"
    )
    assert len(result.lines) == 3


def test_a_number_beside_a_header_is_warned_of(charlm, models):
    result = charlm("score", models.lm, "--field", 2, stdin=b"id\ttext\n1\tabc\n").succeeded()
    assert "looks like a header" in result.err and len(result.lines) == 3


# ---- at a terminal


def test_a_terminal_shows_a_table(trained):
    code, shown = on_terminal("score", trained.char, which=(1,), stdin="Ra\n日本\tx\n\x1b[2J\n".encode())
    assert code == 0
    assert b"\x1b[1m" in shown and b"\x1b[2J" not in shown
    header, *rows = ANSI.sub(b"", shown).decode().replace("\r\n", "\n").split("\n")[:-1]
    assert header.split() == ["log10p", "tokens", "oov", "perplexity", "text"]
    at = header.index("text")
    assert [row[at:] for row in rows] == ["Ra", "日本\\tx", "\\x1b[2J"]
    assert all(row[at - 2 : at] == "  " and row[at - 3] != " " for row in rows)
    assert [float(row.split()[0]) < 0 for row in rows] == [True] * 3


def test_what_is_typed_is_answered_at_once_in_columns_of_one_width():
    lines = []

    class Output:
        def write(self, text, *, is_styled):
            lines.append(text)

    with tables_out.Records(Output(), "table", ("log10p", "text"), at_once=True) as records:
        assert not lines
        for number, text in ((-1.5, "a"), (-100.25, "longer")):
            records.write({"log10p": number, "text": text, "other": 1})
            assert lines[-1].endswith(f"  {text}\n")
    assert {line.rstrip("\n").rindex("  ") for line in lines} == {10}


@pytest.mark.slow
def test_a_named_format_is_kept_at_a_terminal(trained):
    _, shown = on_terminal("score", trained.char, "--format", "tsv", which=(1,), stdin=b"Ra\n")
    assert shown.startswith(b"log10p\ttokens\toov\tperplexity\ttext\r\n") and b"\x1b" not in shown


@pytest.mark.thinned(4)
@pytest.mark.parametrize("command", ["score", "evaluate", "predict", "fill"])
def test_a_bar_is_shown_while_the_results_go_elsewhere(models, trained, command):
    model = {**asked(models), "evaluate": models.lm}[command]
    _, shown = on_terminal(command, model, trained.names)
    assert b"\r" in shown.replace(b"\r\n", b"")
    assert b"/s]" in shown


@pytest.mark.slow
def test_no_bar_when_quiet(trained):
    assert on_terminal("score", trained.char, trained.names, "-q") == (0, b"")


def test_strict_json_is_what_comes_from_columns(charlm, models):
    stdin = b'{"t": "a", "x": 1e400}\n'
    (line,) = (
        charlm("score", models.lm, "--field", "t", "--input-format", "jsonl", "--format", "jsonl", stdin=stdin)
        .succeeded()
        .lines
    )
    assert strict_json(line)["x"] is None

"""Texts from a column of TSV, CSV and JSON Lines, and lines with a key."""

import csv
import gzip
import io
import json
import tracemalloc

import pytest

from charlm.errors import CorpusError, UsageError
from charlm.text.columns import KeyedLines, TextColumn, form_of
from tests import forms

ODD = [
    "", " ", " a ", "a\tb", 'say "no"', '"', "a,b", "a\nb", "a\r\nb", "a\rb", "\r", "\n\n", "NA", "null", "#x",
    "\ufeffa", "a\u2028b", "\x85", "\0", "日本", "👍🏽", "=1+1", "a\\tb",
]  # fmt: skip


def written(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(path)


def rows_of(rows):
    """Return all rows, with the line that a model reads of each."""
    return [(line, rows.taken()) for line in rows]


def as_csv(rows, **how):
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL, **how).writerows(rows)
    return file.getvalue()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_gives_back_what_the_csv_module_wrote(tmp_path, end):
    table = [["id", "text", "last"], *([str(i), text, text[::-1]] for i, text in enumerate(ODD))]
    rows = TextColumn([written(tmp_path, "a.csv", as_csv(table, lineterminator=end))], "text")
    assert rows.columns == ["id", "last"]
    found = rows_of(rows)
    assert [row.text for _, row in found] == ODD
    assert [list(row.others.values()) for _, row in found] == [[one, last] for one, _, last in table[1:]]
    assert [line for line, _ in found] == [text.replace("\n", " ") for text in ODD]


def test_tsv_is_what_cut_sees(tmp_path):
    lines = ['a"\t"b\tC:\\new', "\t\t", " x \ty\tz"]
    path = written(tmp_path, "a.tsv", "".join(f"{line}\n" for line in lines))
    found = rows_of(TextColumn([path], "2"))
    assert [row.text for _, row in found] == ['"b', "", "y"]
    assert [row.others for _, row in found] == [
        {"column1": one, "column3": three} for one, _, three in (line.split("\t") for line in lines)
    ]


def test_json_lines_keep_their_values(tmp_path):
    records = [{"id": 1, "text": text, "more": [1.5, None, {"a": "b"}]} for text in ODD]
    path = written(tmp_path, "a.jsonl", "".join(json.dumps(one) + "\n" for one in records))
    rows = TextColumn([path], "text")
    assert rows.columns == ["id", "more"]
    assert [{**row.others, "text": row.text} for _, row in rows_of(rows)] == records


def test_the_form_is_in_the_name_and_may_be_given(tmp_path):
    names = {"a.csv": "csv", "b.TSV": "tsv", "c.jsonl.gz": "jsonl", "d.ndjson": "jsonl", "e.txt": "tsv", "-": "tsv"}
    assert {name: form_of(name) for name in names} == names
    path = written(tmp_path, "a.txt", "x,y\n")
    assert [row.text for _, row in rows_of(TextColumn([path], "2", form="csv"))] == ["y"]
    packed = written(tmp_path, "a.csv.gz", gzip.compress(b"t,u\nx,y\n"))
    assert [row.text for _, row in rows_of(TextColumn([packed], "u"))] == ["y"]


def test_several_files_have_a_header_each(tmp_path):
    one, two = written(tmp_path, "a.csv", "\ufefft,u\n1,2\n"), written(tmp_path, "b.tsv", "t\tu\n3\t4\n")
    assert [(row.text, dict(row.others)) for _, row in rows_of(TextColumn([one, two], "t"))] == [
        ("1", {"u": "2"}),
        ("3", {"u": "4"}),
    ]
    other = written(tmp_path, "c.csv", "t,v\n3,4\n")
    with pytest.raises(CorpusError, match=r"columns differ from those of .*a\.csv, .*c\.csv line 1"):
        rows_of(TextColumn([one, other], "t"))


@pytest.mark.parametrize(
    ("name", "data", "field", "words"),
    [
        ("a.csv", 'a,b\n1,"x\n2,3\n', "b", "a quoted field is not closed, .*a.csv line 2"),
        ("a.csv", 'a,b\n1,"x"y\n', "b", "text after a closing quote, .*line 2"),
        ("a.csv", "a,b\n1,x\ry\n", "b", "carriage return outside quotes, .*line 2"),
        ("a.csv", 'a,b\n1,"x\n\ny"\n1,2,3\n', "b", "3 columns instead of 2, .*line 5"),
        ("a.csv", "a,b\n\n", "b", "1 column instead of 2, .*line 2"),
        ("a.tsv", "a\tb\n1\n", "b", "1 column instead of 2, .*line 2"),
        ("a.tsv", "", "b", "no header line, .*a.tsv is empty"),
        ("a.tsv", "b\tb\n", "b", "two columns are named 'b', .*line 1"),
        ("a.jsonl", '{"b": "x"}\n{"b": 1}\n', "b", "not a string as 'b' in the record, .*line 2"),
        ("a.jsonl", '{"b": "x"}\n{}\n', "b", "no 'b' in the record, .*line 2"),
        ("a.jsonl", '{"b": "x"}\n[1]\n', "b", "not a JSON object, .*line 2"),
        ("a.jsonl", '{"b": "x"}\n{"b": }\n', "b", "malformed JSON .*line 2"),
        ("a.jsonl", '{"b": "x", "c": NaN}\n', "b", "NaN is not JSON.*line 1"),
        ("a.jsonl", '{"b": "x", "c": ' + "[" * 100_000 + "\n", "b", "malformed JSON .*line 1"),
    ],
)
def test_a_malformed_row_is_named(tmp_path, name, data, field, words):
    with pytest.raises(CorpusError, match=words):
        rows_of(TextColumn([written(tmp_path, name, data)], field))


@pytest.mark.parametrize(
    ("field", "words", "hint"),
    [
        ("sentense", "no column is named 'sentense'", "did you mean sentence"),
        ("xyz", "no column is named 'xyz', .*line 1", "the columns are: id, sentence"),
        ("3", "--field 3 with 2 columns", "from 1 to 2"),
        ("0", "--field 0", "from 1 to 2"),
        ("9" * 5000, "no column is named", "the columns are"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_missing_column_is_a_mistake_of_usage(tmp_path, name, field, words, hint):
    data = "id,sentence\n1,x\n" if name == "a.csv" else '{"id": 1, "sentence": "x"}\n'
    if name == "a.jsonl" and len(field) == 1:
        words, hint = "no column is named", "the columns are"
    with pytest.raises(UsageError, match=words) as caught:
        TextColumn([written(tmp_path, name, data)], field)
    assert hint in caught.value.hint


def test_a_number_beside_a_header_is_noticed(tmp_path):
    path = written(tmp_path, "a.csv", "id,Sentence\n1,x\n")
    assert TextColumn([path], "2").begins_with_header
    assert not TextColumn([path], "1").begins_with_header
    assert not TextColumn([path], "Sentence").begins_with_header
    assert rows_of(TextColumn([path], "2"))[0][1].text == "Sentence"


def test_the_place_is_that_of_the_last_text(tmp_path):
    rows = TextColumn([written(tmp_path, "a.csv", 'a,b\n1,"x\ny"\n2,z\n')], "b")
    places = [rows.place.rpartition(" ")[2] for _ in rows]
    assert places == ["2", "4"]


def test_lines_with_a_key(tmp_path):
    path = written(tmp_path, "a.txt", "u-1 the  cat \n u-2\tx\nu-3\n")
    assert [(row.others["key"], row.text) for _, row in rows_of(KeyedLines([path]))] == [
        ("u-1", "the  cat "),
        ("u-2", "x"),
        ("u-3", ""),
    ]
    with pytest.raises(CorpusError, match=r"no key, .*line 1"):
        rows_of(KeyedLines([written(tmp_path, "b.txt", " \nu x\n")]))


def test_bytes_that_are_not_utf8_survive(tmp_path):
    path = written(tmp_path, "a.csv", b'a,b\n"\xff\r\n",\x80\n')
    ((_, row),) = rows_of(TextColumn([path], "a"))
    assert (row.text, row.others) == ("\udcff\r\n", {"b": "\udc80"})


def test_memory_does_not_grow_with_the_rows(tmp_path):
    path = written(tmp_path, "a.csv", "a,b\n" + '1,"some text, of a row"\n' * forms.times(4_000, 50_000))
    rows = TextColumn([path], "b")
    tracemalloc.start()
    for _ in rows:
        rows.taken()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20

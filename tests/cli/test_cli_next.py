"""`charlm next`: the tokens that the library finds, in both formats."""

import pytest

import charlm as package


def test_the_tokens_are_the_library_s(charlm, trained):
    model = package.load(trained.char, device="cpu")
    found = package.next_tokens(model, "Ra", candidates=99)
    records = charlm("next", trained.char, "-p", "Ra", "-k", 99, "--format", "jsonl").succeeded().records
    assert records == [{"token": one.token, "prob": one.prob, "log10p": one.log10p} for one in found]
    assert sum(record["prob"] for record in records) == pytest.approx(1.0, abs=1e-6)
    assert {"<EOS>", "<UNK>"} < {record["token"] for record in records}
    header, *rows = charlm("next", trained.char, "-p", "Ra").succeeded().text.splitlines()
    assert header == "token\tprob\tlog10p"
    assert [row.split("\t")[0] for row in rows] == [one.token for one in found[:10]]
    assert rows[0].split("\t")[1] == f"{found[0].prob:.4f}"


def test_the_prompt_is_an_argument_or_standard_input(charlm, trained):
    model = package.load(trained.stream, device="cpu")
    found = [one.token for one in package.next_tokens(model, "she\nthe c", candidates=4)]
    for args, stdin in ((("-p", r"she\nthe c"), b""), (("-p", "-"), b"she\nthe c\n")):
        rows = charlm("next", trained.stream, *args, "-k", 4, stdin=stdin).succeeded().text.splitlines()
        assert [row.split("\t")[0] for row in rows] == ["token", *found]
    charlm("next", trained.char, "-p", r"a\nb").failed(2, "newline")
    charlm("next", trained.char, "-k", 0).failed(2, "-k")


def test_unknown_tokens_of_the_prompt_are_named(charlm, trained):
    assert "read as <UNK>: '§', '漢'" in charlm("next", trained.char, "-p", "R§漢§").succeeded().err
    assert "<UNK>" not in charlm("next", trained.char, "-p", "Ra").succeeded().err


def test_its_probabilities_are_those_of_score(charlm, trained):
    text = trained.sentences.read_text().splitlines()[0]
    (scored,) = charlm("score", trained.stream, "--format", "jsonl", "--per", "token", stdin=text.encode()).records
    for at, score in enumerate(scored["token_scores"][:12]):
        records = charlm("next", trained.stream, "-p", text[:at], "-k", 999, "--format", "jsonl").succeeded().records
        (one,) = [record for record in records if record["token"] == score["token"]]
        assert one["log10p"] == pytest.approx(score["log10p"], abs=1e-5)

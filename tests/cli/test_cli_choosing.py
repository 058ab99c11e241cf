"""`charlm generate` with a choice of texts: what `sort -u` and `comm` find in the plain output, and nothing else."""

import json

import pytest

from charlm.cli.escapes import unescaped
from charlm.inference.choosing import STALLED
from tests.cli.shell import bash
from tests.task_models import saved


def counts_of(err):
    """Return the counts of the line on standard error by name."""
    (line,) = [line for line in err.splitlines() if line.startswith("drawn")]
    return {name: int(value.replace(",", "")) for name, value in (part.split(" ") for part in line.split("; "))}


FLAGS = ["--seed", 3, "-t", 0.5, "-l", 4]


@pytest.fixture
def known(trained, charlm, tmp_path):
    """Return a file of known texts, some of which are drawn."""
    path = tmp_path / "known"
    path.write_bytes(trained.names.read_bytes() + charlm("generate", trained.char, *FLAGS, "-n", 9).succeeded().out)
    return path


def test_the_counts_are_those_of_sort_and_comm(trained, charlm, tmp_path, known):
    result = charlm("generate", trained.char, *FLAGS, "-n", 60, "--unique", "--not-in", known).succeeded()
    counts = counts_of(result.err)
    plain = charlm("generate", trained.char, *FLAGS, "-n", counts["drawn"]).succeeded()
    drawn, new = tmp_path / "drawn", tmp_path / "new"
    drawn.write_bytes(plain.out)
    new.write_bytes(result.out)
    by_shell = bash(
        f"export LC_ALL=C; sort -u {known} > {tmp_path}/list; sort -u {drawn} > {tmp_path}/distinct;"
        f"cd {tmp_path}; wc -l < drawn; wc -l < distinct; comm -12 distinct list | wc -l;"
        "comm -23 distinct list | wc -l; comm -23 distinct list > only; sort new | cmp - only"
    ).succeeded()
    names = ("drawn", "distinct", "known", "kept")
    assert counts == dict(zip(names, map(int, by_shell.text.split()), strict=True))
    assert counts["drawn"] > counts["distinct"] > counts["known"] > 0 and counts["kept"] == 60
    rest = iter(plain.text.splitlines())
    assert all(line in rest for line in result.text.splitlines())


def test_without_unique_repeated_texts_are_kept_and_known_draws_counted(trained, charlm, known):
    result = charlm("generate", trained.char, *FLAGS, "-n", 60, "--not-in", known).succeeded()
    counts = counts_of(result.err)
    plain = charlm("generate", trained.char, *FLAGS, "-n", counts["drawn"]).succeeded().text.splitlines()
    listed = set(known.read_text().splitlines())
    assert result.text.splitlines() == [line for line in plain if line not in listed]
    assert counts == {"drawn": len(plain), "known": sum(line in listed for line in plain), "kept": 60}
    assert counts["known"] > 9 and len(set(result.text.splitlines())) < 60


def test_ranked_texts_are_the_likeliest_per_token_of_their_rounds(trained, charlm):
    flags = ["--seed", 3, "--format", "jsonl"]
    plain = charlm("generate", trained.char, *flags, "-n", 40).succeeded().records
    result = charlm("generate", trained.char, *flags, "-n", 5, "--best-of", 8, "--sort", "score", "-q").succeeded()
    assert result.err == ""

    def mean(record):
        return record["log10p"] / len(record["tokens"])

    best = [max(plain[at : at + 8], key=mean) for at in range(0, 40, 8)]
    assert result.records == sorted(best, key=mean, reverse=True)


def test_lengths_are_in_characters_of_the_whole_text(trained, charlm):
    flags = ["--seed", 3, "-n", 12, "-p", "Ra", "--min-length", 5, "--max-length", 6]
    result = charlm("generate", trained.char, *flags).succeeded()
    lengths = {len(line) for line in result.text.splitlines()}
    assert lengths == {5, 6} and counts_of(result.err)["kept"] == 12
    alone = charlm("generate", trained.char, *flags, "--no-prompt").succeeded()
    assert [f"Ra{line}" for line in alone.text.splitlines()] == result.text.splitlines()


ANY = ("--min-length", 0)


@pytest.mark.parametrize(("flags", "found"), [((), 0), (ANY, 1), ((*ANY, "--not-in", "texts"), 0)])
def test_it_ends_with_1_when_nothing_new_comes(trained, charlm, monkeypatch, tmp_path, flags, found):
    """The only text is empty, which is nothing new unless --min-length says so."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").write_bytes(charlm("generate", trained.char, "-t", 0, "--seed", 1).succeeded().out)
    result = charlm("generate", trained.char, "-t", 0, "--seed", 1, "-l", 30, "-n", 5, "--unique", *flags)
    assert result.text.count("\n") == found
    summary, error, hint = result.err.splitlines()
    assert summary.startswith(f"drawn {STALLED + found:,}; distinct 1;") and summary.endswith(f"; kept {found}")
    assert error == f"charlm: error: {found} of 5 texts found: {STALLED:,} draws in a row brought no new one"
    assert result.code == 1 and "--temperature" in hint


def test_a_separator_stands_between_texts(trained, charlm):
    flags = ["--seed", 3, "-n", 3, "-l", 20]
    texts = [
        json.loads(line)["text"]
        for line in charlm("generate", trained.stream, *flags, "--format", "jsonl").text.splitlines()
    ]
    for more in ((), ("--unique",)):
        for given, between, end in ((r"\n--\t\n", "\n--\t\n", "\n"), (r"\0", "\0", "\0"), ("", "", "\n")):
            result = charlm("generate", trained.stream, *flags, "--separator", given, "-q", *more).succeeded()
            assert result.text == between.join(texts) + end
    nothing = charlm("generate", trained.char, "-t", 0, "--min-length", 999, "--seed", 1, "--separator", r"\n\n")
    assert (nothing.code, nothing.out) == (1, b"")


def test_no_prompt_prints_what_follows_it(trained, charlm):
    for name, prompt in (("char", "Ra"), ("stream", "the cat\nshe"), ("word", "the  CAT"), ("word", "a dog ")):
        flags = ["--seed", 3, "-n", 2, "-l", 9, "-p", prompt]
        for form in ("text", "jsonl"):
            whole = charlm("generate", getattr(trained, name), *flags, "--format", form).succeeded()
            alone = charlm("generate", getattr(trained, name), *flags, "--format", form, "--no-prompt").succeeded()
            if form == "text":
                assert whole.text.startswith(prompt)
                continue
            for one, other in zip(whole.records, alone.records, strict=True):
                new = one["text"][len(prompt) :]
                assert other == {**one, "text": new if name in ("char", "stream") else new.removeprefix(" ")}


def test_prompts_and_stops_understand_newlines_and_tabs(trained, charlm):
    flags = ["--seed", 3, "-l", 30]
    typed = charlm("generate", trained.stream, *flags, "-p", r"the cat\nshe\t\\n").succeeded()
    assert typed.out == charlm("generate", trained.stream, *flags, "-p", "the cat\nshe\t\\\\n").succeeded().out
    assert typed.text.startswith("the cat\nshe\t\\n")
    read = charlm("generate", trained.stream, *flags, "-p", "-", stdin=rb"a\nb").succeeded()
    assert read.text.startswith(r"a\nb")
    line = charlm("generate", trained.stream, *flags, "--stop", r"\n").succeeded().text
    assert line == charlm("generate", trained.stream, *flags).text.split("\n")[0] + "\n"
    assert charlm("generate", trained.char, *flags, "-p", r"a\nb").failed(2, "newline").out == b""
    assert [unescaped(text) for text in (r"\n\t\\n", "\\", r"\section\0", "\\\n")] == [
        "\n\t\\n",
        "\\",
        r"\section\0",
        "\\\n",
    ]
    assert unescaped(r"\0a\\0", allow_nul=True) == "\0a\\0"


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--separator", "x", "--format", "jsonl"), "--separator"),
        (("--separator", "x", "--format", "csv"), "--separator with --format csv"),
        (("--min-length", 3, "--max-length", 2), "--max-length"),
        (("-p", "-", "--not-in", "-"), "--not-in"),
        (("--unique", "--midi", "new.mid"), "--midi"),
        (("--sort", "length"), "--sort"),
        (("--best-of", 0), "--best-of"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_model_is_read(charlm, tmp_path, flags, named):
    assert charlm("generate", tmp_path / "missing", *flags).failed(2, named).out == b""


def test_a_file_of_known_texts_is_read_like_any_other(trained, charlm, tmp_path):
    flags = ["--seed", 3, "-n", 4]
    plain = charlm("generate", trained.char, *flags).succeeded().text.splitlines()
    more = ["--not-in", "-", "--not-in", trained.names]
    result = charlm("generate", trained.char, *flags, *more, stdin=f"{plain[0]}\r\n".encode()).succeeded()
    assert plain[0] not in result.text.splitlines()
    assert (
        charlm("generate", trained.char, *flags, "--not-in", tmp_path / "missing").failed(3, "no such file").out == b""
    )


def test_music_is_chosen_from_as_text_is(charlm, tmp_path):
    music = saved(tmp_path).music
    flags = ["--seed", 3, "-l", 3, "-p", "60  62", "--format", "jsonl"]
    plain = charlm("generate", music, *flags, "-n", 20).succeeded().records
    best = [max(plain[at : at + 10], key=lambda record: record["log10p"]) for at in (0, 10)]
    known = tmp_path / "known"
    known.write_text(f"{best[1]['text']}\n")
    more = ["-n", 2, "--best-of", 10, "--sort", "score", "--unique"]
    ranked = sorted(best, key=lambda record: -record["log10p"])
    assert charlm("generate", music, *flags, *more).succeeded().records == ranked
    assert charlm("generate", music, *flags, *more, "--not-in", known).succeeded().records != ranked
    for extra in ((), ("--unique",)):
        alone = charlm("generate", music, *flags, "-n", 2, "--no-prompt", *extra).succeeded().records
        assert [f"60 62 {record['text']}" for record in alone] == [record["text"] for record in plain[:2]]
        text = charlm("generate", music, *flags[:-2], "-n", 2, "--no-prompt", *extra, "-q").succeeded().text
        assert text == "".join(f"{record['text']}\n" for record in alone)

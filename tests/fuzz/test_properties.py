"""What the fuzzers look for is found: an answer that breaks the contract, in each of its parts, is a failure."""

import pytest

from tests.cli.shell import Result
from tests.fuzz.cases import Failed, check_all
from tests.fuzz.command_lines import Case, commands, draw
from tests.fuzz.contract import keeps_files, keeps_to_the_contract, same

ERROR = "charlm: error: no such file, x\nhint: check the name\n"
SCORED = b"log10p\ttokens\toov\tperplexity\ttext\n-1\t1\t0\t2\tabc\n-1\t1\t0\t2\tca\n"
FIRST = SCORED[: SCORED.rindex(b"-1")]
RECORD = b'{"text": "%s", "log10p": %s, "tokens": 1, "oov": 0}\n'


def scored(*more: str) -> Case:
    return Case("score", ["lm.safetensors", "ends.txt", *more], models=["lm.safetensors"], files=["no_end.txt"])


@pytest.mark.parametrize(
    ("case", "result"),
    [
        (scored(), Result(0, SCORED, "")),
        (scored("--format", "text"), Result(0, b"-1\n-1\n", "charlm: warning: x\n")),
        (scored("--format=jsonl"), Result(0, RECORD % (b"abc", b"-1") + RECORD % (b"the cat", b"-2"), "")),
        (scored(), Result(3, FIRST, ERROR)),
        (scored("--debug"), Result(2, b"", "Traceback ...\n" + ERROR)),
    ],
)
def test_a_good_answer_passes(case, result):
    keeps_to_the_contract(case, result)
    keeps_files(case, result, set())
    same(case, result, result)


@pytest.mark.parametrize(
    ("case", "result", "words"),
    [
        (scored(), Result(1, b"", ERROR), "no documented exit code"),
        (scored(), Result(-11, b"", ""), "no documented exit code"),
        (scored(), Result(2, b"", ""), "0 errors"),
        (scored(), Result(2, b"", ERROR + ERROR), "2 errors"),
        (scored(), Result(2, b"", ERROR + "hint: again\n"), "2 hints"),
        (scored(), Result(2, b"", ERROR + "reading\n"), "said last"),
        (scored(), Result(0, SCORED, ERROR), "1 errors"),
        (scored(), Result(2, b"", "Traceback (most recent call last)\n" + ERROR), "a traceback"),
        (scored(), Result(0, SCORED, "\x1b[2J\n"), "control characters"),
        (scored(), Result(0, SCORED[:-1], ""), "no end"),
        (scored(), Result(0, SCORED.replace(b"-1\t", b"-1\t2\t"), ""), "a row of more fields"),
        (scored(), Result(0, b"", ""), "without a header"),
        (scored(), Result(0, FIRST, ""), "1 lines out for 2"),
        (scored(), Result(3, SCORED + b"-1\t1\t0\t2\tca\n", ERROR), "3 lines out for 2"),
        (scored("--format", "text"), Result(0, b"-1\n-1\n-1\n", ""), "3 lines out for 2"),
        (scored("--format", "jsonl"), Result(0, RECORD % (b"abc", b"NaN") * 2, ""), "not strict JSON"),
        (scored("--format", "jsonl"), Result(0, RECORD % (b"abc", b"null") * 2, ""), "a probability"),
        (scored("--format", "jsonl"), Result(0, RECORD % (b"abc", b"0.1") * 2, ""), "a probability"),
        (scored("--format", "jsonl"), Result(0, b'{"text": "abc"}\n' * 2, ""), "a record without"),
        (scored("--format", "jsonl"), Result(0, RECORD % (b"abc", b"-1") * 2, ""), "the text of a record"),
    ],
)
def test_a_broken_answer_is_seen(case, result, words):
    with pytest.raises(Failed, match=words):
        keeps_to_the_contract(case, result)


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        (".new.safetensors.1a2b3c4d.tmp", 0, "left behind"),
        (".new.safetensors.lock", 6, "left behind"),
        ("fifo.safetensors", 0, "no file was replaced"),
        ("corpus.txt", 0, "changed"),
        ("new.safetensors", 3, "changed"),
    ],
)
def test_a_file_that_changes_is_seen(changed, code, words):
    case = Case("train", ["corpus.txt", "-o", "new"], files=["corpus.txt"], outputs=["new"])
    keeps_files(case, Result(0, b"", ""), {"new.safetensors", "new.ckpt.safetensors"})
    with pytest.raises(Failed, match=words):
        keeps_files(case, Result(code, b"", ""), {changed})


@pytest.mark.parametrize("other", [Result(0, SCORED.replace(b"-1", b"-2"), ""), Result(2, SCORED, ERROR)])
def test_another_answer_is_seen(other):
    with pytest.raises(Failed, match="not the same again"):
        same(scored(), Result(0, SCORED, ""), other)


def test_a_failure_names_its_number():
    def check(number):
        assert number != 3, "three"

    with pytest.raises(pytest.fail.Exception, match=r"(?s)1 of 5 cases.*FUZZ_FIRST=3 pytest here.*three"):
        check_all(range(5), check, "here", lambda *_: None)


@pytest.mark.parametrize("name", commands())
def test_every_option_is_drawn(name):
    """Nothing that a command declares is left out, however it was added."""
    kinds = {f"{kind}.safetensors": kind for kind in ("lm", "cloze", "tag", "translate", "genre")}
    options = [one for one in commands()[name].params if one.param_type_name == "option"]
    missing = {one.name: {*one.opts, *one.secondary_opts} for one in options}
    for number in range(1000):
        given = {argument.split("=", 1)[0] for argument in draw(number, kinds, name).arguments}
        missing = {one: names for one, names in missing.items() if not names & given}
        if not missing:
            return
    pytest.fail(f"never drawn: {missing}")

"""Standard streams that are closed, full, slow, or left by who read them: every command, every stream."""

import functools
import os
import re
import shlex
import subprocess
import time

import pytest

from tests import forms
from tests.cli.shell import CHARLM, SECONDS, Result, bash, environment, on_terminal, read_line, run, started
from tests.task_models import TEXTS, saved

READING = {  # commands that read standard input, and what they are given to read
    "score": ("score {char}", "Ratoni\nSau\n"),
    "score suspect": ("score {cloze} --suspect", "the cat\n"),
    "evaluate": ("evaluate {char}", "Ratoni\n"),
    "fill": ("fill {cloze}", "the ___\n"),
    "predict": ("predict {tag}", "the cat\n"),
    "predict columns": ("predict {tag} --columns", "the\ncat\n"),
    "predict class": ("predict {classify} -", "abc\n"),
    "generate": ("generate {char} -p - --seed 1 -l 3", "Ra\n"),
    "vocab": ("vocab -", "abc\n"),
    "vocab coverage": ("vocab {names} --coverage -", "abc\n"),
    "inspect": ("inspect {char} --gradients - --longest 2", "Ratonisau\n" * 20),
    "train": ("train - -o {new} --seed 1 --max-steps 2 --hidden-size 4", "Ratoni\nSau\n" * 20),
    "train valid": ("train {names} --valid - -o {new} --seed 1 --max-steps 2 --hidden-size 4", "Ratoni\nSau\n" * 9),
    "bench": ("bench train --text - --seconds 0.01 --repeats 1 --hidden-size 8", "Ratoni\n" * 900),
}
WRITING = {  # commands that write standard output, from a few bytes to more than any buffer holds
    "score": "score {char} {names}",
    "score nothing": "score {char} /dev/null",
    "score token": "score {char} {names} --per token",
    "score jsonl": "score {char} {names} --format jsonl",
    "score kenlm": "score {word} {sentences} --format kenlm",
    "score suspect": "score {cloze} {task_text} --suspect",
    "score much": "score {char} {much} --format text",
    "evaluate": "evaluate {char} {names}",
    "evaluate jsonl": "evaluate {char} {names} --format jsonl",
    "fill": "fill {cloze} {task_text}",
    "fill unbuffered": "fill {cloze} {task_text} --unbuffered",
    "predict": "predict {tag} {task_text}",
    "predict jsonl": "predict {classify} {task_text} --format jsonl",
    "predict columns": "predict {tag} {words} --columns",
    "generate": "generate {char} --seed 1 -l 1",
    "generate jsonl": "generate {char} --seed 1 -n 2 --format jsonl",
    "generate unbuffered": "generate {stream} --seed 1 -l 9 --unbuffered",
    "generate music": "generate {music} --seed 1 -l 4",
    "inspect": "inspect {char}",
    "inspect vocabulary": "inspect {char} --vocabulary",
    "inspect plot": "inspect {char} --plot",
    "inspect gradients": "inspect {char} --gradients {names} --longest 2",
    "vocab": "vocab {names}",
    "vocab jsonl": "vocab {names} --format jsonl",
    "vocab text": "vocab {names} --format text",
    "vocab coverage": "vocab {names} --coverage {names}",
    "bench": "bench train --seconds 0.01 --repeats 1 --hidden-size 8",
    "help": "--help",
    "no command": "",
    "version": "--version",
    "help train": "train --help",
    "help bench": "bench --help",
}
# These two are in tests/cli/test_cli_pipes.py, with a standard output that is closed, full or left.
OTHERS = [row for row in WRITING if row not in ("generate", "vocab")]
LEFT = {  # commands whose reader leaves in the middle, which is soon, or at any time
    "generate": "generate {char} --seed 1 -n 100000",
    "generate jsonl": "generate {char} --seed 1 -n 100000 --format jsonl",
    "generate endless": "generate {stream} --seed 1 -l 1000000000",
    "score": "score {char} {much}",
    "score unbuffered": "score {char} {much} --unbuffered",
    "score token": "score {char} {much} --per token",
    "predict": "predict {tag} {much}",
    "fill": "fill {cloze} {much}",
    "vocab": "vocab {much} --level word",
    "evaluate": "evaluate {char} {names} --format jsonl",
    "inspect": "inspect {char}",
    "help": "train --help",
}
VARYING = re.compile(r"\d[\d,]*(\.\d+)?")


def every_other(rows, turn):
    """Return every other row of each command, the first of them or, in turn 1, the second; of one row that one.

    So each fault meets each command, and each row about half of the faults.
    """
    of_commands = {}
    for row in rows:
        of_commands.setdefault(row.split()[0], []).append(row)
    return [row for of_one in of_commands.values() for row in of_one[min(turn, len(of_one) - 1) :: 2]]


def with_rows(names, long, short):
    """Run a test with many rows in the long form, and with a few in the short one."""
    return pytest.mark.parametrize(names, long if forms.is_long else short)


@pytest.fixture(scope="module")
def places(trained, tmp_path_factory, times):
    """The files that the tables name."""
    models = saved(tmp_path_factory.mktemp("models"))
    text, much, words = (models.folder / f"{name}.txt" for name in ("text", "much", "words"))
    text.write_text(TEXTS["cloze"] * 40)
    words.write_text("".join("\n".join([*line.split(), "", ""]) for line in TEXTS["cloze"].splitlines()) * 40)
    much.write_text("".join(f"Ratoni sau the {number}\n" for number in range(times(4_000, 10_000))))
    return {**vars(models), **vars(trained), "task_text": text, "much": much, "words": words}


@pytest.fixture
def filled_in(places, tmp_path):
    return lambda command: command.format_map({**places, "new": tmp_path / "new.safetensors"})


@pytest.fixture(scope="module")
def whole(places):
    """Return the function that runs a row of `WRITING` once for all tests; nothing is missing, and colours are wanted.

    In a pipe they make no difference.
    """

    @functools.cache
    def result_of(writing):
        command = WRITING[writing].format_map(places)
        return bash(f"charlm {command}", FORCE_COLOR="1", CLICOLOR_FORCE="1").succeeded()

    return result_of


def without_numbers(name, result):
    """Leave out what is measured, and so is never the same twice."""
    return VARYING.sub("", result.text) if name.startswith(("evaluate", "bench")) else result.text


# ---- closed, full


@with_rows("reading", every_other(READING, 0), ["generate", "vocab coverage"])
def test_a_closed_standard_input_is_told(filled_in, reading):
    command, _ = READING[reading]
    result = bash(f"charlm {filled_in(command)} <&-").failed(3, "standard input")
    assert "closed" in result.err


@with_rows("reading", every_other(READING, 1), ["generate", "vocab coverage"])
def test_a_standard_input_that_cannot_be_read_is_told(filled_in, tmp_path, reading):
    command, _ = READING[reading]
    bash(f"charlm {filled_in(command)} 0> {tmp_path}/written").failed(3, "standard input")


@pytest.mark.slow
@pytest.mark.parametrize("writing", every_other(WRITING, 0))
def test_a_standard_input_that_is_not_read_may_be_closed(filled_in, whole, writing):
    closed = bash(f"charlm {filled_in(WRITING[writing])} <&-").succeeded()
    assert without_numbers(writing, closed) == without_numbers(writing, whole(writing))
    assert closed.out


CLOSED, NOT_WRITABLE = ">&-", "1< /dev/null"


@with_rows(
    ("writing", "end"),
    [*((row, CLOSED) for row in every_other(OTHERS, 0)), *((row, NOT_WRITABLE) for row in every_other(OTHERS, 1))],
    [("fill", CLOSED), ("fill", NOT_WRITABLE)],
)
def test_a_closed_standard_output_is_told(filled_in, writing, end):
    result = bash(f"charlm {filled_in(WRITING[writing])} {end}").failed(6, "standard output is closed")
    assert result.err.count("\n") == 2


@with_rows("writing", every_other(OTHERS, 1), ["fill", "version"])
def test_a_full_standard_output_is_told(filled_in, writing):
    result = bash(f"charlm {filled_in(WRITING[writing])} > /dev/full").failed(6, "No space left on device")
    assert result.err.count("\n") == 2


def test_a_file_that_may_not_grow_is_told(filled_in, tmp_path):
    command = filled_in(WRITING["score much"])
    bash(f"ulimit -f 8; charlm {command} > {tmp_path}/out").failed(6, "File too large")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("writing", "end"),
    [*((row, "2>&-") for row in every_other(WRITING, 1)), *((row, "2>/dev/full") for row in every_other(WRITING, 0))],
)
def test_without_standard_error_results_are_the_same(filled_in, whole, writing, end):
    result = bash(f"charlm {filled_in(WRITING[writing])} {end}").succeeded()
    assert without_numbers(writing, result) == without_numbers(writing, whole(writing))
    assert result.err == ""


@pytest.mark.slow
def test_training_needs_no_standard_stream_and_no_file_takes_the_place_of_one(trained, tmp_path):
    flags = "--keep-checkpoint --seed 1 --max-steps 5 --hidden-size 4 --batch-size 4"
    ends = ("", "<&- >&- 2>&-", "<&- 2>&-", ">&- 2>&-")
    for number, end in enumerate(ends):
        result = bash(f"charlm train {trained.names} -o {tmp_path}/{number} {flags} {end}").succeeded()
        assert result.out == b""
    for suffix in (".safetensors", ".ckpt.safetensors"):
        assert len({(tmp_path / f"{number}{suffix}").read_bytes() for number in range(len(ends))}) == 1


def test_the_lines_before_a_mistake_are_handed_over(trained, tmp_path):
    result = run("score", trained.char, trained.names, tmp_path / "missing", "--unbuffered").failed(3, "missing")
    assert result.out == run("score", trained.char, trained.names, "--unbuffered").succeeded().out


# ---- readers that leave, or are slow


@pytest.mark.slow
@pytest.mark.parametrize("left", LEFT)
def test_a_reader_that_leaves_is_no_error(filled_in, left):
    loop = f"for i in 1 2; do charlm {filled_in(LEFT[left])} | head -1; echo $PIPESTATUS >&3; done"
    result = bash(f"({loop}) 3>&1 > /dev/null")
    assert (result.err, result.lines) == ("", ["0"] * 2)


@with_rows("writing", every_other(OTHERS, 0), ["fill", "version"])
def test_a_reader_that_has_left_is_no_error(filled_in, writing):
    result = bash(f"set -o pipefail; charlm {filled_in(WRITING[writing])} | true")
    assert (result.code, result.err) == (0, "")


@with_rows("answering", ["score", "fill", "predict", "predict columns", "score suspect"], ["score suspect"])
def test_a_slow_producer_has_each_answer_before_it_goes_on(filled_in, times, answering):
    command, text = READING[answering]
    line = (text.split("\n")[0] + "\n" + "\n" * (answering == "predict columns")).encode()
    answers = 2 if answering == "predict columns" else 1
    with started(*shlex.split(filled_in(command)), "--unbuffered") as process:
        if answering in ("score", "score suspect"):
            assert b"tokens" in read_line(process.stdout)
        for _ in range(times(4, 10)):
            time.sleep(0.02)
            process.stdin.write(line)
            for _ in range(answers):
                assert read_line(process.stdout).endswith(b"\n")
        process.stdin.close()
        assert process.wait(SECONDS) == 0


def test_a_pipe_that_does_not_wait_loses_nothing(filled_in):
    """Standard output may be set to refuse what its reader has no room for yet: who shares it may have done so."""
    command = shlex.split(filled_in("score {char} {names} --per token --format jsonl"))
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = subprocess.Popen([*CHARLM, *command], env=environment(), stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    try:
        time.sleep(1)
        out = b""
        while part := os.read(reading, 1 << 12):
            out += part
        assert (process.wait(SECONDS), process.stderr.read()) == (0, b"")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        os.close(reading)
    assert len(out) > 1 << 16
    assert Result(0, out, "").lines == run(*command).lines


# ---- no terminal, plain terminals


@with_rows("writing", WRITING, ["fill", "version"])
def test_where_no_terminal_is_nothing_is_drawn(whole, writing):
    result = whole(writing)
    for shown in (result.text, result.err):
        assert "\x1b" not in shown and "\r" not in shown


@pytest.mark.thinned(2)
@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_a_plain_terminal_has_no_escapes_in_all_of_a_training(trained, tmp_path, env):
    flags = ("--hidden-size", 4, "--max-steps", 20, "--lr", 0.01, "--batch-size", 4)
    code, shown = on_terminal("train", trained.names, "-o", tmp_path / "m", *flags, **env)
    assert code == 0
    assert b"\x1b" not in shown
    assert b"wrote " in shown

"""Ends of pipes and full disks: nothing is lost in silence, and nobody is shouted at."""

import os
import signal
import sys
import time

import pytest

from tests.cli.shell import SECONDS, bash, files_of, on_terminal, run, started, wait_for_more

WITH_OUTPUT = {  # tests/faults/test_pipes.py has the others
    "generate": "generate {0.char} --seed 1",
    "score srilm": "score {0.word} {0.sentences} --format srilm",
    "vocab": "vocab {0.names}",
}
FOR_ALL = {**WITH_OUTPUT, "help of one": "score --help"}


@pytest.mark.parametrize("name", FOR_ALL)
def test_a_full_disk_is_told(trained, name):
    result = bash(f"charlm {FOR_ALL[name].format(trained)} > /dev/full")
    result.failed(6, "No space left on device")
    assert result.err.count("\n") == 2


@pytest.mark.parametrize("command", ["generate {0.char} --seed 1", "score {0.char} {0.names}"])
def test_a_full_disk_is_told_also_unbuffered(trained, command):
    bash(f"charlm {command.format(trained)} --unbuffered > /dev/full").failed(6, "No space left")


@pytest.mark.parametrize("name", WITH_OUTPUT)
def test_no_standard_output_is_told(trained, name):
    result = bash(f"charlm {WITH_OUTPUT[name].format(trained)} >&-").failed(6, "standard output")
    assert result.err.count("\n") == 2


@pytest.mark.parametrize("name", FOR_ALL)
def test_a_reader_that_has_gone_is_no_error(trained, name):
    result = bash(f"set -o pipefail; charlm {FOR_ALL[name].format(trained)} | true")
    assert (result.code, result.err) == (0, "")


def test_a_reader_that_leaves_in_the_middle_is_no_error(trained):
    command = f"yes Ratoni | head -100000 | charlm score {trained.char} - | head -1"
    result = bash(f"{command}; echo ${{PIPESTATUS[2]}}")
    assert result.lines == ["log10p\ttokens\toov\tperplexity\ttext", "0"]
    assert result.err == ""


@pytest.mark.parametrize("name", ["score", "evaluate"])
def test_no_standard_input_is_told(trained, name):
    bash(f"charlm {name} {trained.char} <&-").failed(3, "standard input")


@pytest.mark.thinned(2)
@pytest.mark.parametrize("end", ["2>&-", "2>/dev/full"])
def test_where_messages_cannot_be_told_the_results_and_exit_codes_are_the_same(trained, end):
    expected = run("generate", trained.char, "--seed", 1, "-p", "?").out
    result = bash(f"charlm generate {trained.char} --seed 1 -p '?' {end}")
    assert (result.code, result.out) == (0, expected)
    assert bash(f"charlm score {trained.folder}/missing {end}").code == 4
    assert bash(f"charlm score --bogus {end}").code == 2


def test_at_a_terminal_it_says_that_it_waits(trained):
    code, shown = on_terminal("score", trained.char, which=(0, 2))
    assert code == 0
    assert b"standard input" in shown


def test_a_pipe_of_commands(trained):
    result = bash(
        f"set -o pipefail; charlm generate {trained.char} -n 5 --seed 1 | charlm score {trained.char} - | cut -f5-"
    )
    assert result.code == 0
    assert result.lines[1:] == run("generate", trained.char, "-n", 5, "--seed", 1).lines


@pytest.mark.slow
def test_the_model_may_come_by_any_name(trained, tmp_path):
    link = tmp_path / "-a link with spaces"
    link.symlink_to(trained.char)
    expected = run("score", trained.char, stdin=b"Ra\n").out
    assert run("score", link, stdin=b"Ra\n").out == expected
    assert run("score", "--", link.name, cwd=tmp_path, stdin=b"Ra\n").out == expected


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_it_waits_ends_it_quietly(trained, number, code):
    with started("score", trained.char) as process:
        process.stdin.write(b"Ra\n")
        wait_for_more(process)
        process.send_signal(number)
        assert process.wait(SECONDS) == code
        assert process.stderr.read() == b""


# Python handles a signal between two bytecodes. This one arrives when the main thread waits already, and does not
# interrupt the system call, as a signal would that arrives just before it.
JUST_BEFORE_THE_READ = """
import _thread, fcntl, sys, termios, threading, time

def send():
    state = f"/proc/self/task/{threading.main_thread().native_id}/stat"
    waits = 0
    while waits < 20:
        time.sleep(0.01)
        sleeps = open(state).read().rpartition(")")[2].split()[0] == "S"
        waits = waits + 1 if sleeps and begun.is_set() else 0
    _thread.interrupt_main(NUMBER)

begun = threading.Event()
threading.Thread(target=send, daemon=True).start()
"""

# A destructor swallows the exception that the handler raises.
IN_A_DESTRUCTOR = """
import signal

class Begun:
    def set(self):
        try:
            Last()
        except BaseException:
            print("not swallowed")

class Last:
    def __del__(self):
        signal.raise_signal(NUMBER)

begun = Begun()
"""

# `begun` is set when the first bytes have been read.
READING = """
from charlm.text.lines import open_text

def kind_of(start, plain=open_text.kind_of):
    begun.set()
    return plain(start)

open_text.kind_of = kind_of
from charlm.cli.app import main
raise SystemExit(main())
"""


@pytest.mark.thinned(2)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc shows what a thread does")
@pytest.mark.parametrize(  # every pair of them
    ("when", "command", "number", "code"),
    [
        (JUST_BEFORE_THE_READ, "score", signal.SIGINT, 130),
        (IN_A_DESTRUCTOR, "train", signal.SIGINT, 130),
        (IN_A_DESTRUCTOR, "score", signal.SIGTERM, 143),
        (JUST_BEFORE_THE_READ, "train", signal.SIGTERM, 143),
    ],
)
def test_no_signal_is_lost_before_a_read(trained, tmp_path, when, command, number, code):
    script = when.replace("NUMBER", str(int(number))) + READING
    arguments = (trained.char,) if command == "score" else ("-", "-o", tmp_path / "m", "--seed", 1)
    with started(command, *arguments, program=(sys.executable, "-c", script)) as process:
        process.stdin.write(b"Ra\n")
        assert process.wait(SECONDS) == code
        assert b"Traceback" not in process.stderr.read()
    assert files_of(tmp_path) == {}


@pytest.mark.thinned(2)
@pytest.mark.parametrize(("number", "code", "wait"), [(signal.SIGINT, 130, 0), (signal.SIGTERM, 143, 1.5)])
def test_after_a_signal_all_finished_lines_are_whole(trained, number, code, wait):
    """More lines go in than are read ahead; it is stopped while it answers, or while it waits for more."""
    numbers = {line.encode() for line in run("score", trained.char, "--format", "text", stdin=b"Rato\n" * 128).lines}
    with started("score", trained.char, "--batch-size", 4, "--format", "text") as process:
        process.stdin.write(b"Rato\n" * 128 * 40)
        out = bytearray(process.stdout.read(1 << 16))
        time.sleep(wait)
        process.send_signal(number)
        while part := process.stdout.read(1 << 16):
            out += part
        assert process.wait(SECONDS) == code
        assert process.stderr.read() == b""
    *lines, rest = bytes(out).split(b"\n")
    assert rest == b""
    assert set(lines) <= numbers
    assert len(lines) > 128


@pytest.mark.slow
def test_the_environment_is_not_needed(trained):
    """No HOME, no locale, no terminal: text is UTF-8 all the same."""
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONUTF8": "0"}
    line = "R\u00e9\N{SNOWMAN}".encode()
    result = run("score", trained.char, stdin=line + b"\n", **env).succeeded()
    assert result.out.endswith(b"\t" + line + b"\n")
    result = run("generate", trained.char, "-p", "R\u00e9", "-l", 0, "--seed", 1, **env).succeeded()
    assert result.out == "R\u00e9\n".encode()


def test_training_goes_on_when_the_reader_of_its_messages_leaves(trained, tmp_path):
    flags = "--hidden-size 4 --num-layers 1 --max-steps 3 --seed 1"
    result = bash(f"set -o pipefail; charlm train {trained.names} -o {tmp_path}/m {flags} 2>&1 | true")
    assert (tmp_path / "m.safetensors").exists()
    assert result.code == 0

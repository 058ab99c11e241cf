"""Signals at any moment: what is finished is whole, what was learned is saved, and nobody is shouted at."""

import random
import shlex
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.cli.shell import SECONDS, bash, environment, files_of, run, started, unread, wait_for_handlers, wait_until
from tests.task_models import saved

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells what a process catches")

HANGUP, INTERRUPT, TERMINATE = signal.SIGHUP, signal.SIGINT, signal.SIGTERM
SMALL = ("--hidden-size", 8, "--num-layers", 2, "--batch-size", 4, "--seq-length", 8, "--seed", 3, "--dropout", 0.1)


def read_all(process, into):
    while part := process.stdout.read(1 << 16):
        into += part


def broken_off(arguments, number, delay, *, reads_late=False):
    """Send a signal some time after the start; give the exit code and what was written."""
    out = bytearray()
    with started(*arguments) as process:
        reader = threading.Thread(target=read_all, args=(process, out))
        wait_for_handlers(process)
        if not reads_late:
            reader.start()
        time.sleep(delay)
        process.send_signal(number)
        if reads_late:
            time.sleep(0.2)
            reader.start()
        reader.join(SECONDS)
        return process.wait(SECONDS), bytes(out), process.stderr.read().decode()


def seconds_of(*arguments):
    begin = time.perf_counter()
    return run(*arguments).succeeded().out, time.perf_counter() - begin


# ---- results


@pytest.fixture(scope="module")
def places(trained, tmp_path_factory, times):
    models = saved(tmp_path_factory.mktemp("models"))
    many, long = models.folder / "many.txt", models.folder / "long.txt"
    many.write_text("".join(f"Rato {number}\n" for number in range(times(8_000, 12_000))))
    long.write_text("".join("Sau" * (1500 + number) + "\n" for number in range(20)))  # longer than a pipe takes at once
    gaps = models.folder / "gaps.txt"
    gaps.write_text("the ___\n" * times(1_000, 3_000))
    return {**vars(models), **vars(trained), "many": many, "long": long, "gaps": gaps}


STOPPED = {  # command, signals in the short form
    "score": ("score {char} {many}", 1),
    "score long lines": ("score {char} {long} --batch-size 4", 1),
    "score unbuffered": ("score {char} {names} --unbuffered --format text", 0),
    "generate": ("generate {char} --seed 1 -n 2000 --format jsonl", 1),
    "generate text": ("generate {stream} --seed 1 -n 100", 0),
    "predict": ("predict {tag} {many} --format tsv", 0),
    "fill": ("fill {cloze} {gaps}", 0),
}


@pytest.mark.parametrize("row", STOPPED)
@pytest.mark.parametrize("reads_late", [False, True])
def test_whenever_a_signal_comes_lines_are_whole_and_nothing_is_said(places, times, row, reads_late):
    """From the start on: while Typer and NumPy are imported, while it answers, while its reader has no more room."""
    command, short = STOPPED[row]
    if not (count := times(short * (reads_late == (row == "score long lines")), 1 if reads_late else 2)):
        pytest.skip("only in the long form")
    arguments = shlex.split(command.format_map(places))
    whole, seconds = seconds_of(*arguments)
    rng, stopped = random.Random(row), 0
    begin = list(STOPPED).index(row) + reads_late  # each row begins with another signal
    for number in ([INTERRUPT, TERMINATE, HANGUP] * 20)[begin:]:
        code, out, err = broken_off(arguments, number, rng.uniform(0, seconds), reads_late=reads_late)
        assert code in (0, 128 + number), err
        assert (err, whole[: len(out)]) == ("", out)
        assert out[-1:] in (b"", b"\n")
        assert code or out == whole
        stopped += code != 0
        if stopped == count:
            break
    assert stopped


AT_AN_IMPORT = """
import os, signal, sys
class Finder:
    left = int(sys.argv.pop(1))
    def find_spec(self, name, path=None, target=None):
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            Finder.left -= 1
            if not Finder.left:
                # From outside, as a person's: one of its own is what OpenBLAS sends where it gets no threads.
                os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", "kill -INT $PPID"], os.environ), 0)
sys.meta_path.insert(0, Finder())
from charlm.cli.app import main
sys.exit(main())
"""


@pytest.mark.slow
def test_every_import_may_be_interrupted(places, times):
    """NumPy's core, which is C, tells of what goes wrong in its imports, and makes other errors of it."""
    first, step = times(25, 1), times(60, 30)
    for number in range(first, 1000, step):
        command = [sys.executable, "-c", AT_AN_IMPORT, str(number), "score", places["char"]]
        done = subprocess.run(
            command, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS
        )
        if done.returncode == 0:
            break
        assert (done.returncode, done.stderr) == (128 + INTERRUPT, b""), number
        assert done.stdout in (b"", b"log10p\ttokens\toov\tperplexity\ttext\n"), number  # the header comes first
    assert 100 < number < 999


PATIENT = """
import sys
from charlm.cli import app, signals
signals._PATIENCE = float(sys.argv.pop(1))
sys.exit(app.main())
"""


@pytest.mark.parametrize(("count", "patience"), [(1, 0.5), (2, 1e6)])
def test_a_reader_who_takes_nothing_does_not_keep_it_for_long(places, count, patience):
    """A second signal does not wait for it at all; what the pipe has taken are whole lines."""
    command = [sys.executable, "-c", PATIENT, str(patience), "score", places["char"], places["many"]]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as process:
        wait_until(lambda: unread(process.stdout), process)
        time.sleep(1)
        for _ in range(count):
            process.send_signal(TERMINATE)
            time.sleep(0.2)
        assert process.wait(SECONDS) == 128 + TERMINATE
        assert process.stdout.read(1 << 20).endswith(b"\n")


@pytest.mark.thinned(2)
@pytest.mark.parametrize(
    "command", ["score {char} {many}", "train {names} -o {new} --max-steps 300 --hidden-size 8 --seed 1"]
)
@pytest.mark.slow
def test_signals_that_are_ignored_stay_so(places, tmp_path, command):
    """As nohup has it, and a shell that starts a command in the background of a script."""
    arguments = command.format_map({**places, "new": tmp_path / "new"})
    rest = "for i in 1 2 3 4; do sleep 0.3; kill -HUP $!; kill -INT $!; done 2> /dev/null; wait $!"
    result = bash(f"trap '' HUP INT; charlm {arguments} & {rest}").succeeded()
    assert result.out == (run(*shlex.split(arguments)).out if command.startswith("score") else b"")


# ---- pauses


@pytest.mark.thinned(2)
@pytest.mark.parametrize("command", ["train", "score"])
@pytest.mark.slow
def test_a_pause_changes_nothing(places, tmp_path, command):
    if command == "train":
        arguments = ["train", places["names"], "-o", tmp_path / "m.safetensors", *SMALL, "--max-steps", 150, "--force"]
    else:
        arguments = ["score", places["char"], places["many"]]

    def files():
        return {name: data for name, data in files_of(tmp_path).items() if name.endswith(".safetensors")}

    whole, out = (run(*arguments).succeeded().out, files()), bytearray()
    with started(*arguments) as process:
        reader = threading.Thread(target=read_all, args=(process, out))
        reader.start()
        wait_for_handlers(process)
        for stop in (signal.SIGTSTP, signal.SIGSTOP):  # where no shell looks after it the first does not stop it
            time.sleep(0.3)
            process.send_signal(stop)
            time.sleep(0.1)
            process.send_signal(signal.SIGCONT)
        reader.join(SECONDS)
        assert process.wait(SECONDS) == 0
        assert "charlm: " not in process.stderr.read().decode()
    assert (bytes(out), files()) == whole

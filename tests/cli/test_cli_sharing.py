"""Commands whose lines several processes share, or of which each reads a part: the bytes of one process."""

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from charlm.cli import sharing
from charlm.processes import Launched, ProcessPool
from tests.cli.shell import SECONDS, run
from tests.cli.test_cli_processes import Launched as Started
from tests.cli.test_cli_processes import mpiexec, needs_mpi
from tests.forms import each
from tests.processes.ranks import Meeting, Rank
from tests.task_models import saved

# Windows of 64 lines, so that there are some.
SMALL = ("--batch-size", 2)


@pytest.fixture(scope="module")
def paths(trained, tmp_path_factory):
    """Return what commands are given, by name: models, and 330 lines of which some are empty, odd or not UTF-8."""
    folder = tmp_path_factory.mktemp("sharing")
    drawn = random.Random(3)
    words = [b"ra", b"toni", b"sau rus", b"", b"the cat sees", b"\xff\xfe", "\N{SNOWMAN}".encode(), b"tab\\t"]
    lines = [b" ".join(drawn.choices(words, k=drawn.randrange(5))) for _ in range(330)]
    texts = {
        "lines": lines,
        "table": [b"id\ttext", *(b"%d\t%s" % one for one in enumerate(lines))],
        "broken": [b"id\ttext", *(b"%d\t%s" % one for one in enumerate(lines[:250])), b"no tab", *lines],
        "keyed": [b"key%d %s" % one for one in enumerate(lines)],
        "nbest": [b"u%d\t%d\t%s" % (i // 40, -i, line) for i, line in enumerate(lines)],
        "pairs": [b"%s\t%s" % one for one in zip(lines[::2], lines[1::2], strict=True)],
    }
    for name, rows in texts.items():
        suffix = "txt" if name in ("lines", "keyed") else "tsv"
        (folder / f"{name}.{suffix}").write_bytes(b"".join(row + b"\n" for row in rows))
    saved(folder)
    models = {"char": trained.char, "stream": trained.stream, "word": trained.word}
    return models | {path.stem: path for path in folder.iterdir()}


@pytest.fixture
def shared(charlm, monkeypatch):
    """Run `charlm` as the first of several processes; the others are threads."""

    def call(count, *args, stdin=b""):
        meeting = Meeting(count)
        monkeypatch.setattr(sharing, "launched", lambda: Launched(0, count))
        monkeypatch.setattr(sharing, "world", lambda: Rank(meeting, 0))
        pools = [ProcessPool(Rank(meeting, rank)) for rank in range(1, count)]
        others = [threading.Thread(target=pool.serve, daemon=True) for pool in pools]
        for one in others:
            one.start()
        result = charlm(*args, stdin=stdin)
        for one in others:
            one.join(SECONDS)
            assert not one.is_alive()
        return result

    return call


def filled(command, paths):
    """Return the arguments of a command, with the path of each name in capitals."""
    return [paths.get(word.lower(), word) if word.isupper() else word for word in command.split()]


COMMANDS = [
    "score CHAR LINES",
    "score CHAR LINES --per token --format jsonl",
    "score WORD TABLE --field text --per word --format csv",
    "score CONDITIONED BROKEN",
    "score STREAM BROKEN --field text",
    "score CLOZE LINES",
    "score CLOZE LINES --suspect --suspect-factor 1.5",
    "surprisal CHAR LINES --per token",
    "surprisal WORD LINES --columns line,word,surprisal",
    "filter CHAR LINES --below 5 --minus STREAM",
    "filter CHAR LINES --top 20%",
    "filter CHAR LINES --below -1",
    "rank CHAR LINES -n 7 --format jsonl",
    "rescore CHAR NBEST --id 1 --score 2 --text 3 --all",
    "evaluate CHAR PAIRS --pairs",
    "compare CHAR LM --on LINES",
    "score CHAR nowhere",
]


@each("command", COMMANDS, thinned=4)
def test_processes_that_share_lines_print_what_one_prints(command, charlm, shared, paths, monkeypatch):
    monkeypatch.setattr(sharing, "launched", lambda: None)
    args = [*filled(command, paths), *SMALL]
    alone = charlm(*args)
    assert shared(3, *args) == alone
    assert alone.code in (0, 1, 3)


def test_standard_input_is_shared_too(charlm, shared, paths):
    text = paths["lines"].read_bytes()
    alone = charlm("score", paths["char"], *SMALL, stdin=text).succeeded()
    assert shared(2, "score", paths["char"], *SMALL, stdin=text) == alone


def test_other_processes_compute_and_print_nothing(charlm, paths, monkeypatch):
    meeting = Meeting(2)
    monkeypatch.setattr(sharing, "launched", lambda: Launched(1, 2))
    monkeypatch.setattr(sharing, "world", lambda: Rank(meeting, 1))
    # Rank 0 asks for nothing.
    first = threading.Thread(target=ProcessPool(Rank(meeting, 0)).stop)
    first.start()
    result = charlm("score", paths["char"], "missing")
    first.join(SECONDS)
    assert (result.code, result.out, result.err) == (0, b"", "")


@each(
    "command, words",
    [
        ("score STREAM LINES --carry-state", "--carry-state with 2 processes"),
        ("score CHAR LINES --unbuffered", "--unbuffered with 2 processes"),
        ("rank CHAR LINES --follow", "--follow with 2 processes"),
        ("surprisal CHAR LINES --dynamic 0.1", "--dynamic with 2 processes"),
        ("score CHAR LINES --cache 9", "--cache with 2 processes"),
        ("evaluate CHAR LINES", "2 processes of charlm evaluate"),
    ],
)
def test_what_several_processes_cannot_share_is_refused(command, words, charlm, paths, monkeypatch):
    monkeypatch.setattr(sharing, "launched", lambda: Launched(0, 2))
    monkeypatch.setattr(sharing, "world", lambda: Rank(Meeting(2), 0))
    charlm(*filled(command, paths)).failed(2, words)


# --- parts ------------------------------------------------------------------------------------------------------------


@each(
    "command",
    [
        "score CHAR LINES",
        "score WORD TABLE --field text --per word --format csv",
        "score CHAR LINES --per token --format jsonl",
        "score CHAR KEYED --key 1 --format kaldi",
        "score CLOZE LINES --suspect",
        "score STREAM LINES TABLE --format text",
    ],
    thinned=3,
)
def test_the_outputs_of_all_parts_are_that_of_the_whole(command, charlm, paths, times):
    args = [*filled(command, paths), *SMALL]
    whole = charlm(*args).succeeded()
    # In the long form there are more parts than windows.
    parts = times(3, 9)
    found = [charlm(*args, "--shard", f"{part}/{parts}").succeeded().out for part in range(1, parts + 1)]
    assert b"".join(found) == whole.out
    assert max(map(len, found)) < len(whole.out)


def test_a_part_is_an_error_where_the_whole_is(charlm, paths):
    args = ("score", paths["stream"], paths["broken"], "--field", "text", *SMALL)
    for part in (1, 3):
        charlm(*args, "--shard", f"{part}/3").failed(3, "line 252")


@each(
    "flags, words",
    [
        (("--shard", "0/3"), "--shard is '0/3'"),
        (("--shard", "4/3"), "--shard is '4/3'"),
        (("--shard", "half"), "--shard is 'half'"),
        (("--shard", "1/2", "--carry-state"), "--shard with --carry-state"),
        (("--shard", "1/2", "--format", "kenlm"), "--shard with --format kenlm"),
        (("--shard", "1/2", "--cache", "9"), "--shard with --dynamic or --cache"),
    ],
)
def test_parts_that_do_not_exist_are_refused(flags, words, charlm, paths):
    charlm("score", paths["stream"], paths["lines"], *flags).failed(2, words)


def test_parts_of_standard_input_are_refused(charlm, paths):
    charlm("score", paths["char"], "--shard", "1/2", stdin=b"a\n").failed(2, "--shard with standard input")


def test_a_part_is_a_process_alone_as_a_step_of_srun(charlm, paths, monkeypatch):
    args = ("score", paths["char"], paths["lines"], "--shard", "2/3")
    alone = charlm(*args).succeeded()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert charlm(*args) == alone


# --- under mpiexec ----------------------------------------------------------------------------------------------------

RAISING = """
import os, sys
from charlm.cli import app
from charlm.inference.scoring import Scorer
plain, windows = Scorer._of_window, []
def raising(self, window):
    windows.append(window)
    if os.environ["PMI_RANK"] == "1" and len(windows) == 2:
        raise ValueError("odd")
    return plain(self, window)
raising.__name__ = "_of_window"
Scorer._of_window = raising
sys.exit(app.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def long_text(paths, tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.txt"
    path.write_text("the cat sees\nra toni\n" * 200_000)
    return path


@needs_mpi
@pytest.mark.slow
def test_ranks_print_what_one_process_prints(paths):
    for command in ("score STREAM BROKEN --field text", "filter CHAR LINES --below -1"):
        args = [*filled(command, paths), *SMALL]
        assert mpiexec(3, *args) == run(*args)


@needs_mpi
@pytest.mark.slow
def test_an_exception_of_another_rank_ends_all_after_the_output_before_it(paths):
    args = ("score", paths["char"], paths["lines"], *SMALL)
    result = mpiexec(2, *args, code=RAISING)
    result.failed(1, "ValueError: odd")
    whole = run(*args).out
    assert 1000 < len(result.out) < len(whole) and whole.startswith(result.out)


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_all(rank, paths, long_text):
    running = Started(2, "score", paths["char"], long_text)
    running.process.stdout.read(1)
    ranks = running.ranks()
    os.kill(ranks[rank], signal.SIGKILL)
    assert running.result(10).code not in (0, None)
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks)


@needs_mpi
@pytest.mark.slow
def test_a_signal_ends_all_with_whole_lines_and_nothing_else(paths, long_text):
    running = Started(2, "score", paths["char"], long_text, "--format", "text")
    running.process.stdout.read(1)
    running.process.send_signal(signal.SIGINT)
    result = running.result(10)
    assert (result.code, result.err) == (130, "")
    assert result.out.endswith(b"\n")


@needs_mpi
@pytest.mark.slow
def test_a_closed_pipe_ends_all_without_a_word(paths, long_text):
    running = Started(2, "score", paths["char"], long_text)
    running.process.stdout.read(1)
    ranks = running.ranks()
    running.process.stdout.close()
    _, err = running.process.communicate(timeout=10)
    assert (running.process.returncode in (0, -signal.SIGPIPE), err) == (True, b"")
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in ranks):
        assert time.monotonic() < end
        time.sleep(0.02)

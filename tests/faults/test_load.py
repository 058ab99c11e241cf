"""Load: very many lines, many processes at once, more text than memory, and less memory than is needed."""

import re
import subprocess
import threading

import numpy as np
import pytest

from charlm import checkpoint, load
from charlm.inference.scoring import Scorer
from tests.benchmarks.memory import resident
from tests.cli.shell import CHARLM, environment
from tests.faults.limited import run_limited
from tests.inference.test_scoring import random_model

pytestmark = pytest.mark.usefixtures("private_cache")

MEGABYTE = 1_000_000
TINY = ("--hidden-size", 4, "--num-layers", 1, "--batch-size", 8, "--seq-length", 16, "--max-steps", 3, "--seed", 1)


def line_of(number):
    """Give a line that no other number has, but for every tenth, which is empty."""
    return "".join("ratoniseud"[int(digit)] for digit in str(number)) if number % 10 else ""


@pytest.mark.slow
def test_very_many_lines_come_out_in_order_each_with_its_own_score(trained):
    count = 60_000
    command = [*CHARLM, "score", trained.char, "-"]
    alone = Scorer(load(trained.char), batch_size=1)
    sizes = []
    with subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:

        def feed():
            with process.stdin as pipe:
                pipe.writelines(f"{line_of(number)}\n".encode() for number in range(count))

        threading.Thread(target=feed).start()
        assert next(process.stdout) == b"log10p\ttokens\toov\tperplexity\ttext\n"
        read = 0
        for number, row in enumerate(process.stdout):
            log10p, tokens, _, _, text = row.decode().removesuffix("\n").split("\t")
            assert (text, int(tokens)) == (line_of(number), len(text) + 1)
            if number % (count // 300) == 0:
                (score,) = alone.score([text])
                assert abs(float(log10p) - score.log10p) < 1.1e-4  # of which one half is that four places are printed
            if number % (count // 10) == 0 and number < 0.95 * count:
                sizes.append(resident(process.pid))
            read = number + 1
    assert (read, process.returncode) == (count, 0)
    assert max(sizes[3:]) - sizes[2] < 2  # megabytes, from when the first windows of lines are through


@pytest.mark.slow
def test_many_draw_at_once_and_none_disturbs_another(charlm, trained):
    """None draws before all have started: each waits for its prompt."""
    models = (trained.char, trained.stream, trained.word)
    jobs = [(models[seed % 3], "-p", "-", "-n", 2, "-l", 50, "--seed", seed) for seed in range(24)]
    processes = [
        subprocess.Popen(
            [*CHARLM, "generate", *map(str, job)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for job in jobs
    ]
    for process in processes:
        with process.stdin as pipe:
            pipe.write(b"the")
    answers = []
    for process in processes:
        with process:
            answers.append((process.stdout.read(), process.stderr.read(), process.wait(600)))
    for job, (out, err, code) in zip(jobs, answers, strict=True):
        alone = charlm("generate", *job, stdin=b"the").succeeded()
        assert (code, out, err.decode()) == (0, alone.out, alone.err)
    assert len({out for out, _, _ in answers}) > len(jobs) // 2


# The parts in which a corpus is worked on are as much smaller as the corpus.
SMALL_PARTS = """
from charlm.text import learning
from charlm.text.batches import lanes
learning.MOST_IN_MEMORY = lanes.GROUP_TOKENS = 1 << 18
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "unit", "before", "size", "allowed"),
    [
        ("char", "line", "", 400 * MEGABYTE, 300 * MEGABYTE),
        ("char", "stream", SMALL_PARTS, 120 * MEGABYTE, 32 * MEGABYTE),
        ("word", "line", SMALL_PARTS, 120 * MEGABYTE, 100 * MEGABYTE),
    ],
    ids=["char line", "char stream", "word line"],
)
def test_a_corpus_that_is_larger_than_the_memory_is_trained_on(tmp_path, level, unit, before, size, allowed):
    rng = np.random.default_rng(1)
    words = np.array(["".join(rng.choice(list("abcdefgh"), rng.integers(1, 9))) for _ in range(500)])
    block = "\n".join(" ".join(rng.choice(words, rng.integers(0, 20))) for _ in range(5000)) + "\n"
    corpus = tmp_path / "corpus.txt"
    with corpus.open("wb") as file:
        for _ in range(size // len(block) + 1):
            file.write(block.encode())
    flags = ("--level", level, "--unit", unit, "--valid-fraction", 0.001, "--threads", 1)
    args = ("train", corpus, "-o", tmp_path / "m", *flags, *TINY)
    result = run_limited(*args, allowed=allowed, before=before, seconds=600).succeeded()
    assert corpus.stat().st_size > allowed
    tokens = re.search(r"([\d,]+) tokens to train on", result.err)[1]
    assert int(tokens.replace(",", "")) > (0.95 if level == "char" else 0.1) * size
    assert "valid " in result.err and (tmp_path / "m.safetensors").exists()


# ---- too little memory

SIZES = ("--hidden-size", 64, "--num-layers", 1, "--batch-size", 1000, "--seq-length", 64)
WIDE = (*SIZES, "--max-steps", 2, "--seed", 1, "--threads", 1)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    path = tmp_path_factory.mktemp("sentences") / "sentences.txt"
    path.write_text("".join(f"the {number % 97} cooks of {number} are out of memory\n" for number in range(4000)))
    return path


@pytest.mark.slow
def test_training_that_needs_more_memory_says_how_much_and_what_to_do(sentences, tmp_path):
    def train(allowed):
        return run_limited("train", sentences, "-o", tmp_path / "m", "--force", *WIDE, allowed=allowed)

    result = train(30 * MEGABYTE).failed(6, "out of memory: about ", " MB are needed", "--batch-size")
    told, again = re.findall(r"about ([\d,]+) MB", result.err)
    assert told == again  # first of what is to be trained, then in the error
    assert "step 1/" not in result.err
    assert not list(tmp_path.glob("*.tmp")) and not list(tmp_path.glob(".*.tmp"))
    needed = int(told.replace(",", "")) * MEGABYTE
    train(needed // 2).failed(6, f"about {told} MB are needed")
    assert re.search(rf"about {told} MB.*\n(.*\n)*step 2/2", train(needed * 5 // 4).succeeded().err)


@pytest.mark.slow
def test_other_commands_that_need_more_memory_end_with_6_too(trained, tmp_path):
    line, text = tmp_path / "line.txt", tmp_path / "text.txt"
    line.write_bytes(b"Ratoni" * MEGABYTE)
    text.write_bytes(b"Ratoni sau\n" * (MEGABYTE // 2))
    large = tmp_path / "large.safetensors"
    checkpoint.save(large, random_model("abc", hidden=1000))  # 16 MB
    for args in (
        ("score", trained.char, line),
        ("score", trained.word, line),
        ("evaluate", trained.char, text),
        ("evaluate", trained.char, line),
        ("train", line, "-o", tmp_path / "m", *TINY),
        ("generate", large, "--seed", 1),
        ("score", large, trained.names),
    ):
        run_limited(*args, allowed=8 * MEGABYTE).failed(6, "out of memory", "--batch-size")
    assert sorted(path.name for path in tmp_path.glob("m*")) == []

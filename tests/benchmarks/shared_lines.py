"""The speed of `mpiexec -n 2 charlm score` beside one process with one thread and with two, by turns.

    python -m tests.benchmarks.shared_lines MODEL TEXT

Needs mpi4py (`make mpi`) and a machine that does nothing else. The time to start is measured with an empty text, and
subtracted.
"""

import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.cli.shell import environment

TURNS = 3
SCORE = (sys.executable, "-m", "charlm", "score")
WAYS = {
    "one thread": (*SCORE, "--threads", "1"),
    "two threads": (*SCORE, "--threads", "2"),
    "two ranks": (str(Path(sys.executable).parent / "mpiexec"), "-n", "2", *SCORE, "--threads", "1"),
}


def timed(command, *files):
    """Return the seconds that a command takes, and the SHA-256 of its output."""
    variables = {name: value for name, value in environment().items() if name != "OPENBLAS_NUM_THREADS"}
    start = time.perf_counter()
    done = subprocess.run([*command, *files], env=variables, stdout=subprocess.PIPE, check=True)
    return time.perf_counter() - start, hashlib.sha256(done.stdout).hexdigest()


def main(model, text):
    lines = Path(text).read_bytes().count(b"\n")
    seconds, digests = {name: [] for name in WAYS}, set()
    with tempfile.NamedTemporaryFile(suffix=".txt") as empty:
        for _ in range(TURNS):
            for name, command in WAYS.items():
                whole, digest = timed(command, model, text)
                seconds[name].append(whole - timed(command, model, empty.name)[0])
                digests.add(digest)
    assert len(digests) == 1, "the outputs differ"
    print(f"{lines:,} lines, equal output")
    for name, found in seconds.items():
        print(f"{name:12} {lines / statistics.median(found):9,.0f} lines a second")


if __name__ == "__main__":
    main(*sys.argv[1:])

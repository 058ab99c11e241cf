"""How the memory of `charlm score -` grows with the lines that it reads.

    python -m tests.benchmarks.memory [--lines 1000000]

A small model scores the names of corpora/dinosaurs.txt over and over; resident memory is
read from /proc after each tenth of the lines has come out. The texts that come out have to be those that went in, one
for one.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
NAMES = PROJECT / "corpora" / "dinosaurs.txt"
CHARLM = [sys.executable, "-m", "charlm"]
SMALL = ["--hidden-size", "32", "--num-layers", "1", "--epochs", "2", "--batch-size", "16", "--seed", "1", "-q"]


def children(pid: int, proc: Path = Path("/proc")) -> list[int]:
    """Return the numbers of the processes that a process has started and that still run."""
    tasks = proc / str(pid) / "task"
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]


def resident(pid: int) -> float:
    """Return the megabytes of a process."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    return kilobytes / 1024


def main() -> None:
    """Print the memory after each tenth."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lines", type=int, default=1_000_000)
    count = options.parse_args().lines
    names = NAMES.read_text().splitlines()
    with tempfile.TemporaryDirectory() as folder:
        model = f"{folder}/names.safetensors"
        subprocess.run([*CHARLM, "train", str(NAMES), "-o", model, *SMALL], cwd=PROJECT, check=True)
        score = [*CHARLM, "score", model, "-"]
        with subprocess.Popen(score, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin and process.stdout

            def feed() -> None:
                assert process.stdin
                process.stdin.writelines(f"{name}\n" for name in itertools.islice(itertools.cycle(names), count))
                process.stdin.close()

            threading.Thread(target=feed).start()
            next(process.stdout)
            print("| lines | resident memory, MB |\n|---|---|")
            for number, (line, name) in enumerate(zip(process.stdout, itertools.cycle(names)), 1):
                assert line.rstrip("\n").split("\t")[4] == name, f"line {number} is {line!r}"
                if number % (count // 10) == 0 and number < count:
                    print(f"| {number:,} | {resident(process.pid):.1f} |", flush=True)
        assert number == count and process.returncode == 0
        print(f"\n{number:,} lines came out, in order")


if __name__ == "__main__":
    main()

"""How fast a large corpus is encoded, and how little memory that and training on it take.

    python -m tests.benchmarks.encoding [--megabytes 1000] [--text FILE]

A text is repeated to the size that is asked for, in a temporary folder, which also has the cache: twice the size has to
be free there. Each figure is of a process of its own: MB of text (10^6 bytes) a second, the first time and where the
cache has it; and the largest resident memory, in MB, of the encoding and of `charlm train --max-steps 30` by lines and
as a stream. A repeated text has few different words: a dictionary of words grows with their number, as it has to.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

TEXT = Path(__file__).resolve().parents[3] / "shared/corpora/tatoeba/eng.txt"
RULES = {
    "characters": ("char", "punct"),
    "words, split at white space": ("word", "whitespace"),
    "words, punctuation set apart": ("word", "punct"),
}
MEGA = 10**6

ENCODE = """
import sys, time
from charlm.text import make_splitter, read_lines
from charlm.text.learning import gather
path, level, split = sys.argv[1:]
begin = time.perf_counter()
gather(read_lines([path]), make_splitter(level, split, lowercase=False))
print(time.perf_counter() - begin)
"""


@dataclass(frozen=True)
class Ended:
    """What a process printed, and its largest resident memory in MB."""

    out: str
    megabytes: float


def run(command: list[str], cache: Path) -> Ended:
    """Run a process to its end."""
    environment = {**os.environ, "CHARLM_CACHE": str(cache)}
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{command[:4]} ended with {process.returncode}")
        out.seek(0)
        return Ended(out.read(), used.ru_maxrss * 1024 / MEGA)


def repeat(text: Path, size: int, path: Path) -> int:
    """Write a text over and over, whole, up to about `size` bytes; give how many they are."""
    data = text.read_bytes()
    data += b"\n" * (not data.endswith(b"\n"))
    times = max(1, size // len(data))
    with path.open("wb") as file:
        for _ in range(times):
            file.write(data)
    return times * len(data)


def row(name: str, path: Path, cache: Path) -> str:
    """Measure one rule; give the row of the table."""
    level, split = RULES[name]
    size = path.stat().st_size / MEGA
    encoded, found = (run([sys.executable, "-c", ENCODE, str(path), level, split], cache) for _ in range(2))
    flags = ["--level", level, "--split", split, "--max-steps", "30", "--valid-fraction", "0.0001", "--seed", "1", "-q"]
    flags += ["--embedding-size", "64", "--vocab-size", "10000"] if level == "word" else []
    model = str(path.with_suffix(".safetensors"))
    train = [sys.executable, "-m", "charlm", "train", str(path), "-o", model, "--force", *flags]
    trained = [run([*train, "--unit", unit], cache) for unit in ("line", "stream")]
    speeds = [size / float(one.out) for one in (encoded, found)]
    memory = [one.megabytes for one in (encoded, *trained)]
    return f"| {name} | {' | '.join(f'{number:.0f}' for number in (*speeds, *memory))} |"


def main() -> None:
    """Print the table, row by row."""
    options = argparse.ArgumentParser()
    options.add_argument("--megabytes", type=int, default=1000)
    options.add_argument("--text", type=Path, default=TEXT)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        free = shutil.disk_usage(folder).free
        if free < 3 * given.megabytes * MEGA:
            raise SystemExit(f"{folder} has {free / MEGA:.0f} MB free: too little; TMPDIR names another folder")
        path, cache = Path(folder) / "corpus.txt", Path(folder) / "cache"
        size = repeat(given.text, given.megabytes * MEGA, path)
        print(f"{given.text.name}, repeated to {size / MEGA:.0f} MB\n")
        print("| tokens | MB/s | MB/s again | encoding, MB | training by lines, MB | as a stream, MB |")
        print("|---|---|---|---|---|---|")
        for name in RULES:
            print(row(name, path, cache), flush=True)
            shutil.rmtree(cache, ignore_errors=True)


if __name__ == "__main__":
    main()

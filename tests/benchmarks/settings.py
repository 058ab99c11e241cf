"""The settings that follow from a corpus beside the best of a search, as markdown.

    python -m tests.benchmarks.settings                                 ten corpora, trials of half a minute
    python -m tests.benchmarks.settings dinosaurs log --minutes 0.1 --trials 5

Each corpus is searched by `charlm tune` on one thread, two corpora at a time. The first trial of a search has the
settings that `charlm train` would choose, and all trials have the same time. The data lie beside the project, in
../shared/corpora; the log and the source tree are made here.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SHARED = PROJECT.parent / "shared" / "corpora"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
FIRST_LINE = 60_000  # of the log


def read(path: str) -> list[str]:
    """Return the lines of a shared corpus."""
    return (SHARED / path).read_text(encoding="utf-8").split("\n")[:-1]


def names() -> list[str]:
    """Return 700 Italian surnames, as a newcomer's list."""
    return [line.split("\t")[1] for line in read("names/surnames.tsv") if line.startswith("Italian\t")][:700]


def reviews() -> list[str]:
    """Return the sentences of film reviews, each with its label."""
    found = []
    for label in ("pos", "neg"):
        text = (SHARED / f"polarity/rt-polarity.{label}").read_bytes().decode("latin-1")
        found += [f"{label}\t{line.strip()}" for line in text.split("\n") if line.strip()]
    return found


def log(count: int = FIRST_LINE) -> list[str]:
    """Return lines as the log of three machines has them."""
    rng, clock, lines = random.Random(5), 0, []
    pages = ("/", "/index.html", "/login", "/api/v1/items", "/static/app.js", "/health", "/search?q=shoes", "/cart")
    users = ("root", "www-data", "alice", "bob", "deploy", "backup", "postgres")
    for _ in range(count):
        clock += rng.randrange(1, 9)
        day, hour, minute = 7 + clock // 86400, clock // 3600 % 24, clock // 60 % 60
        address, number = f"10.{rng.randrange(4)}.{rng.randrange(256)}.{rng.randrange(256)}", rng.randrange(300, 32000)
        message = rng.choice(
            (
                f'nginx: {address} "GET {rng.choice(pages)} HTTP/1.1" {rng.choice((200, 200, 304, 404))} {number}',
                f"sshd[{number}]: Accepted publickey for {rng.choice(users)} from {address} port {number} ssh2",
                f"sshd[{number}]: Connection closed by {address} port {number} [preauth]",
                f"CRON[{number}]: (root) CMD (run-parts /etc/cron.{rng.choice(('hourly', 'daily'))})",
                f"systemd[1]: Started Session {number} of user {rng.choice(users)}.",
            )
        )
        host = rng.choice(("web1", "web2", "db1"))
        lines.append(f"Oct {day:02} {hour:02}:{minute:02}:{clock % 60:02} {host} {message}")
    return lines


def source() -> list[str]:
    """Return lines of Python's standard library."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:60]
    return [line for file in files for line in file.read_text(encoding="utf-8").split("\n")][:45_000]


# The corpora: their lines, and the flags that say what they are.
CORPORA: dict[str, tuple[Callable[[], list[str]], str]] = {
    "names": (names, ""),
    "dinosaurs": (lambda: read("names/dinosaurs.txt"), ""),
    "first names": (lambda: read("names/first.txt"), ""),
    "surnames": (lambda: read("names/surnames.tsv"), "--condition"),
    "play": (lambda: read("tinyshakespeare.txt"), ""),
    "sentences": (lambda: read("tatoeba/eng.txt"), "--level word"),
    "reviews": (reviews, "--task classify --level word"),
    "tags": (lambda: read("upos/upos_train.tsv"), "--task tag"),
    "chorales": (lambda: read("jsb/train.txt"), "--task music"),
    "log": (log, ""),
    "source": (source, ""),
}


def searched(name: str, options: argparse.Namespace, folder: Path) -> str:
    """Return a row of the table: the loss of the default settings, that of the best trial, and its settings."""
    lines, flags = CORPORA[name]
    corpus = folder / f"{name.replace(' ', '-')}.txt"
    corpus.write_text("".join(f"{line}\n" for line in lines()), encoding="utf-8")
    command = [sys.executable, "-m", "charlm", "tune", corpus, "-o", corpus.with_suffix(""), *flags.split()]
    limits = ["--trials", options.trials, "--trial-minutes", options.minutes]
    command += [*limits, "--threads", 1, "--seed", options.seed, "--device", "cpu", "--format", "jsonl", "-q"]
    done = subprocess.run([*map(str, command)], cwd=PROJECT, env=ENVIRONMENT, stdout=subprocess.PIPE, check=True)
    trials = [json.loads(line) for line in done.stdout.splitlines()]
    default, best = trials[0], next(trial for trial in trials if trial["best"])
    ratio = default["valid_nats"] / best["valid_nats"]
    shown = ("hidden_size", "num_layers", "embedding_size", "dropout", "batch_size", "learning_rate")
    pairs = [" / ".join(f"{trial.get(key, '-')}" for key in shown) for trial in (default, best)]
    figures = f"{default['valid_nats']:.4f} | {best['valid_nats']:.4f} | {ratio:.3f}"
    return f"| {name} | {figures} | {pairs[0]} | {pairs[1]} | {default['steps']:,} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CORPORA))
    parser.add_argument("--minutes", type=float, default=0.5, help="of a trial")
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--together", type=int, default=2, help="corpora that are searched at the same time")
    options = parser.parse_args()
    print("| corpus | default | best of the search | ratio | default settings | best settings | steps |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.together) as pool:
        for row in pool.map(lambda name: searched(name, options, Path(folder)), options.names or CORPORA):
            print(row, flush=True)


if __name__ == "__main__":
    main()

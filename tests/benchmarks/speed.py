"""charlm beside PyTorch, each in a process of its own and in turns, on equal threads.

Writes the table of `speed.md`, and its copy in the README.

    python -m tests.benchmarks.speed
    python -m tests.benchmarks.speed --only "train lstm" score --pairs 3 --seconds 1      a quick look, not written down

PyTorch is taken in the form of each case that is fastest here, which `torch_forms.py` finds by trying, and which a
quick look takes from the last time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

from tests.benchmarks.speed_cases import CASES, Case
from tests.benchmarks.speed_table import FILE, Row, head, row_line, rows_head, updated

RUN = (sys.executable, "-m", "tests.benchmarks.speed_worker")
PROJECT = FILE.parents[2]
README = PROJECT / "README.md"
FORMS = PROJECT / ".bench" / "forms.json"
SETTLING_DOWN = 0.1  # seconds in which the other side's threads, which wait for more work for a while, fall asleep


class Worker:
    """One side of one case."""

    def __init__(self, side: str, case: Case, threads: int, form: dict[str, Any]) -> None:
        command = [*RUN, side, case.name, str(threads), json.dumps(form)]
        self._process = subprocess.Popen(
            command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.megabytes: float = self._answer()["megabytes"]

    def speed(self, seconds: float) -> float:
        """Return its tokens per second over some time."""
        time.sleep(SETTLING_DOWN)
        assert self._process.stdin
        self._process.stdin.write(f"{seconds}\n")
        return float(self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended with {self._process.wait()}")
        return json.loads(line)

    def end(self) -> None:
        """End it."""
        self._process.communicate()


def asked(*arguments: object) -> Any:
    """Return the answer of a worker that answers once."""
    done = subprocess.run([*RUN, *map(str, arguments)], cwd=PROJECT, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def form_of(case: Case, threads: int, seconds: float, *, anew: bool) -> dict[str, Any]:
    """Return PyTorch's fastest form of a case, and keep it for quick looks."""
    kept = json.loads(FORMS.read_text()) if FORMS.exists() else {}
    key = f"{case.name}, {threads} threads"
    if anew or key not in kept:
        choice = asked("choose", case.name, threads, seconds)
        print(f"{case.name}\n" + "\n".join(choice["tried"]), file=sys.stderr, flush=True)
        kept[key] = choice["form"]
        FORMS.parent.mkdir(exist_ok=True)
        FORMS.write_text(json.dumps(kept, indent=1))
    form: dict[str, Any] = kept[key]
    return form


def compare(case: Case, form: dict[str, Any], threads: int, pairs: int, seconds: float) -> Row:
    """Measure both sides in turns, A B A B."""
    ours, theirs = Worker("charlm", case, threads, {}), Worker("torch", case, threads, form)
    speeds = [(ours.speed(seconds), theirs.speed(seconds)) for _ in range(pairs)]
    ours.end(), theirs.end()
    mine, its = (statistics.median(column) for column in zip(*speeds, strict=True))
    ratios = sorted(a / b for a, b in speeds)
    return Row(case, mine, its, ratios, ours.megabytes, theirs.megabytes, form)


def main() -> None:
    """Print the table as it grows; write it when it is whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn, at least")
    parser.add_argument("--only", nargs="+", default=[""], metavar="SUBSTRING", help="the cases with one in their name")
    parser.add_argument("--keep-forms", action="store_true", help="take PyTorch's forms from the last time")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    threads, pairs, seconds, quick = options.threads, options.pairs, options.seconds, options.only != [""]
    lines = [head(asked("machine", threads), threads, pairs, seconds), *rows_head()]
    print("\n".join(lines), flush=True)
    for case in CASES:
        if any(part in case.name for part in options.only):
            form = form_of(case, threads, min(seconds, 1.5), anew=not (quick or options.keep_forms))
            lines.append(row_line(compare(case, form, threads, pairs, seconds)))
            print(lines[-1], flush=True)
    if not quick:
        table = "\n".join(lines) + "\n"
        FILE.write_text(table)
        README.write_text(updated(README.read_text(), table))


if __name__ == "__main__":
    main()

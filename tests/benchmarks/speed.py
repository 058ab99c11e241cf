"""charlm beside PyTorch, each in a process of its own and in turns.

Writes the table of `speed.md`, and its picture `speed.svg`.

    python -m tests.benchmarks.speed
    python -m tests.benchmarks.speed --only "train lstm" score --pairs 3 --seconds 1      a quick look, not written down
    python -m tests.benchmarks.speed --dtype bfloat16        training and generating in another precision, on both sides

PyTorch runs in the form of each case that is fastest here. `torch_forms.py` finds it by trying all; a quick look takes
the form of the last time. A turn in which other processes took the machine's time is measured again.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

from tests.benchmarks.speed_cases import DTYPES, Case, cases_in
from tests.benchmarks.speed_picture import PICTURE, drawn
from tests.benchmarks.speed_table import FILE, Row, head, notes, row_line, rows_head
from tests.benchmarks.windows import MOST_OTHERS

RUN = (sys.executable, "-m", "tests.benchmarks.speed_worker")
PROJECT = FILE.parents[2]
FORMS = PROJECT / ".bench" / "forms.json"
SETTLING_DOWN = 0.1  # seconds in which the other side's threads, which wait for more work for a while, fall asleep
TRIES = 5  # of a turn, until no other process disturbs it
FEWEST_PAIRS = 5  # of a table that is written down
PEAK_SECONDS = 1.0


class Worker:
    """One side of one case.

    dropped: turns that were measured again
    disturbed: turns that count although other processes disturbed them, as they disturbed all tries
    """

    def __init__(self, side: str, case: Case, threads: int, form: dict[str, Any]) -> None:
        command = [*RUN, side, case.name, str(threads), json.dumps(form)]
        self._process = subprocess.Popen(
            command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.dropped = self.disturbed = 0
        self.megabytes: float = self._answer()["megabytes"]

    def speed(self, seconds: float) -> float:
        """Return its tokens per second over some time: of the first undisturbed try, or else of the least disturbed."""
        windows: list[tuple[float, float]] = []
        while not windows or (windows[-1][0] > MOST_OTHERS and len(windows) < TRIES):
            windows.append(self._window(seconds))
        others, speed = min(windows)
        self.dropped += len(windows) - 1
        self.disturbed += others > MOST_OTHERS
        return speed

    def _window(self, seconds: float) -> tuple[float, float]:
        """Return the share of the machine that others took, and the tokens per second."""
        time.sleep(SETTLING_DOWN)
        assert self._process.stdin
        self._process.stdin.write(f"{seconds}\n")
        answer = self._answer()
        return answer["others"], answer["speed"]

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


@functools.cache
def peak_of(threads: int, dtype: str) -> float:
    """Return the fastest arithmetic in GFLOP/s: the best of all tries until one is undisturbed."""
    best = 0.0
    for _ in range(TRIES):
        answer = asked("peak", threads, dtype, PEAK_SECONDS)
        best = max(best, answer["gflops"])
        if answer["others"] <= MOST_OTHERS:
            break
    return best


@functools.cache
def fastest_form(name: str, threads: int, seconds: float, way: str) -> dict[str, Any]:
    """Return PyTorch's fastest form of a case, found by trying all; print what was tried."""
    choice = asked("choose", name, threads, seconds, way)
    print("\n".join([name, *choice["tried"]]), file=sys.stderr, flush=True)
    form: dict[str, Any] = choice["form"]
    return form


def form_of(case: Case, threads: int, seconds: float, way: str = "", *, anew: bool) -> dict[str, Any]:
    """Return PyTorch's fastest form of a case, and keep it for quick looks; way: one of `Case.beside`."""
    kept = json.loads(FORMS.read_text()) if FORMS.exists() else {}
    theirs = replace(case, threads=None).name  # charlm's number of threads does not limit PyTorch's
    key = ", ".join([theirs, *([way] if way else []), f"{threads} threads"])
    if anew or key not in kept:
        kept[key] = fastest_form(theirs, threads, seconds, way)
        FORMS.parent.mkdir(exist_ok=True)
        FORMS.write_text(json.dumps(kept, indent=1))
    form: dict[str, Any] = kept[key]
    return form


def compare(case: Case, form: dict[str, Any], threads: int, pairs: int, seconds: float) -> Row:
    """Measure both sides in turns, A B A B."""
    own_threads = case.threads or threads
    workers = Worker("charlm", case, own_threads, {}), Worker("torch", case, threads, form)
    speeds = [(workers[0].speed(seconds), workers[1].speed(seconds)) for _ in range(pairs)]
    for worker in workers:
        worker.end()
    mine, its = (statistics.median(column) for column in zip(*speeds, strict=True))
    return Row(
        case=case,
        ours=mine,
        theirs=its,
        ratios=sorted(a / b for a, b in speeds),
        our_megabytes=workers[0].megabytes,
        their_megabytes=workers[1].megabytes,
        form=form,
        dropped=sum(worker.dropped for worker in workers),
        disturbed=sum(worker.disturbed for worker in workers),
    )


def alone(case: Case, form: dict[str, Any], threads: int, turns: int, seconds: float) -> float:
    """Return PyTorch's tokens per second in a form that charlm is not compared with."""
    worker = Worker("torch", case, threads, form)
    speed = statistics.median(worker.speed(seconds) for _ in range(turns))
    worker.end()
    return speed


def share_of(case: Case, speed: float, operations: float | None, threads: int) -> float | None:
    """Return the share of the machine's peak at a speed of a case; None for a whole process."""
    return None if operations is None else operations * speed / (peak_of(case.threads or threads, case.dtype) * 1e9)


def row_of(case: Case, options: argparse.Namespace, *, anew: bool) -> Row | str:
    """Measure a case; return its row, or the message with which charlm refuses it."""
    facts = asked("facts", case.name)
    if facts["refusal"] is not None:
        return str(facts["refusal"])
    threads, pairs, seconds = options.threads, options.pairs, options.seconds
    find = functools.partial(form_of, case, threads, min(seconds, 1.5), anew=anew)
    row = compare(case, find(), threads, pairs, seconds)
    beside = {way: alone(case, find(way), threads, pairs, seconds) for way in case.beside}
    return replace(row, share=share_of(case, row.ours, facts["operations"], threads), beside=beside)


def main() -> None:
    """Print the table as it grows; write it when it is whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7, help=f"with fewer than {FEWEST_PAIRS} nothing is written down")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn, at least")
    parser.add_argument("--only", nargs="+", default=[""], metavar="SUBSTRING", help="the cases with one in their name")
    parser.add_argument("--dtype", choices=DTYPES, help="the cases of the table that can be in this precision")
    parser.add_argument("--keep-forms", action="store_true", help="take PyTorch's forms from the last time")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    quick = options.only != [""] or options.dtype is not None or options.pairs < FEWEST_PAIRS
    lines = [head(asked("machine"), options.threads, options.pairs, options.seconds), *rows_head()]
    print("\n".join(lines), flush=True)
    peaks: dict[tuple[int, str], float] = {}
    refusals: dict[str, str] = {}
    for case in cases_in(options.dtype):
        if not any(part in case.name for part in options.only):
            continue
        row = row_of(case, options, anew=not (quick or options.keep_forms))
        if isinstance(row, str):
            refusals[case.name] = row
            print(f"left out: {case.name}: {row}", file=sys.stderr, flush=True)
            continue
        if row.share is not None:
            of_case = case.threads or options.threads, case.dtype
            peaks[of_case] = peak_of(*of_case)
        lines.append(row_line(row))
        print(lines[-1], flush=True)
    lines += ["", notes(peaks, refusals)]
    print("\n".join(lines[-2:]))
    if not quick:
        table = "\n".join(lines) + "\n"
        FILE.write_text(table)
        PICTURE.write_text(drawn(table))


if __name__ == "__main__":
    main()

"""Opens damaged files in a process of its own, watched: `python -m tests.faults.opening FOLDER FIRST COUNT`.

An audit hook, which cannot be taken away again, notes what is opened, imported or started meanwhile; the address space
is limited, so that memory which is only asked for counts, too; every warning is an error. Writes a JSON object.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from charlm import api
from charlm.backends import NumpyBackend
from charlm.checkpoint import Checkpoint, load
from charlm.cli import ui
from charlm.cli.chart import loss_chart
from charlm.cli.inspect_views.losses import of_model
from charlm.cli.inspect_views.summary import described, record_of
from charlm.errors import CharlmError, ModelFileError
from charlm.inference.music import write_midi
from tests.faults.mutants import FIXTURES, mutant

OPS = NumpyBackend()  # one for all: each asks once which libraries there are
SPARE = 64 << 20  # bytes that opening a file may need beside four times its size
SLOW = 1.0  # seconds
LINES = ["Tri", "", "a b xqz"]
FORBIDDEN = (
    *("subprocess.", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.system", "os.startfile", "os.putenv"),
    *("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "pickle.", "marshal.", "ctypes.", "exec", "compile"),
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown"),
    *("shutil.", "tempfile.", "mmap.", "webbrowser.", "pty.", "_thread.", "signal."),
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC


class Watch:
    """Notes what the interpreter does that opening the file at `allowed` has no need of."""

    def __init__(self) -> None:
        self.allowed: str | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event == "open":
            reads = arguments[2] & WRITING == 0
            if not (reads and str(arguments[0]) == self.allowed):
                self.seen.append(f"open {arguments[0]}")
        elif event == "mmap.__new__" and arguments[0] == -1:
            pass  # the weights' memory, which no file lies under
        elif event == "import" or event.startswith(FORBIDDEN):
            self.seen.append(f"{event} {arguments[:1]}"[:100])

    def during(self, path: Path, work: Callable[[], Any]) -> Any:
        """Do something; what is seen is in `seen`."""
        self.allowed, self.seen = str(path), []
        try:
            return work()
        finally:
            self.allowed = None


def use(stored: Checkpoint) -> None:
    """Do with a file's model what it is for, and print what is in it; none but a user's mistake may come of it."""
    model = stored.language_model
    try:
        if model.task == "music":
            api.generate(model, label=next(iter(model.labels), None), length=3, temperature=0.5)
        elif "score" in model.commands:
            label = f"{model.labels[0]}\t" if model.is_conditioned else ""
            scores = [(score.nats, score.perplexity) for score in api.score(model, [label + line for line in LINES])]
            assert len(scores) == len(LINES)
        else:
            list(api.predict(model, LINES))
    except CharlmError:
        pass
    for line in [*described(model), *loss_chart({"m": of_model(model)})]:  # as a command prints them
        line.encode("utf-8", "surrogateescape") if line.isascii() else None
    ui.strict_json(record_of(model))


def opened(path: Path) -> bool:
    """Open a file and use what it holds; give whether it was refused."""
    try:
        stored = load(path, OPS)
    except ModelFileError as error:
        assert error.exit_code == 4 and error.hint
        assert error.message.isprintable() and len(error.message) < 600, error.message
        return True
    use(stored)
    return False


def canaries(watch: Watch) -> None:
    """Check that the watch sees."""
    attempts = {
        "open": lambda: open(__file__).close(),
        "import": lambda: __import__("colorsys"),
        "socket": lambda: socket.socket().close(),
        "os.posix_spawn": lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0),
    }
    for name, attempt in attempts.items():
        watch.during(Path("nothing"), attempt)
        assert watch.seen and watch.seen[0].startswith(name), (name, watch.seen)


def limit_memory(size: int) -> None:
    """Let the process have four times the size of a file and a little more than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 4 * size + SPARE, resource.RLIM_INFINITY))


def main(folder: Path, first: int, count: int) -> dict[str, Any]:
    warnings.simplefilter("error")
    path = folder / "mutant.safetensors"
    for fixture in FIXTURES:  # what is imported when first needed is imported now
        path.write_bytes(fixture.read_bytes())
        assert not opened(path)
    path.write_bytes(FIXTURES[0].read_bytes()[:-1])
    assert opened(path)
    assert write_midi
    watch = Watch()
    canaries(watch)
    limit_memory(max(fixture.stat().st_size for fixture in FIXTURES))
    peak, files = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, os.listdir("/proc/self/fd")
    wrong: dict[int, str] = {}
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for number in range(first, first + count):
        what, raw = mutant(number)
        path.write_bytes(raw)
        for attempt in range(2):
            started = time.process_time()  # of this process: the machine may be busy
            try:
                refused = watch.during(path, lambda: opened(path))
                outcomes[f"{what.split()[0]} {'refused' if refused else 'opened'}"] += 1
            except BaseException as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                wrong[number] = f"{what}: {error!r:.150} at {Path(last.filename).name}:{last.lineno}"
            taken = time.process_time() - started
            if watch.seen:
                wrong[number] = f"{what}: {watch.seen[:3]}"
            if taken < SLOW or number in wrong or attempt:
                break
        slowest = max(slowest, taken)
    return {
        "wrong": wrong,
        "outcomes": outcomes,
        "slowest": slowest,
        "grown": 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak),
        "leaked": len(os.listdir("/proc/self/fd")) - len(files),
    }


if __name__ == "__main__":
    result = main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.write(json.dumps(result))

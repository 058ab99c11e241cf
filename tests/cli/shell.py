"""Running the command as a shell does."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHARLM = (sys.executable, "-m", "charlm")
# After so many seconds a command hangs: far more than any takes, as no test may depend on how fast the machine is.
SECONDS = 600

_NOT_INHERITED = (
    "NO_COLOR",
    "FORCE_COLOR",
    "PYTHONUNBUFFERED",
    "PYTHONHASHSEED",
    "PYTHONWARNINGS",
    "PYTHONDEVMODE",
    "PYTHONIOENCODING",
)


def environment(**changes: str) -> dict[str, str]:
    """A plain environment, in which `charlm` is found and nothing colours or hurries the output.

    One thread, because tests run side by side, and threads that wait for a busy core take a hundred times as long.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, "COLUMNS": "80", "TERM": "xterm", "OPENBLAS_NUM_THREADS": "1", **changes}


@dataclass(frozen=True)
class Result:
    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def lines(self) -> list[str]:
        assert not self.out or self.out.endswith(b"\n")
        return self.text.split("\n")[:-1]

    @property
    def records(self) -> list[dict[str, Any]]:
        return [strict_json(line) for line in self.lines]

    def succeeded(self) -> Result:
        assert self.code == 0, self.err
        assert "charlm: error:" not in self.err
        return self

    def failed(self, code: int, *words: str) -> Result:
        """Check that a mistake was answered as all are: its exit code, one line of error and one of hint."""
        assert self.code == code, self
        lines = self.err.splitlines()
        errors = [line for line in lines if line.startswith("charlm: error: ")]
        hints = [line for line in lines if line.startswith("hint: ")]
        assert len(errors) == 1 and len(hints) == 1, self.err
        assert lines[-2:] == [errors[0], hints[0]]
        assert len(errors[0]) > len("charlm: error: ") and len(hints[0]) > len("hint: ")
        assert "Traceback" not in self.err and "Warning" not in self.err
        for word in words:
            assert word in self.err
        return self


def run(*args: object, stdin: bytes = b"", cwd: Path | None = None, **env: str) -> Result:
    """Run `charlm ARGS` as a process of its own."""
    done = subprocess.run(
        [*CHARLM, *map(str, args)], input=stdin, cwd=cwd, env=environment(**env), capture_output=True, timeout=SECONDS
    )
    return Result(done.returncode, done.stdout, done.stderr.decode())


def bash(command: str, *, cwd: Path | None = None, stdin: bytes = b"", **env: str) -> Result:
    """Run a line of shell."""
    done = subprocess.run(
        ["bash", "-c", command], input=stdin, cwd=cwd, env=environment(**env), capture_output=True, timeout=SECONDS
    )
    return Result(done.returncode, done.stdout, done.stderr.decode())


@contextmanager
def started(
    *args: object, program: Sequence[str] = CHARLM, cwd: Path | None = None, **env: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Start `charlm ARGS` with pipes to talk to.

    It is killed at the end of the block, or after SECONDS: then a test that reads its output does not wait for ever.
    """
    process = subprocess.Popen(
        [*program, *map(str, args)],
        cwd=cwd,
        env=environment(**env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    hangs = threading.Timer(SECONDS, process.kill)
    hangs.daemon = True
    hangs.start()
    try:
        yield process
    finally:
        hangs.cancel()
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()


def status(process: subprocess.Popen[bytes], name: str) -> str:
    """Return a field of what Linux tells of a process."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def wait_until(true: Callable[[], Any], process: subprocess.Popen[bytes]) -> None:
    """Wait until something is true of a process; fail if it ends before."""
    end = time.monotonic() + SECONDS
    while not true():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.002)


def wait_for_handlers(process: subprocess.Popen[bytes]) -> None:
    """Wait until signals are caught, which the command sees to first; Python's own start is nobody's."""
    wait_until(lambda: int(status(process, "SigCgt"), 16) >> (signal.SIGTERM - 1) & 1, process)


def unread(pipe: Any) -> int:
    """Return the number of bytes in a pipe."""
    return int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0])


def wait_for_more(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has read all of its input, and waits for more."""
    wait_for_handlers(process)
    wait_until(lambda: not unread(process.stdin), process)


def read_line(pipe: Any, seconds: float = SECONDS) -> bytes:
    """Read one line of an unbuffered pipe; fail if it does not come."""
    line, end = b"", time.monotonic() + seconds
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"after {seconds} s there is only {line!r}"
        byte = os.read(pipe.fileno(), 1)
        if not byte:
            return line
        line += byte
    return line


def on_terminal(*args: object, which: tuple[int, ...] = (2,), stdin: bytes = b"", cwd: Path | None = None, **env: str):
    """Run `charlm ARGS` with some of its streams at a terminal; give the exit code and what the terminal showed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    streams: dict[int, Any] = {0: subprocess.PIPE, 1: subprocess.DEVNULL, 2: subprocess.DEVNULL}
    streams.update(dict.fromkeys(which, theirs))
    process = subprocess.Popen(
        [*CHARLM, *map(str, args)],
        cwd=cwd,
        env=environment(**env),
        stdin=streams[0],
        stdout=streams[1],
        stderr=streams[2],
        start_new_session=True,
    )
    os.close(theirs)
    try:
        if process.stdin is not None:
            process.stdin.write(stdin)
            process.stdin.close()
        else:
            os.write(ours, stdin + b"\x04")
        shown, end = b"", time.monotonic() + SECONDS
        while True:
            ready, _, _ = select.select([ours], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"it hangs, after {shown!r}"
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # what Linux says at the end of a terminal
                break
            if not part:
                break
            shown += part
        return process.wait(SECONDS), shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def strict_json(line: str) -> dict[str, Any]:
    """Read JSON as the standard has it: without NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON: {line}")

    record = json.loads(line, parse_constant=refuse)
    assert isinstance(record, dict)
    return record


def files_of(folder: Path) -> dict[str, bytes]:
    """All files of a folder, hidden ones too, with what is in them."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

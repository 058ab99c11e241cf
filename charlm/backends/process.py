"""A forked process that computes while this one does.

Python's threads run at the same time only inside NumPy calls. In a recurrent step these calls are so short that two
threads are hardly faster than one. Two processes have an interpreter each.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

if TYPE_CHECKING:  # imported late: a command that starts no process does not need it
    import socket

CAN_FORK = sys.platform == "linux"  # elsewhere the BLAS of NumPy does not survive a fork
_WAIT = 1.0  # seconds without an answer after which the state of a process is checked
_STOPPED = "T"  # state of a process in Linux' /proc
_LENGTH_BYTES = 8  # of the length before each message


class ProcessLost(Exception):
    """The process was killed or stopped and does not answer."""


class Process:
    """A fork of this process that answers calls of `function` for as long as this object exists.

    It has a copy of this process's memory, and shares only the arrays of `Backend.shared` from then on. It ignores
    SIGINT and SIGTERM and ends when this process ends. Arguments, results and errors go through a socket, so they are
    objects that can be pickled.

    prepare: called once in the new process, before the first call

    Raises OSError if no process can be started.
    """

    def __init__(self, function: Callable[..., Any], prepare: Callable[[], None]) -> None:
        import socket

        ours, theirs = socket.socketpair()
        with warnings.catch_warnings():
            # Python warns of threads that may hold a lock. Ours hold none while they wait, and OpenBLAS stops its own.
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                pid = os.fork()
            except OSError:
                ours.close()
                theirs.close()
                raise
        if not pid:
            ours.close()
            _serve(function, prepare, theirs)
        theirs.close()
        ours.settimeout(_WAIT)
        self.pid, self._socket = pid, ours
        self._finalizer = weakref.finalize(self, _end, ours, pid, os.getpid())

    def ask(self, *arguments: Any) -> None:
        """Call the function with these arguments; each call is followed by `answer`.

        Raises ProcessLost if the process has been killed or stopped; it is then ended, and cannot be asked again.
        """
        with self._losing():
            _send(self._socket, (np.geterr(), arguments), self._check_running)

    def answer(self) -> Any:
        """Return what the call returns, or raise what it raises; raise ProcessLost as `ask` does."""
        with self._losing():
            succeeded, answer = _receive(self._socket, self._check_running)
        if not succeeded:
            raise answer
        return answer

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        """Raise ProcessLost for an error of the connection."""
        try:
            yield
        except (EOFError, OSError) as error:
            self._finalizer()
            raise ProcessLost from error

    def _check_running(self) -> None:
        """Raise EOFError for a stopped process, which may never continue."""
        # After Ctrl-Z has stopped both, this process may be the first to continue: so check twice.
        if self._is_stopped():
            time.sleep(_WAIT)
            if self._is_stopped():
                raise EOFError("the process was stopped")

    def _is_stopped(self) -> bool:
        with contextlib.suppress(OSError, IndexError):
            # The name of the program, in parentheses, may contain spaces.
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == _STOPPED
        return False


def _serve(function: Callable[..., Any], prepare: Callable[[], None], connection: socket.socket) -> NoReturn:
    """Answer calls until the parent closes the connection or ends."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):  # the parent finishes its step, for which it needs the answer
            signal.signal(number, signal.SIG_IGN)
        prepare()
        while True:
            error_handling, arguments = _receive(connection)
            try:
                with np.errstate(**error_handling):
                    answer = (True, function(*arguments))
            except Exception as error:
                answer = (False, error)
            _send(connection, answer)
    except BaseException:
        # Nobody listens. The parent's open files and exit handlers are not this process's to close or to run.
        os._exit(1)


def _keep_waiting() -> None:
    """Do nothing."""


def _send(connection: socket.socket, message: Any, waiting: Callable[[], None] = _keep_waiting) -> None:
    """Write the length of a message and the message; call `waiting` whenever the other side does not read."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    for part in (len(data).to_bytes(_LENGTH_BYTES, "big"), data):
        left = memoryview(part)
        while left:
            try:
                left = left[connection.send(left) :]
            except TimeoutError:
                waiting()


def _receive(connection: socket.socket, waiting: Callable[[], None] = _keep_waiting) -> Any:
    """Read a message; call `waiting` whenever none arrives. Raise EOFError if the connection is closed."""
    length = int.from_bytes(_read(connection, _LENGTH_BYTES, waiting), "big")
    return pickle.loads(_read(connection, length, waiting))


def _read(connection: socket.socket, size: int, waiting: Callable[[], None]) -> bytearray:
    data = bytearray(size)
    left = memoryview(data)
    while left:
        try:
            count = connection.recv_into(left)
        except TimeoutError:
            waiting()
            continue
        if not count:
            raise EOFError
        left = left[count:]
    return data


def _end(connection: socket.socket, pid: int, owner: int) -> None:
    if os.getpid() != owner:
        return
    connection.close()
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)  # it has no state to save
        os.waitpid(pid, 0)

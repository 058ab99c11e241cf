"""A second process beside this one, which works while this one does.

Threads of Python take turns at everything but the inside of a NumPy call, and in a recurrent step these calls are so
short that two threads are hardly faster than one. Two processes have an interpreter each.
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
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

if TYPE_CHECKING:  # what starts no process does not wait for it
    import socket

CAN_FORK = sys.platform == "linux"  # elsewhere the libraries that NumPy multiplies with do not outlive a fork
_WAIT = 1.0  # seconds of silence after which a process is looked at
_STOPPED = "T"  # state of a process in Linux' /proc
_LENGTH_BYTES = 8  # before each message


class ProcessLost(Exception):
    """The process was killed or stopped: it does not answer any more."""


class Process:
    """A copy of this process, forked off, that calls `function` with what it is asked, until this object is gone.

    prepare: called once in it, before anything is asked

    Raises OSError if no process can be started.

    It sees of this process what there is when it is made, and afterwards only arrays of `Backend.shared`. It reads and
    writes nothing else: no signal but a kill ends it, and it ends where this process does. What the function takes,
    gives and raises goes through a socket, so it has to be of a kind that can be pickled.
    """

    def __init__(self, function: Callable[..., Any], prepare: Callable[[], None]) -> None:
        import socket

        ours, theirs = socket.socketpair()
        with warnings.catch_warnings():
            # Of threads that might hold a lock: ours hold none while they wait for work, and OpenBLAS stops its own.
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
        """Have the function called with these arguments; one call at a time, each followed by `answer`.

        Raises ProcessLost if the process has been killed or stopped; it is then ended, and cannot be asked again.
        """
        with self._being_there():
            _send(self._socket, (np.geterr(), arguments), self._check_running)

    def answer(self) -> Any:
        """Wait for what the call has returned, or raise what it has raised; raises ProcessLost as `ask` does."""
        with self._being_there():
            fine, answer = _receive(self._socket, self._check_running)
        if not fine:
            raise answer
        return answer

    @contextlib.contextmanager
    def _being_there(self) -> Any:
        try:
            yield
        except (EOFError, OSError) as error:
            self._finalizer()
            raise ProcessLost from error

    def _check_running(self) -> None:
        """Raise EOFError for a process that is stopped: nobody may ever let it go on."""
        # Where Ctrl-Z has stopped both, this one may be the first to go on: so it looks twice.
        if self._is_stopped():
            time.sleep(_WAIT)
            if self._is_stopped():
                raise EOFError("it was stopped")

    def _is_stopped(self) -> bool:
        with contextlib.suppress(OSError, IndexError):
            # The name, in parentheses, may have spaces in it.
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == _STOPPED
        return False


def _serve(function: Callable[..., Any], prepare: Callable[[], None], connection: socket.socket) -> NoReturn:
    """Answer until there is nobody left who asks."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):  # this process's parent finishes its step, and needs the answer
            signal.signal(number, signal.SIG_IGN)
        prepare()
        while True:
            told, arguments = _receive(connection)
            try:
                with np.errstate(**told):
                    answer = (True, function(*arguments))
            except Exception as error:
                answer = (False, error)
            _send(connection, answer)
    except BaseException:
        os._exit(1)  # nobody listens; what the parent has open or registered is not ours to close or to run


def _nothing() -> None:
    """Wait on."""


def _send(connection: socket.socket, message: Any, waiting: Callable[[], None] = _nothing) -> None:
    """Write a message, after its length; waiting: called whenever nobody reads for a while."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    for part in (len(data).to_bytes(_LENGTH_BYTES, "big"), data):
        left = memoryview(part)
        while left:
            try:
                left = left[connection.send(left) :]
            except TimeoutError:
                waiting()


def _receive(connection: socket.socket, waiting: Callable[[], None] = _nothing) -> Any:
    """Read a message; waiting: called whenever none comes for a while. Raises EOFError at the end."""
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
        os.kill(pid, signal.SIGKILL)  # it has nothing to lose
        os.waitpid(pid, 0)

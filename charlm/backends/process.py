"""A second process beside this one, which works while this one does.

Threads of Python take turns at everything but the inside of a NumPy call, and in a recurrent step these calls are so
short that two threads are hardly faster than one. Two processes have an interpreter each.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from charlm.errors import ResourceError

CAN_FORK = sys.platform == "linux"  # elsewhere the libraries that NumPy multiplies with do not outlive a fork


class Process:
    """A copy of this process, forked off, that calls `function` with what it is asked, until this object is gone.

    prepare: called once in it, before anything is asked

    It sees of this process what there is when it is made, and afterwards only arrays of `Backend.shared`. It reads and
    writes nothing else: no signal but a kill ends it, and it ends where this process does. What the function takes,
    gives and raises goes through a pipe, so it has to be of a kind that can be pickled.
    """

    def __init__(self, function: Callable[..., Any], prepare: Callable[[], None]) -> None:
        from multiprocessing import Pipe

        ours, theirs = Pipe()
        with warnings.catch_warnings():
            # Of threads that might hold a lock: ours hold none while they wait for work, and OpenBLAS stops its own.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if not pid:
            ours.close()
            _serve(function, prepare, theirs)
        theirs.close()
        self.pid, self._connection = pid, ours
        self._finalizer = weakref.finalize(self, _end, ours, pid, os.getpid())

    def ask(self, *arguments: Any) -> None:
        """Have the function called with these arguments; one call at a time, each followed by `answer`."""
        with self._being_there():
            self._connection.send((np.geterr(), arguments))

    def answer(self) -> Any:
        """Wait for what the call has returned, or raise what it has raised; ResourceError if the process is gone."""
        with self._being_there():
            fine, answer = self._connection.recv()
        if not fine:
            raise answer
        return answer

    @contextlib.contextmanager
    def _being_there(self) -> Any:
        try:
            yield
        except (EOFError, OSError) as error:
            self._finalizer()
            raise ResourceError(
                "a process that shares the work was killed, maybe for its memory",
                hint="use --threads 1, or a smaller --batch-size",
            ) from error


def _serve(function: Callable[..., Any], prepare: Callable[[], None], connection: Any) -> NoReturn:
    """Answer until there is nobody left who asks."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):  # this process's parent finishes its step, and needs the answer
            signal.signal(number, signal.SIG_IGN)
        prepare()
        while True:
            told, arguments = connection.recv()
            try:
                with np.errstate(**told):
                    answer = (True, function(*arguments))
            except Exception as error:
                answer = (False, error)
            connection.send(answer)
    except BaseException:
        os._exit(1)  # nobody listens; what the parent has open or registered is not ours to close or to run


def _end(connection: Any, pid: int, owner: int) -> None:
    if os.getpid() != owner:
        return
    connection.close()
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)  # it has nothing to lose
        os.waitpid(pid, 0)

"""A second network with the same weights, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from charlm.backends import Backend
from charlm.backends.process import Process, ProcessLost
from charlm.nn.lanes import Share
from charlm.nn.parameters import Parameters
from charlm.nn.workspace import Workspace

# Lost processes after which no other is started: something on the machine keeps ending them.
_MOST_LOST = 3


class Network(Protocol):
    """What a twin needs of `nn.model.Model`."""

    ops: Backend
    parameters: Parameters

    def workspace(self) -> Workspace:
        """Return a workspace for one pass at a time."""


class Twin:
    """A network with the same values, whose passes run in a forked process.

    If that process is killed or stopped, or cannot be started, its work is done in this process, with the same bits as
    the result.

    grads: the gradients of its share, which this process can read
    lost: how often its process was killed or stopped
    """

    def __init__(self, model: Network) -> None:
        self.grads, self.lost = model.parameters.grads, 0
        self._workers = model.ops.workers
        self._process: Process | None = None
        self._may_start = True
        ws = model.workspace()

        def work(method: Callable[..., Any], share: Share, *arguments: Any) -> Any:
            return method(model, share, ws, *arguments)

        self._work = work

    @property
    def pid(self) -> int | None:
        """The id of the process; None before its start and after its end."""
        return None if self._process is None else self._process.pid

    def ask(self, method: Callable[..., Any], share: Share, *arguments: Any) -> None:
        """Call a method of the network with a share of a batch; each call is followed by `answer`."""
        self._question = question = (method, share, *arguments)
        if self._process is None and self._may_start and self.lost < _MOST_LOST:
            try:
                self._process = self._workers.fork(self._work)
            except OSError:  # the system refuses another process
                self._may_start = False
        if self._process is not None:
            with self._losing():
                self._process.ask(*question)

    def answer(self) -> Any:
        """Return what the method returns, or raise what it raises."""
        if self._process is not None:
            with self._losing():
                return self._process.answer()
        with self._workers.calling_thread_only():
            return self._work(*self._question)

    @contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except ProcessLost:
            self._process = None
            self.lost += 1

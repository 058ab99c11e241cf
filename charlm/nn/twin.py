"""A second network over the same weights, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from charlm.backends.process import Process, ProcessLost
from charlm.nn.layer import State
from charlm.text.batches.lanes import Batch

if TYPE_CHECKING:
    from charlm.nn.model import Model

_MOST_LOST = 3  # processes in the place of one; then the machine is short of something, and the work is done here


class Twin:
    """A network over the same values, with gradients that this process can read, worked on in a process of its own.

    If that process is killed or stopped, or cannot be started, its work is done here: the results are the same bits.

    lost: how often that happened to it; after a few times no other process is started
    """

    def __init__(self, model: Model) -> None:
        self.grads, self.lost = model.parameters.grads, 0
        self._ops = model.ops
        self._process: Process | None = None
        self._may_start = True
        ws = model.workspace()

        def work(method: Callable[..., Any], batch: Batch, state: State, first: int, lanes: int, *more: Any) -> Any:
            return method(model, batch, state, ws.share(first, lanes), *more)

        self._work = work

    @property
    def pid(self) -> int | None:
        """The number of the process, if there is one."""
        return None if self._process is None else self._process.pid

    def ask(self, *question: Any) -> None:
        """Begin with a method on a share of a batch; one at a time, each followed by `answer`."""
        self._question = question
        if self._process is None and self._may_start and self.lost < _MOST_LOST:
            try:
                self._process = self._ops.process(self._work)
            except OSError:  # the machine has no room for another process
                self._may_start = False
        if self._process is not None:
            with self._losing():
                self._process.ask(*question)

    def answer(self) -> Any:
        """Return what the method returns, or raise what it raises."""
        if self._process is not None:
            with self._losing():
                return self._process.answer()
        with self._ops.alone():
            return self._work(*self._question)

    @contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except ProcessLost:
            self._process = None
            self.lost += 1

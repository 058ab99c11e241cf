"""The workers of the CPU: threads for pieces of a pass."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from queue import SimpleQueue
from typing import Any

import numpy as np

from charlm.backends.workers import Part, Workers

# A thread that waits on a queue of its own wakes up in a fifth of the time that an executor's takes.
Tasks = SimpleQueue[Callable[[], None]]


class Pool(Workers):
    """As many workers as BLAS has threads, the number that `--threads` limits.

    NumPy lets other threads run while it computes. While workers share a piece of work, BLAS has one thread. Several
    products with several threads each would wait for one another, and an idle thread of BLAS keeps a core busy.
    """

    def __init__(self) -> None:
        self._inside = threading.local()
        self._count: int | None = None
        self._blocks = 0  # how many `single_threaded_blas` are open
        self.splits_products = False  # whether BLAS has one thread, so that the workers share a large product
        self._lock = threading.Lock()
        self._threads: tuple[int, list[Tasks]] = (0, [])  # with the process that they belong to

    @property
    def count(self) -> int:
        """The number of workers; 1 inside a part of `each`."""
        if getattr(self._inside, "busy", False):
            return 1
        if self._count is None:
            self._count = max([1, *(library.num_threads for library in self._libraries)])
        return self._count

    def each(self, work: Callable[[Part], None], parts: Iterable[Part]) -> None:
        parts = list(parts)
        helpers = min(self.count, len(parts)) - 1
        if helpers < 1:
            for part in parts:
                work(part)
            return
        # One iterator for all threads: whoever is done takes the next part.
        remaining, error_handling = iter(parts), np.geterr()
        answers: SimpleQueue[BaseException | None] = SimpleQueue()

        def share() -> None:
            self._inside.busy = True
            try:
                with np.errstate(**error_handling):
                    for part in remaining:
                        work(part)
            finally:
                self._inside.busy = False

        def answer() -> None:
            try:
                share()
            except BaseException as error:
                answers.put(error)
            else:
                answers.put(None)

        with self.single_threaded_blas():
            started = self._started(helpers)
            for tasks in started:
                tasks.put(answer)
            try:
                share()
            finally:
                errors = [answers.get() for _ in started]
        for error in errors:
            if error is not None:
                raise error

    @contextmanager
    def limit(self, count: int | None) -> Iterator[None]:
        if count is None:
            yield
            return
        before = self.count
        self._set(count)
        try:
            yield
        finally:
            self._set(before)

    @contextmanager
    def single_threaded_blas(self) -> Iterator[None]:
        if self.count == 1:
            yield
            return
        self._open_blocks(1)
        try:
            yield
        finally:
            self._open_blocks(-1)

    @contextmanager
    def calling_thread_only(self) -> Iterator[None]:
        if self.count == 1:
            yield
            return
        with self.single_threaded_blas():
            self._inside.busy = True
            try:
                yield
            finally:
                self._inside.busy = False

    def _set(self, count: int) -> None:
        self._count = count
        self._limit_blas(count)

    def _open_blocks(self, change: int) -> None:
        with self._lock:
            before, self._blocks = self._blocks, self._blocks + change
            self.splits_products = self._blocks > 0
            if not before or not self._blocks:
                self._limit_blas(1 if self._blocks else self.count)

    def _limit_blas(self, threads: int) -> None:
        for library in self._libraries:
            library.set_num_threads(threads)

    def _started(self, count: int) -> list[Tasks]:
        """Return the queues of `count` threads, or of fewer if the system refuses a thread."""
        process, threads = self._threads
        if process != os.getpid():  # a forked process has no threads of its parent
            threads = []
        while len(threads) < count:
            tasks: Tasks = SimpleQueue()
            try:
                threading.Thread(target=_work, args=(tasks,), name="charlm", daemon=True).start()
            except RuntimeError:
                break
            threads.append(tasks)
        self._threads = (os.getpid(), threads)
        return threads[:count]

    @cached_property
    def _libraries(self) -> list[Any]:
        from threadpoolctl import ThreadpoolController

        libraries: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
        return libraries


def _work(tasks: Tasks) -> None:
    while True:
        tasks.get()()

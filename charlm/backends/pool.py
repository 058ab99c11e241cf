"""The processor's cores, each on a piece of work of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from queue import SimpleQueue
from typing import Any

import numpy as np

from charlm.backends.base import Part

Tasks = SimpleQueue[Callable[[], None]]  # wakes a thread in a fifth of the time that an executor takes


class Pool:
    """As many workers as the library of matrix products has threads, which is what `--threads` bounds.

    NumPy lets other threads run while it computes. While the pool is in use, a product is one thread's: several
    products with several threads each would wait for one another, and a thread of that library that has nothing to do
    keeps a core busy with waiting for a while.
    """

    def __init__(self) -> None:
        self._inside = threading.local()
        self._count: int | None = None
        self._used = 0  # how many `in_use` are open
        self._lock = threading.Lock()
        self._workers: tuple[int, list[Tasks]] = (0, [])  # with the process that they belong to

    @property
    def size(self) -> int:
        """How many workers there are; within the work of one there are no others."""
        if getattr(self._inside, "busy", False):
            return 1
        if self._count is None:
            self._count = max([1, *(library.num_threads for library in self._libraries)])
        return self._count

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Have products be one thread's inside a `with`; may be nested."""
        if self.size == 1:
            yield
            return
        self._use(1)
        try:
            yield
        finally:
            self._use(-1)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have the calling thread do all its work by itself inside a `with`."""
        if self.size == 1:
            yield
            return
        with self.in_use():
            self._inside.busy = True
            try:
                yield
            finally:
                self._inside.busy = False

    @property
    def is_in_use(self) -> bool:
        """Whether products are one thread's, and there are other workers to take a share of one."""
        return self._used > 0 and self.size > 1

    def each(self, work: Callable[[Part], None], parts: Sequence[Part]) -> None:
        """Call `work` for each part; the calling thread takes its share. Raises what a part has raised."""
        helpers = min(self.size, len(parts)) - 1
        if helpers < 1:
            for part in parts:
                work(part)
            return
        left, told = iter(parts), np.geterr()
        answers: SimpleQueue[BaseException | None] = SimpleQueue()

        def share() -> None:
            self._inside.busy = True
            try:
                with np.errstate(**told):
                    for part in left:  # one iterator for all: who is done takes the next part
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

        with self.in_use():
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
    def bounded(self, count: int) -> Iterator[None]:
        """Have `count` workers, and threads for a product, inside a `with`."""
        before = self.size
        self.bound(count)
        try:
            yield
        finally:
            self.bound(before)

    def bound(self, count: int) -> None:
        """Have `count` workers, and threads for a product, from now on."""
        self._count = count
        self._limit(count)

    def _use(self, change: int) -> None:
        with self._lock:
            before, self._used = self._used, self._used + change
            if not before or not self._used:
                self._limit(1 if self._used else self.size)

    def _limit(self, threads: int) -> None:
        for library in self._libraries:
            library.set_num_threads(threads)

    def _started(self, count: int) -> list[Tasks]:
        """Return the tasks of so many workers, or of fewer where the system refuses a thread.

        A process that was forked off has none of its parent's.
        """
        process, workers = self._workers
        if process != os.getpid():
            workers = []
        while len(workers) < count:
            tasks: Tasks = SimpleQueue()
            try:
                threading.Thread(target=_work, args=(tasks,), name="charlm", daemon=True).start()
            except RuntimeError:
                break
            workers.append(tasks)
        self._workers = (os.getpid(), workers)
        return workers[:count]

    @cached_property
    def _libraries(self) -> list[Any]:
        from threadpoolctl import ThreadpoolController

        libraries: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
        return libraries


def can_start(count: int) -> bool:
    """Return whether the system lends so many more threads at once."""
    end, started = threading.Event(), []
    try:
        for _ in range(count):
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return False
    finally:
        end.set()
        for thread in started:
            thread.join()
    return True


def _work(tasks: Tasks) -> None:
    while True:
        tasks.get()()

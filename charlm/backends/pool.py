"""The processor's cores: either all of them on one matrix product, or each on a piece of work of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from charlm.backends.base import Part


class Pool:
    """As many workers as the library of matrix products has threads, which is what `--threads` bounds.

    NumPy lets other threads run while it computes. While workers are at work, a product is one thread's, as several
    products with several threads each would wait for one another.
    """

    def __init__(self) -> None:
        self._inside = threading.local()
        self._count: int | None = None

    @property
    def size(self) -> int:
        """How many workers there are; within the work of one there are no others."""
        if getattr(self._inside, "busy", False):
            return 1
        if self._count is None:
            self._count = max([1, *(library.num_threads for library in self._libraries)])
        return self._count

    def each(self, work: Callable[[Part], None], parts: Sequence[Part]) -> None:
        """Call `work` for each part; the calling thread takes its share."""
        workers = min(self.size, len(parts)) if len(parts) > 1 else 1
        if workers == 1:
            for part in parts:
                work(part)
            return
        told = np.geterr()

        def share(number: int) -> None:
            self._inside.busy = True
            try:
                with np.errstate(**told):
                    for part in parts[number::workers]:
                        work(part)
            finally:
                self._inside.busy = False

        with self._one_thread_each():
            others = [self._executor.submit(share, number) for number in range(1, workers)]
            try:
                share(0)
            finally:
                for other in others:
                    other.result()

    @contextmanager
    def bounded(self, count: int) -> Iterator[None]:
        """Have `count` workers, and threads for a product, inside a `with`."""
        before = self.size
        self._set(count)
        try:
            yield
        finally:
            self._set(before)

    def _set(self, count: int) -> None:
        self._count = count
        self.__dict__.pop("_executor", None)
        for library in self._libraries:
            library.set_num_threads(count)

    @contextmanager
    def _one_thread_each(self) -> Iterator[None]:
        for library in self._libraries:
            library.set_num_threads(1)
        try:
            yield
        finally:
            for library in self._libraries:
                library.set_num_threads(self.size)

    @cached_property
    def _libraries(self) -> list[Any]:
        from threadpoolctl import ThreadpoolController

        libraries: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
        return libraries

    @cached_property
    def _executor(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.size, thread_name_prefix="charlm")

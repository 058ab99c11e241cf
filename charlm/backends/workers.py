"""Who does the work of a backend: threads of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

Part = TypeVar("Part")


class Workers:
    """One worker, the calling thread: for a device that shares out its work itself."""

    @property
    def count(self) -> int:
        """The number of parts that `each` works on at the same time."""
        return 1

    def each(self, work: Callable[[Part], None], parts: Iterable[Part]) -> None:
        """Call `work` for each part, on several threads if there are several workers.

        The parts write to different memory. What a part computes does not depend on the number of workers. Inside a
        part, `each` takes one part after the other. Raises what a part raises.
        """
        for part in parts:
            work(part)

    def limit(self, count: int | None) -> AbstractContextManager[None]:
        """Limit the workers and the threads of BLAS to `count` inside the block; None changes nothing."""
        return nullcontext()

    def single_threaded_blas(self) -> AbstractContextManager[None]:
        """Limit BLAS to one thread inside the block: the workers split large products instead. May be nested."""
        return nullcontext()

    def calling_thread_only(self) -> AbstractContextManager[None]:
        """Limit this thread to one worker, and BLAS to one thread, inside the block."""
        return nullcontext()

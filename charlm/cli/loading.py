"""NumPy loaded where the machine may lack what its library of products, OpenBLAS, needs at once."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import sys
from collections.abc import Iterator

from charlm.errors import ResourceError

_ROOM = 160 << 20  # bytes: libraries, and the first buffer, without which OpenBLAS ends the process
_BUFFER = 40 << 20  # bytes: what the first large product takes, or ends the process
_LARGE = 512  # rows and columns of such a product


def load_numpy() -> None:
    """Import NumPy; raise ResourceError where there is no memory or no thread for OpenBLAS.

    OpenBLAS says so by a SIGINT to itself, or ends the process with 1. So the room is looked at before, and a SIGINT
    waits until it is known from whom it is.
    """
    if "numpy" in sys.modules:
        return
    _look_for(_ROOM)
    failure: Exception | None = None
    with _refused_threads() as refused:
        try:
            import numpy as np
        except Exception as error:
            failure = error
    if refused:
        raise ResourceError(
            "the system refuses threads to the matrix products",
            hint="take one: OPENBLAS_NUM_THREADS=1 charlm ..., or raise the limits (ulimit -u, ulimit -v)",
        ) from failure
    if failure is not None:
        raise failure
    if _is_limited():
        _look_for(_BUFFER)
        square = np.ones((_LARGE, _LARGE), np.float32)
        square @= square  # while there is room: the buffer is kept


def _look_for(size: int) -> None:
    """Raise ResourceError where the process cannot have so many bytes more."""
    try:
        mmap.mmap(-1, size).close()
    except OSError as error:
        raise ResourceError(
            f"out of memory: {size >> 20} MB more are needed",
            hint="raise the limit of this shell (ulimit -v unlimited), or end other programs",
        ) from error


def _is_limited() -> bool:
    """Return whether the process may have only so much memory."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return False
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


@contextlib.contextmanager
def _refused_threads() -> Iterator[list[int]]:
    """Keep SIGINT back inside the block; the list has one of OpenBLAS's after it, any other one is let through."""
    refused: list[int] = []
    if not hasattr(signal, "sigtimedwait"):
        yield refused
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield refused
    finally:
        while (sent := signal.sigtimedwait({signal.SIGINT}, 0)) is not None:
            if sent.si_pid == os.getpid():
                refused.append(sent.si_signo)
            else:
                os.kill(os.getpid(), signal.SIGINT)
                break
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

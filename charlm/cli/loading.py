"""Importing NumPy on machines that may lack the memory or threads for its matrix library, OpenBLAS."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import sys
from collections.abc import Iterator

from charlm.errors import ResourceError

_ROOM = 160 << 20  # bytes: the libraries, and a first buffer without which OpenBLAS ends the process
_BUFFER = 40 << 20  # bytes: a second buffer, for the first large product; without it, too, the process ends
_LARGE = 512  # rows and columns of such a product


def load_numpy() -> None:
    """Import NumPy; raise ResourceError if OpenBLAS cannot get memory or threads.

    On failure OpenBLAS sends its own process a SIGINT, or exits with 1. So the memory is checked beforehand, and a
    SIGINT is held back until its sender is known.
    """
    if "numpy" in sys.modules:
        return
    _check_memory(_ROOM)
    failure: Exception | None = None
    with _refused_threads() as refused:
        try:
            import numpy as np
        except Exception as error:
            failure = error
    if refused:
        raise ResourceError(
            "the system refuses to start threads for OpenBLAS",
            hint="use one thread (OPENBLAS_NUM_THREADS=1 charlm ...), or raise the limits (ulimit -u, ulimit -v)",
        ) from failure
    if failure is not None:
        raise failure
    if _is_limited():
        _check_memory(_BUFFER)
        square = np.ones((_LARGE, _LARGE), np.float32)
        # Allocates the buffer, which OpenBLAS keeps.
        square @= square


def _check_memory(size: int) -> None:
    """Raise ResourceError if the process cannot allocate so many bytes."""
    try:
        mmap.mmap(-1, size).close()
    except OSError as error:
        raise ResourceError(
            f"out of memory: {size >> 20} MB more are needed",
            hint="raise the limit of this shell (ulimit -v unlimited), or close other programs",
        ) from error


def _is_limited() -> bool:
    """Return whether the memory of the process is limited."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return False
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


@contextlib.contextmanager
def _refused_threads() -> Iterator[list[int]]:
    """Hold SIGINT back inside the block; afterwards yield those of OpenBLAS in the list and deliver any other one."""
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

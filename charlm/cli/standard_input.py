"""Standard input that a signal interrupts, even a signal that arrives just before the read."""

from __future__ import annotations

import io
import os
import select
import signal
import sys
from typing import Any

from charlm.cli import signals
from charlm.errors import ResourceError

_BUFFER_BYTES = 1 << 16
_WOKEN_BYTES = 1 << 12


class StandardInput(io.FileIO):
    """The descriptor of standard input; before each read it waits for data or a signal.

    Python calls signal handlers between two bytecodes. A signal that arrives after the last of these checks and before
    the system call of a read does not interrupt the read: its handler would wait for more input. So every signal also
    writes a byte to a pipe, and the wait ends when there is something to read in either.
    """

    _pipe: int | None = None  # the end to read from

    def readinto(self, buffer: Any) -> int | None:
        """Read what has arrived, at least one byte; 0 is the end. Raises what the handler of a signal raises."""
        if self._pipe is None:
            self._pipe = _pipe_of_signals()
        while True:
            # The exception of an earlier signal may have been swallowed.
            signals.end_if_due()
            ready, _, _ = select.select([self.fileno(), self._pipe], [], [])
            if self._pipe not in ready:
                return super().readinto(buffer)
            os.read(self._pipe, _WOKEN_BYTES)


def install() -> None:
    """Replace `sys.stdin`, if it is a file, by one that signals interrupt."""
    # Windows can select only sockets.
    if os.name != "posix" or sys.stdin is None:
        return
    plain = getattr(getattr(sys.stdin, "buffer", None), "raw", None)
    if isinstance(plain, io.FileIO) and not isinstance(plain, StandardInput):
        raw = StandardInput(plain.fileno(), closefd=False)
        sys.stdin = io.TextIOWrapper(io.BufferedReader(raw, _BUFFER_BYTES), sys.stdin.encoding, sys.stdin.errors)


def _pipe_of_signals() -> int:
    """Return the end to read from of a pipe to which every signal writes a byte."""
    try:
        pipe, written = os.pipe()
    except OSError as error:
        from charlm.storage.files import hint_for

        raise ResourceError(f"cannot read standard input: {error.strerror}", hint=hint_for(error)) from error
    # A full pipe wakes up as well as one more byte.
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    return pipe

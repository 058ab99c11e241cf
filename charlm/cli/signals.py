"""How a signal ends the process: all finished lines are written, and no file or line is cut."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from charlm.errors import ResourceError

_PATIENCE = 3.0  # seconds that a signal waits for undisturbed work, e.g. for a reader of the last lines


class ClosedPipe(Exception):
    """The reader of standard output is gone: the command ends without a message."""


@dataclass
class State:
    """What the signal handler reads."""

    output: Any = None
    undisturbed: int = 0  # depth of nested blocks that a signal waits for
    raises: bool = False  # raise SystemExit, because there are files to remove
    received: int = 0  # the last signal; the exception that it raised may have been swallowed


state = State()


def at_signals(handler: Any) -> None:
    """Install a handler for the signals that end a process, except those ignored by nohup or a script's `&`."""
    for name in ("SIGINT", "SIGHUP", "SIGTERM"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def ignore_them() -> None:
    """Ignore further signals, which would change the exit code while Python shuts down."""
    at_signals(signal.SIG_IGN)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Make a signal wait for the end of the block, unless that takes long or the signal comes again."""
    state.undisturbed += 1
    try:
        yield
    finally:
        state.undisturbed -= 1
        end_if_due()


def take_signal(number: int, _frame: Any) -> None:
    """Write all finished lines and end the process here: imports, callbacks and destructors swallow exceptions."""
    is_first, state.received = not state.received, number
    if state.raises:
        _raise()
    if not is_first:
        _end()
    signal.signal(signal.SIGALRM, _end)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
    end_if_due()


def end_if_due() -> None:
    """End the process, or raise, if a signal was received and no undisturbed work is left."""
    if not state.received or state.undisturbed:
        return
    if state.raises:
        _raise()
    # A second call must not write the lines again.
    state.undisturbed += 1
    if state.output is not None:
        with contextlib.suppress(ClosedPipe, ResourceError):
            state.output.finish_lines()
    _end()


def _raise() -> NoReturn:
    # Where the exception cannot be caught, Python would print it.
    sys.unraisablehook = lambda _: None
    # Not KeyboardInterrupt: once it has passed through `exec` of a text, as at the definition of a dataclass,
    # `python -m` ends in a signal, although the exception was caught and another exit code was given.
    raise SystemExit(128 + state.received)


def _end(*_: Any) -> NoReturn:
    os._exit(128 + state.received)

"""How a signal ends the process: with all finished lines, and with nothing cut that has to be whole."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from charlm.errors import ResourceError

_PATIENCE = 3.0  # seconds that a signal gives to what must not be cut, e.g. to a reader of the last lines


class ClosedPipe(Exception):
    """The reader of standard output has gone; there is nothing to say and nothing to mend."""


@dataclass
class State:
    """What a signal has to know."""

    output: Any = None
    undisturbed: int = 0  # pieces of work within each other that it waits for
    raises: bool = False  # KeyboardInterrupt or SystemExit: there are files to be removed
    received: int = 0  # the signal that has come; what it raised may have been swallowed on its way
    process: int = field(default_factory=os.getpid)


state = State()


def at_signals(handler: Any) -> None:
    """Have signals call a handler, but for those that are ignored, as nohup has it, or a script's `&`."""
    for name in ("SIGINT", "SIGHUP", "SIGTERM"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def ignore_them() -> None:
    """Have signals do nothing any more: Python's own end puts their defaults back, which would change the exit code."""
    at_signals(signal.SIG_IGN)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Have a signal wait until something is whole, unless that takes long or the signal comes again."""
    state.undisturbed += 1
    try:
        yield
    finally:
        state.undisturbed -= 1
        end_if_due()


def take_signal(number: int, _frame: Any) -> None:
    """End with all finished lines, at once and from here: an import, a callback or a destructor swallows exceptions."""
    if os.getpid() != state.process:  # one that was forked off ends with its parent
        return
    is_first, state.received = not state.received, number
    if state.raises:
        sys.unraisablehook = lambda _: None  # where nobody can catch it, it is not told of
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
    if not is_first:
        _end()
    signal.signal(signal.SIGALRM, _end)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
    end_if_due()


def end_if_due() -> None:
    """End where a signal has come that nothing waits for any more."""
    if not state.received or state.undisturbed or state.raises:
        return
    state.undisturbed += 1  # the lines are not handed over twice
    if state.output is not None:
        with contextlib.suppress(ClosedPipe, ResourceError):
            state.output.finish_lines()
    _end()


def _end(*_: Any) -> NoReturn:
    os._exit(128 + state.received)

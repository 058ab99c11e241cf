"""The only file that writes to standard output, for results, and to standard error, for messages."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from charlm.cli import signals
from charlm.errors import ResourceError

# A pipe takes this many bytes at once or not at all, so a signal never splits a line within them.
_ATOMIC_BYTES = 4096
_WITH_AN_EXPONENT = 1e-16  # smaller figures are written with an exponent
_LONGEST_HELD = 1 << 16  # bytes of an unfinished line


@dataclass
class Settings:
    """The values of the options of every command."""

    quiet: bool = False
    has_bar: bool = False  # a progress bar is shown although the rest is quiet
    color: bool = True
    debug: bool = False
    process: str = ""  # of a process that prints nothing but errors: what they begin with


settings = Settings()
_bars: list[Any] = []  # the progress bar that is shown, if any


def error(message: str, hint: str = "") -> None:
    """Print an error and its hint."""
    _say(f"{_colored('charlm: error:', '31')} {settings.process}{_one_line(message)}", is_error=True)
    if hint:
        _say(f"hint: {_one_line(hint)}", is_error=True)


def warn(message: str) -> None:
    """Print a warning; the work goes on."""
    _say(f"{_colored('charlm: warning:', '33')} {_one_line(message)}")


def note(message: str) -> None:
    """Print a note, unless --quiet."""
    if not settings.quiet:
        _say(_one_line(message))


def needed(message: str) -> None:
    """Print what is needed to repeat or continue the work, even with --quiet."""
    _say(_one_line(message))


def _say(text: str, *, is_error: bool = False) -> None:
    if sys.stderr is None or (settings.process and not is_error):
        return
    for bar in _bars:
        if not bar.disable:
            bar.clear()
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # a closed standard error must not stop the results
        silence(2)


def silence(descriptor: int) -> None:
    """Redirect a standard stream to the null device, so that the interpreter's flush at exit cannot fail."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
    except OSError:  # no null device, or too many open files: remove the stream
        setattr(sys, "stdout" if descriptor == 1 else "stderr", None)
        return
    try:
        os.dup2(nowhere, descriptor)
    finally:
        os.close(nowhere)


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _colored(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if has_color(sys.stderr) else text


def has_color(stream: TextIO | None) -> bool:
    """Return whether to write colours to a stream: it is a terminal, and nothing turns them off."""
    plain = not settings.color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and is_terminal(stream)


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


class Output:
    """Standard output as bytes, written in whole lines; bytes of the input that are not UTF-8 come out unchanged.

    At a terminal, each piece is written at once and control characters are escaped.

    unbuffered: write each piece at once
    """

    def __init__(self, *, unbuffered: bool = False) -> None:
        self._terminal = is_terminal(sys.stdout)
        self._flushes = unbuffered or self._terminal
        self._descriptor = sys.stdout.fileno()
        self._held = bytearray()
        self._within_line = False  # whether the last byte written was not a newline
        try:
            os.write(self._descriptor, b"")
        except OSError as error:  # found before any work is done
            raise unwritable(error) from error
        signals.state.output = self

    def write(self, text: str, *, is_styled: bool = False) -> None:
        """Write text; raises ResourceError if that fails, ClosedPipe if the reader has gone.

        is_styled: the text has escape sequences for colours, and is `printable` besides
        """
        if self._terminal and not is_styled:
            text = printable(text)
        signals.state.undisturbed += 1
        try:
            self._held += _encoded(text)
            if self._flushes:
                self._hand_over(len(self._held))
            elif len(self._held) >= _ATOMIC_BYTES:
                whole = self._held.rfind(b"\n") + 1
                self._hand_over(whole if len(self._held) < _LONGEST_HELD else len(self._held))
        finally:
            signals.state.undisturbed -= 1
        if signals.state.received:
            signals.end_if_due()

    def line(self, text: str) -> None:
        """Write a line."""
        self.write(text + "\n")

    def finish_lines(self) -> None:
        """Write the complete lines, and end a line that was written in part."""
        whole = self._held.rfind(b"\n") + 1
        del self._held[whole:]
        self.end_line()

    def end_line(self) -> None:
        """Write what is left, and a newline if it does not end with one."""
        with signals.undisturbed():
            if not self._held.endswith(b"\n") and (self._held or self._within_line):
                self._held += b"\n"
            self._hand_over(len(self._held))

    def close(self) -> None:
        """Write what is left, which is complete without a newline; raises as `write` does."""
        with signals.undisturbed():
            self._hand_over(len(self._held))
            self._within_line = False

    def _hand_over(self, count: int) -> None:
        """Write the first `count` bytes of the buffer, as many whole lines at a time as a pipe takes at once."""
        while count:
            size = min(count, _ATOMIC_BYTES)
            size = self._held.rfind(b"\n", 0, size) + 1 or size
            try:
                written = os.write(self._descriptor, self._held[:size])
            except BlockingIOError:
                import select

                select.select([], [self._descriptor], [])
                continue
            except OSError as error:
                self._held.clear()
                raise unwritable(error) from error
            self._within_line = self._held[written - 1] != ord("\n")
            del self._held[:written]
            count -= written


def printable(text: str) -> str:
    """Return text with control characters escaped, except newlines and tabs."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate, which a vocabulary may contain and a text cannot
        return text.encode("utf-8", "backslashreplace")


def finish() -> None:
    """Write what an interrupted command has left in the buffer, and help texts."""
    if signals.state.output is not None:
        signals.state.output.end_line()
    if sys.stdout is not None:
        with to_standard_output():
            sys.stdout.flush()


@contextlib.contextmanager
def to_standard_output() -> Iterator[None]:
    """Turn errors of standard output inside the block into those that `Output` raises."""
    try:
        yield
    except OSError as error:
        raise unwritable(error) from error


def unwritable(error: OSError) -> Exception:
    """Return the exception for an error of standard output."""
    if isinstance(error, BrokenPipeError | ConnectionResetError):
        return signals.ClosedPipe()
    if error.errno == errno.EBADF:
        return ResourceError("standard output is closed", hint="redirect it: > FILE, or | COMMAND")
    return ResourceError(
        f"cannot write to standard output: {error.strerror}", hint="free disk space, or write elsewhere"
    )


def strict_json(record: Mapping[str, Any]) -> str:
    """Return a record as one line of JSON, with null for NaN and infinity."""
    import json

    finite = {key: _finite(value) for key, value in record.items()}
    text = json.dumps(finite, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that are not UTF-8 survive as escapes
        text = json.dumps(finite, allow_nan=False)
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list) else value


def figure(value: float, decimals: int = 4) -> str:
    """Return a number with `decimals` decimals, or a small one with four significant digits.

    Negative zero becomes 0. Only numbers below 1e-16 have an exponent, because `sort -n` cannot read it.
    """
    size = abs(value)
    if not 0.0 < size < 10.0 ** (1 - decimals):
        return f"{value + 0.0:.{decimals}f}"
    if size < _WITH_AN_EXPONENT:
        return f"{value:.4g}"
    return f"{value:.{3 - math.floor(math.log10(size))}f}".rstrip("0")


@contextlib.contextmanager
def progress_of(unit: str, total: int | None = None) -> Iterator[Callable[[int], Any] | None]:
    """Show a progress bar inside the block if standard error is a terminal and standard output is not.

    Yields the function to call with what has been done since the last call; None if there is no bar.
    """
    if settings.quiet or not is_terminal(sys.stderr) or is_terminal(sys.stdout):
        yield None
        return
    bar = progress_bar(total, unit)
    try:
        yield bar.update
    finally:
        bar.close()


def progress_bar(total: int | None, unit: str) -> Any:
    """Return a progress bar on standard error, which is hidden unless that is a terminal.

    total: None if it is unknown
    unit: what is counted; large numbers of bytes, "B", and of tokens are shown with prefixes such as M
    """
    from tqdm import tqdm

    hidden = (settings.quiet and not settings.has_bar) or not is_terminal(sys.stderr)
    tqdm.monitor_interval = 0  # no monitor thread: this bar looks at the clock at every update
    scaled = unit != "step"
    bar = tqdm(total=total, unit=unit, disable=hidden, dynamic_ncols=True, leave=False, unit_scale=scaled, miniters=1)
    if not hidden:
        _bars[:] = [bar]
    return bar

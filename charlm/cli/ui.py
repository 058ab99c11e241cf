"""Standard output is the product, standard error is for the person; this is the only file that writes to either."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from charlm.cli import signals
from charlm.errors import ResourceError

_ATOMIC_BYTES = 4096  # that a pipe takes all or none of, so that lines in them are whole wherever a signal strikes
_WITH_AN_EXPONENT = 1e-16  # figures below that are written so
_LONGEST_HELD = 1 << 16  # bytes of a line that has no end yet


@dataclass
class Settings:
    """What the options that every command has were set to."""

    quiet: bool = False
    color: bool = True
    debug: bool = False


settings = Settings()


def error(message: str, hint: str = "") -> None:
    """Say what went wrong and what to do."""
    _say(f"{_colored('charlm: error:', '31')} {_one_line(message)}")
    if hint:
        _say(f"hint: {_one_line(hint)}")


def warn(message: str) -> None:
    """Say what a person should know, although the work goes on."""
    _say(f"{_colored('charlm: warning:', '33')} {_one_line(message)}")


def note(message: str) -> None:
    """Say what is going on, unless --quiet."""
    if not settings.quiet:
        _say(_one_line(message))


def needed(message: str) -> None:
    """Print what repeating or continuing the work takes and no file tells, also under --quiet."""
    _say(_one_line(message))


def _say(text: str) -> None:
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # nobody reads it: the results matter, what is said of them does not
        silence(2)


def silence(descriptor: int) -> None:
    """Point a standard stream nowhere, so that the interpreter's own flush of it at exit cannot fail."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
    except OSError:  # too many files are open, or there is no such file: the interpreter is to forget the stream
        setattr(sys, "stdout" if descriptor == 1 else "stderr", None)
        return
    try:
        os.dup2(nowhere, descriptor)
    finally:
        os.close(nowhere)


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _colored(text: str, code: str) -> str:
    plain = not settings.color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain or not is_terminal(sys.stderr) else f"\x1b[{code}m{text}\x1b[0m"


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a person reads, or types into, a stream."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


class Output:
    """Standard output, as bytes: text goes out as it came in, also where it was no UTF-8, and by whole lines.

    unbuffered: hand over each piece as it is written; so it is at a terminal, where control characters are escaped
    """

    def __init__(self, *, unbuffered: bool = False) -> None:
        self._terminal = is_terminal(sys.stdout)
        self._flushes = unbuffered or self._terminal
        self._descriptor = sys.stdout.fileno()
        self._held = bytearray()
        self._within_line = False  # whether the last byte that was handed over ends no line
        try:
            os.write(self._descriptor, b"")
        except OSError as error:  # before any work is done
            raise unwritable(error) from error
        signals.state.output = self

    def write(self, text: str) -> None:
        """Write text as it is; raises ResourceError where that cannot be done, ClosedPipe where nobody reads."""
        if self._terminal:
            text = "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
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
        """Hand over the lines that are finished, and end the one of which a part is handed over already."""
        whole = self._held.rfind(b"\n") + 1
        del self._held[whole:]
        self.end_line()

    def end_line(self) -> None:
        """Hand over what is left, and end the line if that does not."""
        with signals.undisturbed():
            if not self._held.endswith(b"\n") and (self._held or self._within_line):
                self._held += b"\n"
            self._hand_over(len(self._held))

    def close(self) -> None:
        """Hand over what is left; raises as `write` does."""
        with signals.undisturbed():
            self._hand_over(len(self._held))

    def _hand_over(self, count: int) -> None:
        """Write the first `count` bytes of what is held, as many lines at a time as a pipe takes whole."""
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


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character, which a vocabulary may hold and no text has
        return text.encode("utf-8", "backslashreplace")


def finish() -> None:
    """Hand over what the commands have written and not closed, because of a mistake further on, and help texts."""
    if signals.state.output is not None:
        signals.state.output.end_line()
    if sys.stdout is not None:
        with to_standard_output():
            sys.stdout.flush()


@contextlib.contextmanager
def to_standard_output() -> Iterator[None]:
    """Raise what standard output answers, inside the block, as `Output` raises it; nothing else is written there."""
    try:
        yield
    except OSError as error:
        raise unwritable(error) from error


def unwritable(error: OSError) -> Exception:
    """Give the exception for what standard output answered."""
    if isinstance(error, BrokenPipeError | ConnectionResetError):
        return signals.ClosedPipe()
    if error.errno == errno.EBADF:
        return ResourceError("standard output is closed", hint="let it go somewhere: > FILE, or | COMMAND")
    return ResourceError(f"cannot write, standard output: {error.strerror}", hint="make room, or write elsewhere")


def strict_json(record: Mapping[str, Any]) -> str:
    """Write a record as one line of JSON; numbers that are none become null."""
    import json

    finite = {key: _finite(value) for key, value in record.items()}
    text = json.dumps(finite, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that were no UTF-8: escaped, they survive
        text = json.dumps(finite, allow_nan=False)
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list) else value


def figure(value: float, decimals: int = 4) -> str:
    """Return a number with so many decimals; a small one with four significant digits, so that it is not written as 0.

    A negative zero is written as 0. An exponent is written only where a number would be longer than is sensible:
    `sort -n` knows none.
    """
    size = abs(value)
    if not 0.0 < size < 10.0 ** (1 - decimals):
        return f"{value + 0.0:.{decimals}f}"
    if size < _WITH_AN_EXPONENT:
        return f"{value:.4g}"
    return f"{value:.{3 - math.floor(math.log10(size))}f}".rstrip("0")


def tsv_field(value: Any) -> str:
    """Write one field: numbers as `figure` does, text without what would end the field or the line."""
    if isinstance(value, float):
        return figure(value)
    return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def write_records(records: Iterable[Mapping[str, Any]], form: str, output: Output, fields: Iterable[str] = ()) -> None:
    """Write records as aligned text, as TSV with a header line, or as JSON Lines.

    fields: names of the header, where they are known before the first record
    """
    header_due = not fields
    if form == "tsv" and fields:
        output.line("\t".join(fields))
    for record in records:
        if form == "jsonl":
            output.line(strict_json(record))
        elif form == "tsv":
            if header_due:
                output.line("\t".join(record))
            output.line("\t".join(map(tsv_field, record.values())))
        else:
            width = max(map(len, record))
            for key, value in record.items():
                output.line(f"{key:<{width}}  {_readable(value)}")
        header_due = False
    output.close()


def _readable(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) >= 1000.0 else figure(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def progress_bar(total: int, unit: str) -> Any:
    """Make a bar on standard error, which shows only at a terminal."""
    from tqdm import tqdm

    hidden = settings.quiet or not is_terminal(sys.stderr)
    tqdm.monitor_interval = 0  # its thread is for bars that guess when to look at the clock; this one looks each time
    return tqdm(total=total, unit=unit, disable=hidden, dynamic_ncols=True, leave=False, unit_scale=False, miniters=1)

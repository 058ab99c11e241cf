"""The command `charlm`: its subcommands, its exit codes, and how errors are reported."""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from charlm.cli import ranks, signals, standard_input, ui
from charlm.errors import CharlmError, ResourceError

if TYPE_CHECKING:  # Typer takes most of the start-up time, so it is imported after the signal handlers are set
    import typer


def make_app() -> typer.Typer:
    """Return the command, which makes its subcommands when they are needed."""
    import typer

    from charlm.cli.group import CONTEXT, Group
    from charlm.cli.options import charlm

    app = typer.Typer(
        name="charlm",
        cls=Group,
        invoke_without_command=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=CONTEXT,
        epilog="charlm help COMMAND prints examples and options of a command.",
    )
    app.callback()(charlm)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: success
    1: internal error, or a failed check
    2 to 6: usage, input data, model file, diverged training, resources of the machine (see `charlm.errors`)
    128 + n: ended by signal n
    """
    _begin()
    try:
        from typer.main import get_command

        given = list(sys.argv[1:] if arguments is None else arguments)
        code = get_command(make_app()).main(args=given, prog_name="charlm", standalone_mode=False)
        ui.finish()
        return code if isinstance(code, int) else 0
    except (signals.ClosedPipe, BrokenPipeError):
        ui.silence(1)
        return ranks.ended(0)
    except SystemExit as end:
        if signals.state.received:
            ui.silence(1)
            return ranks.ended(128 + signals.state.received)
        if end.code != 1:
            raise
        ui.silence(1)  # Typer exits so when the reader of a help text has gone
        return 0
    except Exception as error:
        if signals.state.received:  # its exception may have been replaced, e.g. by a failed import
            return ranks.ended(128 + signals.state.received)
        return ranks.ended(_report(error))
    finally:
        signals.state.raises = False  # nothing would catch it from here on


def _begin() -> None:
    """Secure the standard streams, and install the signal handlers.

    If the shell has closed a stream, the first file that is opened would get its descriptor, and messages would be
    written into that file. So a null device takes the descriptor, and refuses to be written, or to be read.
    """
    vars(signals.state).update(vars(signals.State()))
    for number, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, mode)  # takes the smallest free descriptor
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    standard_input.install()
    signals.at_signals(signals.take_signal)
    atexit.register(signals.ignore_them)
    ranks.begin()


def _report(error: Exception) -> int:
    """Print an error and its hint, and return the exit code."""
    if ui.settings.debug and sys.stderr is not None:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, OSError):
        error = _of_the_machine(error)
    elif isinstance(error, ImportError):
        error = _of_a_library(error)
    try:
        ui.finish()  # the lines before the error
    except (signals.ClosedPipe, ResourceError, OSError):
        ui.silence(1)
    if isinstance(error, MemoryError):
        error = ResourceError("out of memory", hint="try a smaller --batch-size, --seq-length or --hidden-size")
    is_reported = ranks.is_reported(error)
    if isinstance(error, CharlmError):
        if not is_reported:
            ui.error(error.message, error.hint)
        return error.exit_code
    if hasattr(error, "format_message"):  # a usage error of the Click inside Typer, which cannot be imported by name
        if is_reported:
            return 2
        context = getattr(error, "ctx", None)
        ui.error(error.format_message(), f"see: {context.command_path if context else 'charlm'} --help")
        return 2
    ui.error(f"internal error: {type(error).__name__}: {error}", "run it again with --debug, and report the output")
    return 1


def _of_the_machine(error: OSError) -> ResourceError:
    """Return the ResourceError for an error of the operating system."""
    reason = error.strerror or str(error) or type(error).__name__
    try:
        from charlm.storage.files import display_name, hint_for
    except (ImportError, OSError):  # the limit of open files also stops imports
        return ResourceError(reason, hint="raise the limit of open files: ulimit -n 1024")
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else error.filename
    where = "" if name is None else f", {display_name(str(name))}"
    hint = hint_for(error, "run it again with --debug to see where")
    return ResourceError(f"{reason}{where}", hint=hint)


def _of_a_library(error: ImportError) -> Exception:
    """Return the error for a library that could not be loaded because a resource ran out, or the same error."""
    said = str(error)
    if os.strerror(errno.EMFILE) in said:
        return _of_the_machine(OSError(errno.EMFILE, f"cannot load a library: {os.strerror(errno.EMFILE)}"))
    if "failed to map segment" in said or os.strerror(errno.ENOMEM) in said:
        return MemoryError()
    return error

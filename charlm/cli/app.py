"""The command `charlm`: its subcommands, and what becomes of an error."""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from charlm.cli import signals, ui
from charlm.errors import CharlmError, ResourceError

if TYPE_CHECKING:  # Typer is imported only when signals are taken: that takes most of the start
    import typer

# In the order of the help; each is a function of its own name in a module of that name.
COMMANDS = ("train", "generate", "score", "evaluate", "fill", "predict", "inspect", "vocab", "bench", "selfcheck")
_COMPLETION = "_CHARLM_COMPLETE"  # set by the shell that asks for the rest of a word


def make_app(names: Sequence[str] = COMMANDS) -> typer.Typer:
    """Make the command with these subcommands: reading the options of one takes as long as Python takes to start."""
    import typer

    from charlm.cli.options import Command, Group, charlm

    app = typer.Typer(
        name="charlm",
        cls=Group,
        invoke_without_command=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name in names:
        module = import_module(f"charlm.cli.{name}")
        app.command(name, cls=getattr(module, "COMMAND", Command))(getattr(module, name))
    app.callback()(charlm)
    return app


def _named(arguments: Sequence[str]) -> Sequence[str]:
    """Give the subcommands that a command line has to do with: one, or all where it is help that is asked for."""
    if _COMPLETION in os.environ or not arguments:
        return COMMANDS
    if arguments[0] == "--version":
        return ()
    return arguments[:1] if arguments[0] in COMMANDS else COMMANDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code, which `cli.md` lists."""
    _begin()
    try:
        from typer.main import get_command

        given = list(sys.argv[1:] if arguments is None else arguments)
        code = get_command(make_app(_named(given))).main(args=given, prog_name="charlm", standalone_mode=False)
        ui.finish()
        return code if isinstance(code, int) else 0
    except (signals.ClosedPipe, BrokenPipeError):
        ui.silence(1)
        return 0
    except SystemExit as end:
        if end.code != 1:
            raise
        ui.silence(1)  # Typer's own end where the reader of a help text has gone
        return 0
    except KeyboardInterrupt:
        ui.silence(1)
        return 128 + signal.SIGINT
    except Exception as error:
        if signals.state.received:  # what it raised has become something else, e.g. an import that failed
            return 128 + signals.state.received
        return _report(error)
    finally:
        signals.state.raises = False  # there is nobody left to catch it


def _begin() -> None:
    """Make the standard streams safe, and have signals end the process from now on.

    A stream that the shell closed would lend its number to the first file that is opened, and what is meant for a
    person would land there. So its number is taken by a file that refuses to be written, or to be read.
    """
    vars(signals.state).update(vars(signals.State()))
    for number, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, mode)  # gets the smallest number that is free
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    signals.at_signals(signals.take_signal)
    atexit.register(signals.ignore_them)


def _report(error: Exception) -> int:
    """Say in two lines what went wrong and what to do; give the exit code."""
    if ui.settings.debug and sys.stderr is not None:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, OSError):
        error = _of_the_machine(error)
    elif isinstance(error, ImportError):
        error = _of_a_library(error)
    try:
        ui.finish()  # the lines before the mistake
    except (signals.ClosedPipe, ResourceError, OSError):
        ui.silence(1)
    if isinstance(error, MemoryError):
        error = ResourceError("out of memory", hint="try a smaller --batch-size, --seq-length or --hidden-size")
    if isinstance(error, CharlmError):
        ui.error(error.message, error.hint)
        return error.exit_code
    if hasattr(error, "format_message"):  # a usage error of Typer's own Click, which is not to be imported
        context = getattr(error, "ctx", None)
        ui.error(error.format_message(), f"see: {context.command_path if context else 'charlm'} --help")
        return 2
    ui.error(f"internal error: {type(error).__name__}: {error}", "run it again with --debug and report what it prints")
    return 1


def _of_the_machine(error: OSError) -> ResourceError:
    """Make the error of what the system refused; what standard output refuses is one of ours already."""
    reason = error.strerror or str(error) or type(error).__name__
    try:
        from charlm.storage.files import display_name, hint_for
    except (ImportError, OSError):  # the system does not let us read a file of our own
        return ResourceError(reason, hint="raise the limit of open files: ulimit -n 1024")
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else error.filename
    where = "" if name is None else f", {display_name(str(name))}"
    hint = hint_for(error, "run it again with --debug, which shows where that was")
    return ResourceError(f"{reason}{where}", hint=hint)


def _of_a_library(error: ImportError) -> Exception:
    """Make the error of a library that the system did not load for want of something, or return the same one."""
    said = str(error)
    if os.strerror(errno.EMFILE) in said:
        return _of_the_machine(OSError(errno.EMFILE, f"a library cannot be loaded: {os.strerror(errno.EMFILE)}"))
    if "failed to map segment" in said or os.strerror(errno.ENOMEM) in said:
        return MemoryError()
    return error

"""The command `charlm`: its subcommands, and what becomes of an error."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer

from charlm import __version__
from charlm.cli import ui
from charlm.cli.options import Command
from charlm.errors import CharlmError, ResourceError

# In the order of the help; each is a function of its own name in a module of that name.
COMMANDS = ("train", "generate", "score", "evaluate", "fill", "predict", "inspect", "vocab", "bench", "selfcheck")
_COMPLETION = "_CHARLM_COMPLETE"  # set by the shell that asks for the rest of a word


def make_app(names: Sequence[str] = COMMANDS) -> typer.Typer:
    """Make the command with these subcommands: reading the options of one takes as long as Python takes to start."""
    app = typer.Typer(
        name="charlm",
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


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"charlm {__version__}\n")
        raise typer.Exit


def charlm(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Train recurrent language models, generate from them, and score text with them.

    \b
    charlm train names.txt -o names.safetensors         learn from a text file
    charlm generate names.safetensors -n 10             draw ten new lines
    charlm score names.safetensors names.txt            the probability of each line
    """
    if context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code, which `cli.md` lists."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        given = list(sys.argv[1:] if arguments is None else arguments)
        command = typer.main.get_command(make_app(_named(given)))
        code = command.main(args=given, prog_name="charlm", standalone_mode=False)
        _flush()
        return code if isinstance(code, int) else 0
    except (ui.ClosedPipe, BrokenPipeError):
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
        if ui.settings.debug:
            traceback.print_exc()
        return _report(error)


def _report(error: Exception) -> int:
    """Say in two lines what went wrong and what to do; give the exit code."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        error = ResourceError(f"cannot write, standard output: {error.strerror}", hint="make room, or write elsewhere")
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


def _terminate(*_: Any) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()

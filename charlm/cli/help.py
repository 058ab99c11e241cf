"""`charlm help`: print the help of charlm or of a command."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from charlm.cli.command import Command
from charlm.cli.commands import COMMANDS


class HelpCommand(Command):
    """A command that needs no NumPy."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        return TyperCommand.invoke(self, ctx)


COMMAND = HelpCommand


def _names(incomplete: str) -> list[tuple[str, str]]:
    """Return the commands that begin so, with their summaries."""
    return [one for group in COMMANDS.values() for one in group.items() if one[0].startswith(incomplete)]


def help(
    context: typer.Context,
    command: Annotated[
        str | None,
        typer.Argument(metavar="[COMMAND]", help="Name of a command.", show_default=False, autocompletion=_names),
    ] = None,
) -> None:
    """Print the help of charlm or of a command.

    \b
    charlm help
    charlm help generate
    """
    group: Any = context.find_root()
    if command is None:
        group.command.make_context("charlm", ["--help"])
    else:
        name, found, _ = group.command.resolve_command(group, [command])
        found.make_context(name, ["--help"], parent=group)

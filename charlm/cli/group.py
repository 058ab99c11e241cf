"""The command `charlm` itself: the list of its subcommands, each made when it is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from keyword import iskeyword
from typing import Any

import typer
from typer.core import CompletionItem, TyperGroup  # type: ignore[attr-defined]

from charlm.cli import ui
from charlm.cli.command import Command, Entry, global_flags, sections_of, write_sections
from charlm.cli.commands import COMMANDS

# Help texts are as wide as the terminal, up to a width that is easy to read.
CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_SUMMARIES = {name: text for group in COMMANDS.values() for name, text in group.items()}


class Subcommands(Mapping[str, Any]):
    """The subcommands by name. To make all of them takes longer than to start Python, so each is made when needed."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in _SUMMARIES:
            raise KeyError(name)
        if name not in self._made:
            # `import` is a keyword, so its function and its module are called `import_`.
            own = f"{name}_" if iskeyword(name) else name
            module = import_module(f"charlm.cli.{own}")
            app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=CONTEXT)
            app.command(name, cls=getattr(module, "COMMAND", Command))(getattr(module, own))
            self._made[name] = typer.main.get_command(app)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_SUMMARIES)

    def __len__(self) -> int:
        return len(_SUMMARIES)


class Group(TyperGroup):
    """The command `charlm`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Typer only reads them.
        self.commands = Subcommands()  # type: ignore[assignment]
        self.params += global_flags()

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the options before the subcommand, as `Command` parses its own."""
        with ui.to_standard_output():
            return super().make_context(*args, **kwargs)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return list(self.commands)

    def sections(self, ctx: Any) -> dict[str, list[Entry]]:
        """Return the entries of the help by their headings."""
        commands = {heading: [Entry(*one) for one in group.items()] for heading, group in COMMANDS.items()}
        return commands | sections_of(self.get_params(ctx), {}, ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections of the help."""
        write_sections(self.sections(ctx), formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Return the commands that begin so, with their summaries, and the options."""
        found = [CompletionItem(name, help=text) for name, text in _SUMMARIES.items() if name.startswith(incomplete)]
        # Not TyperGroup's own, which would make every command for its summary.
        return found + super(TyperGroup, self).shell_complete(ctx, incomplete)

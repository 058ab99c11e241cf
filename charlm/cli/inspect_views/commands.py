"""`charlm inspect --command`: the train command that repeats the training of each model."""

from __future__ import annotations

from pathlib import Path

from charlm.cli.inspect_views import Asked
from charlm.cli.tables_out import write_records


def show_commands(asked: Asked) -> None:
    """Print a command for each model."""
    from charlm.cli.repeating import training_command

    commands = [(name, training_command(one, Path(name))) for name, one in asked.models]
    if asked.format == "text":
        for _, line in commands:
            asked.output.line(line)
        return
    rows = ({"model": name, "command": line} for name, line in commands)
    write_records(rows, asked.format, asked.output, has_header=asked.has_header)

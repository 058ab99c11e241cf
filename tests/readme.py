"""The documents: README, guide, help texts and the manual page, kept true by `tests/test_readme.py`.

python -m tests.readme               writes the help texts and the manual page as they are now
python -m tests.readme --examples    also runs the examples, and writes what they print
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import typer

from charlm.cli.app import make_app
from charlm.cli.commands import COMMANDS
from tests import manual

PROJECT = Path(__file__).resolve().parents[1]
README = PROJECT / "README.md"
GUIDE = PROJECT / "charlm" / "guide"
HELP = PROJECT / "charlm" / "cli" / "README.md"
MEASURED = PROJECT / "tests" / "benchmarks" / "README.md"
_CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)


def documents() -> list[Path]:
    """Return the README and the pages of the guide."""
    return [README, *sorted(GUIDE.glob("*.md"))]


def help_of(command: str) -> str:
    """Return a command's help as it is on a terminal of 80 columns."""
    with mock.patch.dict(os.environ, {"COLUMNS": "80", "NO_COLOR": "1"}):
        group = typer.main.get_command(make_app())
        context = group.make_context("charlm", [], resilient_parsing=True)
        return group.commands[command].make_context(command, [], parent=context, resilient_parsing=True).get_help()  # type: ignore[attr-defined]


def help_page() -> str:
    """Return the page with the help texts of all commands."""
    lines = [
        "# The commands of charlm",
        "",
        "`charlm COMMAND --help` prints these texts. `make readme` writes this page.",
    ]
    for group, commands in COMMANDS.items():
        lines += ["", f"## {group}"]
        for name in commands:
            lines += ["", f"### {name}", "", "```text", help_of(name).rstrip(), "```"]
    return "\n".join(lines) + "\n"


def run_example(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of a document in a folder that has `corpora`."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "LC_ALL": "C"}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
    )


class Examples:
    """Runs the examples of documents in one folder; a training that has run there is not run again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._trained: set[str] = set()
        (folder / "corpora").symlink_to(PROJECT / "corpora")

    def run(self, command: str) -> subprocess.CompletedProcess[str] | None:
        """Run a command; return None if it is a training of before."""
        if command.startswith("charlm train ") and "|" not in command:
            if command in self._trained:
                return None
            self._trained.add(command)
        return run_example(command, self._folder)


def examples(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of the console blocks with the lines that it prints."""
    for block in _CONSOLE.findall(text):
        found: list[tuple[str, list[str]]] = []
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
        yield from found


def with_examples_run(text: str, run: Examples) -> str:
    """Return a document with what its examples print now."""

    def rerun(match: re.Match[str]) -> str:
        printed = []
        for command, _ in examples(match[0]):
            done = run.run(command)
            if done is not None:
                print(command, done.stdout, done.stderr, sep="\n", flush=True)
            printed.append(f"$ {command}\n{'' if done is None else done.stdout}")
        return f"```console\n{''.join(printed)}```"

    return _CONSOLE.sub(rerun, text)


if __name__ == "__main__":
    HELP.write_text(help_page())
    manual.PAGE.write_text(manual.page())
    if "--examples" in sys.argv:
        with tempfile.TemporaryDirectory() as folder:
            run = Examples(Path(folder))
            for document in documents():
                document.write_text(with_examples_run(document.read_text(), run))

"""The README's help texts and examples, held to the truth by `tests/test_readme.py`, and the manual page.

python -m tests.readme               writes the help texts and the manual page as they are now
python -m tests.readme --examples    also runs the examples, and writes what they print
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import manual

README = Path(__file__).resolve().parents[1] / "README.md"
_CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
_BLOCK = re.compile(r"(<!-- help (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def help_of(command: str) -> str:
    """Return a command's help as it is on a terminal of 80 columns."""
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    run = [sys.executable, "-m", "charlm", command, "--help"]
    return subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stdout


def documented() -> list[str]:
    """Return the commands whose help the README shows."""
    return [match[2] for match in _BLOCK.finditer(README.read_text())]


def updated(text: str) -> str:
    """Return the README with every help text as it is now."""
    return _BLOCK.sub(lambda match: f"{match[1]}```text\n{help_of(match[2])}```\n{match[3]}", text)


def run_example(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the README in a folder that has `corpora`."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "LC_ALL": "C"}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
    )


def with_examples_run(text: str, folder: Path) -> str:
    """Return the README with what its examples print now."""

    def rerun(match: re.Match[str]) -> str:
        commands = [line for line in match[1].splitlines() if line.startswith("$ ")]
        printed = []
        for command in commands:
            run = run_example(command[2:], folder)
            print(command, run.stdout, run.stderr, sep="\n", flush=True)
            printed.append(f"{command}\n{run.stdout}")
        return f"```console\n{''.join(printed)}```"

    return _CONSOLE.sub(rerun, text)


if __name__ == "__main__":
    text = updated(README.read_text())
    if "--examples" in sys.argv:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "corpora").symlink_to(README.parent / "corpora")
            text = with_examples_run(text, Path(folder))
    README.write_text(text)
    manual.PAGE.write_text(manual.page())

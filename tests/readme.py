"""The README's help texts: `python -m tests.readme` writes them; `tests/test_readme.py` holds them to the truth."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
_BLOCK = re.compile(r"(<!-- help (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def help_of(command: str) -> str:
    """Give a command's help as it is on a terminal of 80 columns."""
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    run = [sys.executable, "-m", "charlm", command, "--help"]
    return subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stdout


def documented() -> list[str]:
    """Give the commands whose help the README shows."""
    return [match[2] for match in _BLOCK.finditer(README.read_text())]


def updated(text: str) -> str:
    """Give the README with every help text as it is now."""
    return _BLOCK.sub(lambda match: f"{match[1]}```text\n{help_of(match[2])}```\n{match[3]}", text)


if __name__ == "__main__":
    README.write_text(updated(README.read_text()))

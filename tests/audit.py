"""Known vulnerabilities in what charlm needs to run, looked up where there is a network to look them up in.

python -m tests.audit
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.constraints import needed, pinned

SECONDS = 120


def run(*command: str) -> subprocess.CompletedProcess[str] | None:
    """Run a command; None where it takes too long."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return None


def main() -> int:
    """Print what was found; the exit code is 1 only for a vulnerability."""
    releases = pinned()
    lines = [f"{name}=={releases[name]}" for name in sorted(needed("charlm-rnn")) if name in releases]
    with tempfile.TemporaryDirectory() as folder:
        listed, python = Path(folder) / "requirements.txt", f"{folder}/venv/bin/python"
        listed.write_text("\n".join(lines) + "\n")
        # In an environment of its own: what looks needs more packages than what is looked at.
        steps = (
            (sys.executable, "-m", "venv", f"{folder}/venv"),
            (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pip-audit>=2.7,<3"),
        )
        for step in steps:
            done = run(*step)
            if done is None or done.returncode:
                print("audit: pip-audit is not available, so nothing was checked")
                return 0
        look = (python, "-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner", "off")
        found = run(*look, "-r", str(listed))
    if found is None or "ConnectionError" in found.stderr or "Traceback" in found.stderr:
        print("audit: no network, nothing was looked up")
        return 0
    print(found.stdout + found.stderr)
    return found.returncode


if __name__ == "__main__":
    sys.exit(main())

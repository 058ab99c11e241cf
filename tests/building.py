"""Building charlm from a copy of its sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

PROJECT = Path(__file__).resolve().parents[1]
HAS_COMPILER = shutil.which("cc") is not None
_OF_COMPILERS = ("CC", "CFLAGS", "LDFLAGS", "LDSHARED")


class Sources:
    """A copy of what charlm is built from, with a core of one function, which is compiled fast."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.core = folder, folder / "charlm" / "backends" / "compiled"
        ignored = shutil.ignore_patterns("__pycache__", "core_*", "*.[ch]")
        shutil.copytree(PROJECT / "charlm", folder / "charlm", ignore=ignored)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(PROJECT / name, folder)
        (self.core / "core.c").write_text('#include "width.h"\nint core_vector_bytes(void) { return WIDTH; }\n')
        (self.core / "width.h").write_text("#define WIDTH VECTOR_BYTES\n")

    def built(self, what: str = "wheel", **env: str) -> Path:
        """Build a wheel, an sdist or an editable wheel with these variables; return its path."""
        return built(self.folder, what, **env)

    def libraries(self) -> list[str]:
        """Return the levels whose libraries lie beside the sources, each with a checksum."""
        levels = sorted(path.stem.removeprefix("core_") for path in self.core.glob("core_*.so"))
        assert levels == sorted(path.stem.removeprefix("core_") for path in self.core.glob("core_*.sha256"))
        return levels


def built(folder: Path, what: str = "wheel", **env: str) -> Path:
    """Build what is in a folder, with the setuptools of this environment."""
    code = f"from setuptools import build_meta; print(build_meta.build_{what}('dist'))"
    environment = {name: value for name, value in os.environ.items() if name not in _OF_COMPILERS}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=folder, env={**environment, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "dist" / done.stdout.splitlines()[-1]


def contents(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel by their names."""
    with ZipFile(wheel) as files:
        return {name: files.read(name) for name in files.namelist()}

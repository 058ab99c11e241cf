"""The compiled cores that the tests run on."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from charlm.backends.compiled import backend as compiled

FOLDER = Path(compiled.__file__).parent
CORES = ("v3", "v4", "neon")


def compiled_backend(core: str) -> compiled.CompiledBackend:
    """Return a backend with the core of this name; skip the test if it is not installed or does not run here."""
    path = FOLDER / f"core_{core}.so"
    if not path.exists():
        pytest.skip(f"the compiled core {core} is not installed")
    return compiled.CompiledBackend(ctypes.CDLL(str(path)))


def compiled_backends() -> dict[str, Callable[[], compiled.CompiledBackend]]:
    """Return what makes the backend of each core."""
    return {core: partial(compiled_backend, core) for core in CORES}

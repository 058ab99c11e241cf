"""The compiled cores that the tests run on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from charlm.backends.compiled.backend import CompiledBackend
from charlm.backends.compiled.library import AMX, CORES, obstacle, open_library

HERE = [core for core in CORES if not obstacle(core)]  # those that run on this machine
# The cores that tests are parametrized with. `test_core_library.py` says why the others are left out.
EACH_CORE = HERE or [pytest.param("", marks=pytest.mark.skip(reason="no compiled core runs here"))]
BEST_CORE = EACH_CORE[:1]
# Those that may multiply bfloat16 numbers. AMX has the functions of v4 for all else.
EACH_BFLOAT16 = [core for core in (AMX, "v4") if not obstacle(core)] or EACH_CORE


def compiled_backend(core: str) -> CompiledBackend:
    """Return a backend with the core of this name; skip the test if it is not installed or does not run here."""
    if reason := obstacle(core):
        pytest.skip(f"the compiled core {core}: {reason}")
    return CompiledBackend(open_library(core))


def compiled_backends() -> dict[str, Callable[[], CompiledBackend]]:
    """Return what makes the backend of each core that runs here."""
    return {core: partial(compiled_backend, core) for core in HERE}

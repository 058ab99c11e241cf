"""What is checked of the GPU's backend without a GPU: CuPy on the host's memory, its kernels compiled by g++."""

import functools
import importlib.metadata

import pytest

from tests.cuda import compiled

CUPY = "14.2.0"  # whose private names `hostcupy` leans on


def missing():
    """Say what the emulation lacks here, "" for nothing."""
    if compiled.COMPILER is None:
        return "no g++"
    try:
        found = importlib.metadata.version("cupy-cuda12x")
    except importlib.metadata.PackageNotFoundError:
        return "no cupy-cuda12x: pip install -e '.[gputest]'"
    return "" if found == CUPY else f"cupy-cuda12x is {found}, not {CUPY}"


@functools.cache
def _installed():
    from tests.cuda import hostcupy

    hostcupy.install()


def cupy_on_host():
    """Give the GPU's backend on the host's memory; skip the test where that cannot be."""
    if reason := missing():
        pytest.skip(f"CuPy on the host: {reason}")
    _installed()
    from charlm.backends.cupy_backend import CupyBackend

    return CupyBackend()

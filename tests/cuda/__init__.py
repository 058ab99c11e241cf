"""What is checked of the GPU's backend: without a GPU, on the host's memory, its kernels compiled by g++.

`pytest --gpu` has the same tests use a GPU; what only the emulation can tell, such as how often a step waits, is
skipped then.
"""

import functools
import importlib.metadata

import pytest

from tests.cuda import compiled

CUPY = "14.2.0"  # whose private names `hostcupy` leans on
on_gpu = False  # whether `--gpu` was given


def missing():
    """Say what the emulation lacks here, "" for nothing."""
    if on_gpu:
        return "CuPy is on the GPU in this process"
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
    from charlm.backends.cupy.backend import CupyBackend

    return CupyBackend()


def cupy_backend():
    """Give the GPU's backend: on the GPU with `--gpu`, else on the host's memory."""
    if not on_gpu:
        return cupy_on_host()
    from charlm.backends import get_backend

    return get_backend("cuda")

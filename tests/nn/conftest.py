"""The backends that the gradients, and what each output can see, are checked on."""

import pytest

from charlm.backends import NumpyBackend
from tests import gradcheck
from tests.compiled import CORES, compiled_backend, compiled_backends

_BACKENDS = {"cpu": NumpyBackend, **compiled_backends()}


def _runs_here(core):
    try:
        compiled_backend(core)
    except pytest.skip.Exception:
        return False
    return True


def _params():
    """Return NumPy's backend and the best compiled core; test_scans.py holds the others to the reference."""
    best = next((core for core in CORES if _runs_here(core)), None)
    return ["cpu"] if best is None else ["cpu", pytest.param(best, marks=pytest.mark.thinned(2))]


@pytest.fixture(params=_params())
def each_backend(request, monkeypatch):
    """Run the test on this backend: it is `OPS` of `tests.gradcheck` and of the test's module."""
    ops = _BACKENDS[request.param]()
    for module in (gradcheck, request.module):
        monkeypatch.setattr(module, "OPS", ops, raising=False)
    return ops

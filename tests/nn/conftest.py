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
    """Return NumPy's backend, one compiled core, and a part of the tests on the others."""
    first, *others = [core for core in reversed(CORES) if _runs_here(core)] or [None]
    names = [name for name in ("cpu", first) if name]
    return [*names, *(pytest.param(core, marks=pytest.mark.thinned(4)) for core in others)]


@pytest.fixture(params=_params())
def each_backend(request, monkeypatch):
    """Run the test on this backend: it is `OPS` of `tests.gradcheck` and of the test's module."""
    ops = _BACKENDS[request.param]()
    for module in (gradcheck, request.module):
        monkeypatch.setattr(module, "OPS", ops, raising=False)
    return ops

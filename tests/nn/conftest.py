"""The backends that the gradients, and what each output can see, are checked on."""

import pytest

from charlm.backends import NumpyBackend
from tests import gradcheck
from tests.compiled import HERE, compiled_backends

_BACKENDS = {"cpu": NumpyBackend, **compiled_backends()}


def _params():
    """Return NumPy's backend and the best compiled core; test_scans.py holds the others to the reference."""
    return ["cpu", *(pytest.param(best, marks=pytest.mark.thinned(2)) for best in HERE[:1])]


@pytest.fixture(params=_params())
def each_backend(request, monkeypatch):
    """Run the test on this backend: it is `OPS` of `tests.gradcheck` and of the test's module."""
    ops = _BACKENDS[request.param]()
    for module in (gradcheck, request.module):
        monkeypatch.setattr(module, "OPS", ops, raising=False)
    return ops

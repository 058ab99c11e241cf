"""The backends that the gradients, and what each output can see, are checked on."""

import pytest

from charlm.backends import NumpyBackend
from tests import gradcheck
from tests.compiled import compiled_backends, installed_cores

_BACKENDS = {"cpu": NumpyBackend, **compiled_backends()}


def _params():
    """Return all of the first compiled core, and a part of the others."""
    first, *others = sorted(installed_cores(), reverse=True) or [None]
    names = [name for name in ("cpu", first) if name]
    return [*names, *(pytest.param(core, marks=pytest.mark.thinned(4)) for core in others)]


@pytest.fixture(params=_params())
def each_backend(request, monkeypatch):
    """Run the test on this backend: it is `OPS` of `tests.gradcheck` and of the test's module."""
    ops = _BACKENDS[request.param]()
    for module in (gradcheck, request.module):
        monkeypatch.setattr(module, "OPS", ops, raising=False)
    return ops

"""The backends that the contract is held against: a new one is one line here."""

import pytest

from charlm.backends import NumpyBackend
from tests.compiled import compiled_backends
from tests.cuda import cupy_backend

BACKENDS = {"cpu": NumpyBackend, **compiled_backends(), "cuda": pytest.param(cupy_backend, marks=pytest.mark.cupy)}


@pytest.fixture(params=BACKENDS.values(), ids=BACKENDS)
def ops(request):
    return request.param()

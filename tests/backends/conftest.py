"""The backends that the contract is held against: a new one is one line here."""

import pytest

from charlm.backends import NumpyBackend
from tests.cuda import cupy_on_host

BACKENDS = {"cpu": NumpyBackend, "cuda on the host": cupy_on_host}


@pytest.fixture(params=BACKENDS.values(), ids=BACKENDS)
def ops(request):
    return request.param()

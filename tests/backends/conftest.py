"""The backends that the contract is held against: a new one is one line here."""

import pytest

from charlm.backends import NumpyBackend

BACKENDS = [NumpyBackend]


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def ops(request):
    return request.param()

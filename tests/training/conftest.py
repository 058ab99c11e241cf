"""The cores that a training runs on."""

import pytest

from tests.compiled import HERE


@pytest.fixture(params=[pytest.param("numpy", marks=pytest.mark.thinned(3)), *HERE[:1]])
def each_core(request, monkeypatch):
    """Compute with NumPy, and with the best core of this machine."""
    monkeypatch.setenv("CHARLM_CORE", request.param)

"""The cores that a training runs on."""

import pytest

from charlm.backends.compiled.library import CORES, obstacle


@pytest.fixture(params=["numpy", *[core for core in CORES if not obstacle(core)][:1]])
def each_core(request, monkeypatch):
    """Compute with NumPy, and with the best core of this machine."""
    monkeypatch.setenv("CHARLM_CORE", request.param)

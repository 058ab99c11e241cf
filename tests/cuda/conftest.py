"""What the tests of the GPU's backend share."""

import pytest

from tests.cuda import cupy_on_host


@pytest.fixture
def ops():
    """The GPU's backend on the host's memory."""
    return cupy_on_host()

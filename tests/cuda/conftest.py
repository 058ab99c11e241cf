"""What the tests of the GPU's backend share."""

import pytest

from tests.cuda import cupy_backend


@pytest.fixture
def ops():
    """The GPU's backend, on the host's memory if not on a GPU."""
    return cupy_backend()

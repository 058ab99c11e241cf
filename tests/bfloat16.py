"""Products in bfloat16: computed by NumPy, for tests on any machine, and by the compiled core, where it has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from charlm.backends import Backend, NumpyBackend, get_backend
from charlm.errors import ResourceError


class RoundedProducts(NumpyBackend):
    """NumPy, with both factors of each product rounded to bfloat16, and sums in float32.

    workers: those of the backend that it stands in for
    products: how many it has computed
    """

    def __init__(self, workers: Any) -> None:
        self.workers = workers
        self.products = 0

    def matmul(self, a: Any, b: Any, *, out: Any, add: bool = False) -> None:
        assert a.dtype == b.dtype == out.dtype == np.float32
        self.products += 1
        super().matmul(rounded(a), rounded(b), out=out, add=add)


class RoundingBackend(NumpyBackend):
    """NumPy on a machine with bfloat16 products."""

    def in_precision(self, dtype: str) -> Backend:
        return RoundedProducts(self.workers) if dtype == "bfloat16" else super().in_precision(dtype)


def rounded(x: np.ndarray) -> np.ndarray:
    """Return numbers rounded to bfloat16, to the nearest with ties to even; NaN and infinity stay."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    nearest = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return np.where(np.isfinite(x), nearest.view(np.float32), x)


def machine(kind: str) -> Backend:
    """Return the backend of a machine with bfloat16 products: `numpy`, or `compiled` where this machine has them."""
    if kind == "numpy":
        return RoundingBackend()
    ops = get_backend("cpu")
    try:
        ops.in_precision("bfloat16")
    except ResourceError as error:
        pytest.skip(error.message)
    return ops

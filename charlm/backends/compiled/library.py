"""The library of the compiled core for this processor."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path


@cache
def load_library() -> ctypes.CDLL | None:
    """Return the fastest library that this processor runs, None if there is none."""
    path = Path(__file__).parent / "core_v4.so"
    return ctypes.CDLL(str(path)) if path.exists() else None

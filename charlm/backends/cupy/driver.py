"""Whether the NVIDIA driver is installed, without CuPy, whose import takes half a second."""

from __future__ import annotations

import ctypes
import sys

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def driver_version() -> int:
    """Return the CUDA version of the driver, as 1000 major + 10 minor; 0 if no driver is installed."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return 0
    version = ctypes.c_int(0)
    return int(version.value) if library.cuDriverGetVersion(ctypes.byref(version)) == 0 else 0

"""Whether NVIDIA's driver is there: asked of the system, as CuPy takes half a second to be imported."""

from __future__ import annotations

import ctypes
import sys

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def driver_version() -> int:
    """Give the CUDA version that the driver knows, as 1000 major + 10 minor; 0 where there is no driver."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return 0
    version = ctypes.c_int(0)
    return int(version.value) if library.cuDriverGetVersion(ctypes.byref(version)) == 0 else 0

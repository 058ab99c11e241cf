"""Opening the GPU: whether it does what is asked of it, and if not, what is missing and how to get it."""

from __future__ import annotations

import os

import numpy as np

from charlm.backends.base import Backend
from charlm.backends.cupy.driver import driver_version
from charlm.errors import ResourceError

_TOO_OLD, _NO_DEVICE = 35, 100  # CUDA's numbers of these errors
_LIBRARIES = 'pip install "cupy-cuda12x[ctk]", or cupy-cuda13x where that is the CuPy installed'


def opened() -> Backend:
    """Give the backend of the first GPU, after a kernel that was compiled for it and a product were right.

    Raises ResourceError that says what is missing: the driver, a device, NVRTC, cuBLAS, or memory.
    """
    try:
        import cupy
    except Exception as error:  # a library that fails while it is loaded raises anything
        raise ResourceError(
            f"--device cuda: CuPy cannot be loaded: {_line(error)}", hint="install it anew; one CuPy only"
        ) from error
    try:
        _see_device(cupy)
        return checked()
    except ResourceError:
        raise
    except Exception as error:
        raise explained(error) from error


def checked() -> Backend:
    """Make the backend, and compare a kernel and a product of its with what they should be."""
    from charlm.backends.cupy.backend import CupyBackend

    ops = CupyBackend()
    matrix = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    out = ops.empty((2, 2), "float32")
    ops.dropout(ops.array(matrix), rate=0.0, key=1, out=out)
    if not np.array_equal(ops.numpy(out), matrix):
        raise RuntimeError("a kernel gives wrong numbers")
    ops.matmul(ops.array(matrix), ops.array(matrix), out=out)
    if not np.array_equal(ops.numpy(out), matrix @ matrix):
        raise RuntimeError("a product gives wrong numbers")
    return ops


def _see_device(cupy: object) -> None:
    from cupy.cuda import runtime

    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        if error.status == _TOO_OLD:
            known, needed = (f"{v // 1000}.{v % 1000 // 10}" for v in (driver_version(), runtime.runtimeGetVersion()))
            raise ResourceError(
                f"--device cuda: the NVIDIA driver is too old: it knows CUDA {known}, CuPy needs {needed}",
                hint="update the driver, or install the CuPy of an older CUDA",
            ) from error
        if error.status != _NO_DEVICE:
            raise explained(error) from error
        count = 0
    if not count:
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
        hint = "see whether nvidia-smi lists one" if chosen is None else f"CUDA_VISIBLE_DEVICES is {chosen!r}"
        raise ResourceError("--device cuda: there is a driver, but no GPU to be seen", hint=hint)


def explained(error: Exception) -> ResourceError:
    """Say what an error of CuPy's means to a person who wants to use the GPU."""
    text = f"{type(error).__name__}: {_line(error)}"
    lowered = text.lower()
    if isinstance(error, MemoryError) or "outofmemory" in lowered or "memoryallocation" in lowered:
        return ResourceError("--device cuda: the GPU has no memory left", hint="see nvidia-smi for what has it")
    if "cublas" in lowered and ("failure finding" in lowered or isinstance(error, ImportError | OSError)):
        return ResourceError("--device cuda: the library of products, cuBLAS, is missing", hint=_LIBRARIES)
    if "cuda headers" in lowered or (
        "nvrtc" in lowered and ("failure finding" in lowered or "shared object" in lowered)
    ):
        return ResourceError(
            "--device cuda: the compiler of kernels, NVRTC, or its headers are missing", hint=_LIBRARIES
        )
    if "gpu-architecture" in lowered or "invalid device function" in lowered or "no kernel image" in lowered:
        return ResourceError("--device cuda: this CuPy does not know so new a GPU", hint="upgrade CuPy and CUDA")
    return ResourceError(f"--device cuda: the GPU does not work: {text}", hint="charlm selfcheck --device cuda --debug")


def _line(error: BaseException) -> str:
    """Give the first line of what an error says."""
    return (str(error).splitlines() or [""])[0][:200]

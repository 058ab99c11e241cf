"""Opening the GPU: check that it works, or report what is missing and how to install it."""

from __future__ import annotations

import os

import numpy as np

from charlm.backends.base import Backend
from charlm.backends.cupy.driver import driver_version
from charlm.errors import ResourceError

_TOO_OLD, _NO_DEVICE = 35, 100  # error codes of CUDA
_LIBRARIES = 'pip install "cupy-cuda12x[ctk]", or cupy-cuda13x where that is the CuPy installed'


def opened(gpu: int) -> Backend:
    """Return the backend of a GPU, after a check of a compiled kernel and of a product.

    gpu: its number; counted on from the first if there are fewer
    Raises ResourceError that names what is missing: the driver, a device, NVRTC, cuBLAS, or memory.
    """
    try:
        import cupy
    except Exception as error:  # a library that cannot be loaded raises any error
        raise ResourceError(
            f"--device cuda: CuPy cannot be loaded: {_line(error)}",
            hint="reinstall it, and install only one CuPy package",
        ) from error
    try:
        count = _devices()
        if gpu:
            cupy.cuda.Device(gpu % count).use()
        return checked()
    except ResourceError:
        raise
    except Exception as error:
        raise explained(error) from error


def checked() -> Backend:
    """Return a backend whose kernel and product give the right numbers; raise RuntimeError if they do not."""
    from charlm.backends.cupy.backend import CupyBackend

    ops = CupyBackend()
    matrix = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    out = ops.empty((2, 2), "float32")
    ops.dropout(ops.array(matrix), rate=0.0, key=1, out=out)
    if not np.array_equal(ops.numpy(out), matrix):
        raise RuntimeError("a kernel returns wrong numbers")
    ops.matmul(ops.array(matrix), ops.array(matrix), out=out)
    if not np.array_equal(ops.numpy(out), matrix @ matrix):
        raise RuntimeError("a matrix product returns wrong numbers")
    return ops


def _devices() -> int:
    """Return the number of GPUs; raise ResourceError if the driver finds none."""
    from cupy.cuda import runtime

    try:
        count = int(runtime.getDeviceCount())
    except runtime.CUDARuntimeError as error:
        if error.status == _TOO_OLD:
            known, needed = (f"{v // 1000}.{v % 1000 // 10}" for v in (driver_version(), runtime.runtimeGetVersion()))
            raise ResourceError(
                f"--device cuda: the NVIDIA driver is too old: it supports CUDA {known}, CuPy needs {needed}",
                hint="update the driver, or install the CuPy for an older CUDA",
            ) from error
        if error.status != _NO_DEVICE:
            raise explained(error) from error
        count = 0
    if not count:
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
        hint = "nvidia-smi lists the GPUs" if chosen is None else f"CUDA_VISIBLE_DEVICES is {chosen!r}"
        raise ResourceError("--device cuda: the NVIDIA driver finds no GPU", hint=hint)
    return count


def explained(error: Exception) -> ResourceError:
    """Return an error of CuPy as one that names the cause and what to do."""
    text = f"{type(error).__name__}: {_line(error)}"
    lowered = text.lower()
    if isinstance(error, MemoryError) or "outofmemory" in lowered or "memoryallocation" in lowered:
        return ResourceError("--device cuda: the GPU is out of memory", hint="nvidia-smi lists what uses it")
    if "cublas" in lowered and ("failure finding" in lowered or isinstance(error, ImportError | OSError)):
        return ResourceError("--device cuda: cuBLAS is missing", hint=_LIBRARIES)
    if "cuda headers" in lowered or (
        "nvrtc" in lowered and ("failure finding" in lowered or "shared object" in lowered)
    ):
        return ResourceError("--device cuda: NVRTC or its headers are missing", hint=_LIBRARIES)
    if "gpu-architecture" in lowered or "invalid device function" in lowered or "no kernel image" in lowered:
        return ResourceError("--device cuda: this CuPy does not support this GPU", hint="upgrade CuPy and CUDA")
    return ResourceError(
        f"--device cuda: the GPU does not work: {text}", hint="for details: charlm selfcheck --device cuda --debug"
    )


def _line(error: BaseException) -> str:
    """Return the first line of the message of an error."""
    return (str(error).splitlines() or [""])[0][:200]

"""The only place that knows a device: a `Backend` holds arrays and the operations that differ by device."""

from charlm.backends.base import Array, Backend, Shape
from charlm.backends.numpy_backend import NumpyBackend
from charlm.errors import ResourceError, UsageError

__all__ = ["Array", "Backend", "NumpyBackend", "Shape", "get_backend"]


def get_backend(device: str = "auto") -> Backend:
    """Choose the backend of a device: `auto`, `cpu` or `cuda`.

    Raises UsageError for another name and ResourceError where the device is not to be had.
    """
    if device in ("auto", "cpu"):
        return NumpyBackend()
    if device == "cuda":
        raise ResourceError("this version of charlm has no CUDA backend yet", hint="use --device cpu")
    raise UsageError(f"--device is {device!r}", hint="choose one of: auto, cpu, cuda")

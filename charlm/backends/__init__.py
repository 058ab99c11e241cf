"""The only place that knows a device: a `Backend` holds arrays and the operations that differ by device."""

from collections.abc import Callable
from importlib.util import find_spec

from charlm.backends.base import Array, Backend, Number, ScanGrads, Shape
from charlm.backends.cupy.driver import driver_version
from charlm.backends.numpy_backend import NumpyBackend
from charlm.errors import ResourceError, UsageError

__all__ = ["Array", "Backend", "Number", "NumpyBackend", "ScanGrads", "Shape", "get_backend"]

_CUDA = "--device cuda: "  # how a message begins that says why the GPU is not to be had


def get_backend(device: str = "auto", *, watch: Callable[[str], None] | None = None) -> Backend:
    """Choose the backend of a device: `auto`, `cpu` or `cuda`; `auto` takes the GPU where it is seen to work.

    watch: called with the reason where `auto` takes the processor although CuPy is installed
    Raises UsageError for another name and ResourceError where the device is not to be had, which says what it lacks.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device is {device!r}", hint="choose one of: auto, cpu, cuda")
    if device == "cpu":
        return NumpyBackend()
    try:
        return _cuda()
    except ResourceError as error:
        if device == "cuda":
            raise
        if watch is not None and _is_installed():
            watch(error.message.removeprefix(_CUDA))
        return NumpyBackend()


def _cuda() -> Backend:
    """Open the GPU. What can be known without CuPy is looked at first, as `auto` is what every command begins with."""
    if not _is_installed():
        raise ResourceError(
            f"{_CUDA}CuPy is not installed",
            hint='pip install "cupy-cuda12x[ctk]", or cupy-cuda13x: nvidia-smi shows which CUDA the driver knows',
        )
    if not driver_version():
        raise ResourceError(
            f"{_CUDA}no NVIDIA driver is installed", hint="install the driver of the GPU, or use --device cpu"
        )
    from charlm.backends.cupy.probe import opened

    return opened()


def _is_installed() -> bool:
    """Return whether there is a CuPy; a folder of that name without a module in it is none."""
    try:
        spec = find_spec("cupy")
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None

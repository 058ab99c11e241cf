"""The only place that knows a device: a `Backend` has the operations that differ by device."""

from collections.abc import Callable
from importlib.util import find_spec

from charlm.backends.base import Array, Backend, Number, ScanGrads, Shape
from charlm.backends.compiled.backend import CompiledBackend
from charlm.backends.compiled.library import load_library, why_numpy
from charlm.backends.cupy.driver import driver_version
from charlm.backends.numpy_backend import NumpyBackend
from charlm.errors import ResourceError, UsageError

__all__ = ["Array", "Backend", "Number", "NumpyBackend", "ScanGrads", "Shape", "get_backend", "why_numpy"]

_CUDA = "--device cuda: "  # the start of a message about why the GPU cannot be used


def get_backend(device: str = "auto", *, watch: Callable[[str], None] | None = None, gpu: int = 0) -> Backend:
    """Return the backend of a device, `auto`, `cpu` or `cuda`; `auto` is the GPU if it works.

    On the CPU, the variable CHARLM_CORE chooses between the compiled core and NumPy, see `load_library`.

    watch: called with the reason if `auto` is the CPU although CuPy is installed
    gpu: which GPU of this machine; counted on from the first if there are fewer
    Raises UsageError for another name, and ResourceError with what is missing if the device cannot be used.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device is {device!r}", hint="choose one of: auto, cpu, cuda")
    if device == "cpu":
        return _cpu()
    try:
        return _cuda(gpu)
    except ResourceError as error:
        if device == "cuda":
            raise
        if watch is not None and _is_installed():
            watch(error.message.removeprefix(_CUDA))
        return _cpu()


def _cpu() -> Backend:
    """Return the backend of the processor, with the compiled core if there is one."""
    library = load_library()
    return NumpyBackend() if library is None else CompiledBackend(library)


def _cuda(gpu: int) -> Backend:
    """Return the backend of a GPU."""
    # Every command begins with `auto`, and importing CuPy is slow: first check what can be known without it.
    if not _is_installed():
        raise ResourceError(
            f"{_CUDA}CuPy is not installed",
            hint='pip install "cupy-cuda12x[ctk]", or cupy-cuda13x: nvidia-smi shows the CUDA version of the driver',
        )
    if not driver_version():
        raise ResourceError(
            f"{_CUDA}no NVIDIA driver is installed", hint="install the driver of the GPU, or use --device cpu"
        )
    from charlm.backends.cupy.probe import opened

    return opened(gpu)


def _is_installed() -> bool:
    """Return whether CuPy is installed; a folder of that name without a module does not count."""
    try:
        spec = find_spec("cupy")
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None

"""The functions of cuBLAS, called as C calls them.

CuPy's own calls of them refuse to be recorded as a graph, and set up more than they need each time.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cupy

_WORKSPACE = 32 << 20  # bytes; with none of its own, cuBLAS would take memory while it is recorded
_TF32 = 3  # CUBLAS_TF32_TENSOR_OP_MATH
_INT, _POINTER, _STRIDE = ctypes.c_int, ctypes.c_void_p, ctypes.c_longlong
_MATRIX, _SIZES = [_POINTER, _INT], [_INT] * 5
_GEMM = [_POINTER, *_SIZES, _POINTER, *_MATRIX, *_MATRIX, _POINTER, *_MATRIX]
_OF_STEPS = [*_MATRIX, _STRIDE]
_BATCHED = [_POINTER, *_SIZES, _POINTER, *_OF_STEPS, *_OF_STEPS, _POINTER, *_OF_STEPS, _INT]
_ARGUMENTS = {
    "cublasCreate_v2": [_POINTER],
    "cublasSetStream_v2": [_POINTER, _POINTER],
    "cublasSetWorkspace_v2": [_POINTER, _POINTER, ctypes.c_size_t],
    "cublasSetMathMode": [_POINTER, _INT],
    "cublasSgemm_v2": _GEMM,
    "cublasDgemm_v2": _GEMM,
    "cublasSgemmStridedBatched": _BATCHED,
    "cublasDgemmStridedBatched": _BATCHED,
}


def library() -> Any:
    """Load cuBLAS, the one that CuPy takes; raises ImportError or OSError where it is missing."""
    from cuda.pathfinder import load_nvidia_dynamic_lib
    from cupy_backends.cuda.libs import cublas  # noqa: F401 - has CuPy load it

    path = load_nvidia_dynamic_lib("cublas").abs_path
    loaded = ctypes.CDLL(path)
    for name, arguments in _ARGUMENTS.items():
        getattr(loaded, name).argtypes = arguments
    return loaded


class Blas:
    """A handle of cuBLAS, whose work follows that of CuPy's stream."""

    def __init__(self) -> None:
        self._library = library()
        handle = ctypes.c_void_p()
        self._done("cublasCreate_v2", self._library.cublasCreate_v2(ctypes.byref(handle)))
        self._handle = handle.value
        if os.environ.get("CUPY_TF32") == "1":  # CuPy's own switch: factors are rounded to ten bits
            self._done("cublasSetMathMode", self._library.cublasSetMathMode(self._handle, _TF32))
        self._workspace = cupy.empty((_WORKSPACE,), "uint8")
        self._calls = {name: getattr(self._library, name) for name in _ARGUMENTS if "gemm" in name}
        self._use(0)

    def call(self, name: str, *arguments: int) -> None:
        """Call a function that takes a handle first; raises RuntimeError where it fails."""
        self._done(name, self._calls[name](self._handle, *arguments))

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        """Have products follow the work of another stream inside a `with`."""
        self._use(stream.ptr)
        try:
            yield
        finally:
            self._use(0)

    def _use(self, stream: int) -> None:
        self._done("cublasSetStream_v2", self._library.cublasSetStream_v2(self._handle, stream))
        memory = self._workspace.data.ptr, self._workspace.nbytes  # setting the stream takes it away
        self._done("cublasSetWorkspace_v2", self._library.cublasSetWorkspace_v2(self._handle, *memory))

    @staticmethod
    def _done(name: str, status: int) -> None:
        if status:
            raise RuntimeError(f"{name} failed with status {status}")

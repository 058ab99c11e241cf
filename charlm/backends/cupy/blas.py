"""The functions of cuBLAS, called by ctypes.

CuPy's own calls cannot be captured in a CUDA graph, and each of them takes longer to set up.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cupy

_WORKSPACE = 32 << 20  # bytes; without a workspace, cuBLAS would allocate memory while a graph is captured
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
    """Load the cuBLAS that CuPy uses; raise ImportError or OSError if it is missing."""
    from cuda.pathfinder import load_nvidia_dynamic_lib
    from cupy_backends.cuda.libs import cublas  # noqa: F401 - makes CuPy load it

    path = load_nvidia_dynamic_lib("cublas").abs_path
    loaded = ctypes.CDLL(path)
    for name, arguments in _ARGUMENTS.items():
        getattr(loaded, name).argtypes = arguments
    return loaded


class Blas:
    """A handle of cuBLAS on the stream of CuPy; raises ImportError or OSError if the library is missing."""

    def __init__(self) -> None:
        self._library = library()
        handle = ctypes.c_void_p()
        self._done("cublasCreate_v2", self._library.cublasCreate_v2(ctypes.byref(handle)))
        self._handle = handle.value
        if os.environ.get("CUPY_TF32") == "1":  # the switch of CuPy: factors are rounded to ten bits
            self._done("cublasSetMathMode", self._library.cublasSetMathMode(self._handle, _TF32))
        self._workspace = cupy.empty((_WORKSPACE,), "uint8")
        self._calls = {name: getattr(self._library, name) for name in _ARGUMENTS if "gemm" in name}
        self._use(0)

    def call(self, name: str, *arguments: int) -> None:
        """Call a function with the handle and these arguments; raise RuntimeError if it fails."""
        self._done(name, self._calls[name](self._handle, *arguments))

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        """Run products on another stream inside the block."""
        self._use(stream.ptr)
        try:
            yield
        finally:
            self._use(0)

    def _use(self, stream: int) -> None:
        self._done("cublasSetStream_v2", self._library.cublasSetStream_v2(self._handle, stream))
        memory = self._workspace.data.ptr, self._workspace.nbytes  # setting the stream resets the workspace
        self._done("cublasSetWorkspace_v2", self._library.cublasSetWorkspace_v2(self._handle, *memory))

    @staticmethod
    def _done(name: str, status: int) -> None:
        if status:
            raise RuntimeError(f"{name} failed with status {status}")

"""The backend of the processor with a compiled core."""

from __future__ import annotations

import ctypes

from charlm.backends.compiled.library import core_of
from charlm.backends.numpy_backend import NumpyBackend


class CompiledBackend(NumpyBackend):
    """NumPy arrays, and the operations of the compiled core."""

    def __init__(self, library: ctypes.CDLL) -> None:
        super().__init__()
        self.library = library
        self.core = core_of(library)

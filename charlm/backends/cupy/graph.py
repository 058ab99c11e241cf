"""Work recorded as a CUDA graph: hundreds of kernels and products launched as one.

A launch from Python takes the processor longer than a step of a small network takes the GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy

from charlm.backends.cupy.blas import Blas


class Recorded:
    """A function that does its work the first time, as kernels are compiled then, and records it the second time.

    work: launches kernels and products, always with the same arrays; it makes none, and moves none from the host or to
    it. It is kept, and its arrays with it.
    """

    def __init__(self, work: Callable[[], None], blas: Blas) -> None:
        self._work, self._blas = work, blas
        self._was_done = False
        self._graph: Any = None

    def __call__(self) -> None:
        if not self._was_done:
            self._work()
            self._was_done = True
            return
        if self._graph is None:
            self._graph = self._record()
        self._graph.launch(cupy.cuda.get_current_stream())

    def _record(self) -> Any:
        stream = cupy.cuda.Stream(non_blocking=True)
        with stream, self._blas.on(stream):
            stream.begin_capture()
            try:
                self._work()
            finally:
                graph = stream.end_capture()
        return graph

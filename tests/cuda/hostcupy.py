"""CuPy itself, on the host's memory and without a GPU: what is checked is CuPy's own arrays and our own kernels.

Arrays are CuPy's, with its views, broadcasting and rules of types; their memory is the host's, full of NaN when it is
handed out. The CUDA source that CuPy makes of a kernel of ours is compiled by g++ and run. CuPy's own ufuncs and
reductions, copies, and cuBLAS' products are NumPy's, on the same memory. It leans on private names of CuPy 14.2.0.

As on a GPU: a NumPy array among a kernel's arguments is refused, and so is the conversion to one. More than on a GPU:
float32 and float64 may not meet in one operation, and `no_waiting` refuses memory, copies from the host and to it.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from tests.cuda import compiled, hostcublas, missing

if reason := missing():
    pytest.skip(f"CuPy on the host: {reason}", allow_module_level=True)

import cupy
from cupy._core import _accelerator, _kernel, core
from cupy._core._carray import Indexer
from cupy._core._scalar import CScalar
from cupy.cuda import memory

from charlm.backends.cupy import blas

HEADERS = core._get_header_dir_path()
SOURCES: dict[str, str] = {}  # of the kernels that have run, by name and types: what CuPy hands to NVRTC
counts: Counter[str] = Counter()  # launches, products, graphs, uploads, downloads, allocations
_state = SimpleNamespace(waiting=True, reversed=False, stream=0, recording=None)
_ALIGNED = 512  # bytes, as CuPy's memory is
_SCALARS = {"int": np.int32, "unsigned": np.uint32, "long long": np.int64, "float": np.float32, "double": np.float64}


@contextlib.contextmanager
def no_waiting():
    """Refuse what makes a device wait, or moves the memory that a step works in, inside a `with`."""
    _state.waiting = False
    try:
        yield
    finally:
        _state.waiting = True


@contextlib.contextmanager
def threads_reversed():
    """Run the threads of a block from the last to the first: what is right in one order only lacks a __syncthreads."""
    _state.reversed = True
    try:
        yield
    finally:
        _state.reversed = False


def _do(what, work):
    """Do a piece of the device's work, or record it where that is what its stream does."""
    if _state.recording is not None:
        _state.recording.append((what, work))
        return
    _count(what)
    work()


def _count(what):
    if not _state.waiting and what in ("uploads", "downloads", "allocations"):
        raise AssertionError(f"{what} within a step")
    counts[what] += 1


def _allocate(size):
    _count("allocations")
    buffer = np.full(int(size) + _ALIGNED, 0xFF, np.uint8)  # NaN in either precision, and -1
    pointer = -(-buffer.ctypes.data // _ALIGNED) * _ALIGNED
    return memory.MemoryPointer(memory.UnownedMemory(pointer, int(size), buffer, 0), 0)


def host(array):
    """Look at a CuPy array's memory as NumPy's; anything else is given as it is."""
    if not isinstance(array, cupy.ndarray):
        return array
    if not array.size:
        return np.empty(array.shape, array.dtype)
    number = {"shape": array.shape, "strides": array.strides, "typestr": array.dtype.str, "version": 3}
    number["data"] = int(array.data.ptr), False
    return np.asarray(SimpleNamespace(__array_interface__=number, owner=array))


def device(values):
    """Make a CuPy array of a NumPy one."""
    values = np.asarray(values)
    array = cupy.ndarray(values.shape, values.dtype)
    host(array)[...] = values
    return array


def _check(arguments, *, is_copy=False):
    for one in arguments:
        if not (isinstance(one, cupy.ndarray) or one is None or (np.isscalar(one) and not isinstance(one, str))):
            raise TypeError(f"Unsupported type {type(one)}")
    kinds = {one.dtype.str for one in arguments if isinstance(one, cupy.ndarray)}
    if {"<f4", "<f8"} <= kinds and not is_copy:
        raise TypeError("float64 creeps into float32")


# --- kernels of our own ---------------------------------------------------------------------------------------------


def _broadcast(array, shape):
    lead = len(shape) - array.ndim
    strides = [0 if n == 1 and m != 1 else s for n, m, s in zip(array.shape, shape[lead:], array.strides, strict=True)]
    return cupy.ndarray(shape, array.dtype, memptr=array.data, strides=(*[0] * lead, *strides))


def _run(code, name, values, grid, block):
    synchronises = "__syncthreads" in code
    library = compiled.library(code, name, HEADERS)
    pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
    sizes = [(ctypes.c_uint * 2)(*(*size, 1)[:2]) for size in (grid, block)]
    # What is recorded is done again with these very values, which `values` and `sizes` keep alive.
    _do("launches", lambda: (values, library.run(pointers, *sizes, int(synchronises), int(_state.reversed))))


def _numbers(*numbers):
    return (ctypes.c_int64 * len(numbers))(*map(int, numbers))


_codes = {}


def _elementwise(kernel, *arguments, size=None):
    """Do what `ElementwiseKernel.__call__` does, as far as its kernel; outputs have to be given, as in a step."""
    assert len(arguments) == kernel.nargs, f"{kernel.name} takes {kernel.nargs} arrays, outputs among them"
    _check(arguments, is_copy=True)  # that precisions do not meet where a kernel has one T, CuPy sees to itself
    params, arguments = kernel.params[: kernel.nargs], list(arguments)
    full = [i for i, p in enumerate(params) if isinstance(arguments[i], cupy.ndarray) and not p.raw]
    shape = (size,) if size is not None else np.broadcast_shapes(*(arguments[i].shape for i in full))
    for i in full:
        if arguments[i].shape != shape:
            if i >= kernel.nin:
                raise ValueError(f"{kernel.name}: output {params[i].name} {arguments[i].shape}, not {shape}")
            arguments[i] = _broadcast(arguments[i], shape)
    count = int(np.prod(shape, dtype=np.int64))
    if not count:
        return
    if all(arguments[i].flags.c_contiguous for i in full):
        shape = (count,)
        for i in full:
            arguments[i] = arguments[i].reshape(shape)
    dtypes = [one.dtype if isinstance(one, cupy.ndarray) else None for one in arguments]
    contiguous = [isinstance(one, cupy.ndarray) and one.flags.c_contiguous for one in arguments]
    key = (id(kernel), len(shape), *dtypes, *contiguous, *(getattr(one, "ndim", 0) for one in arguments))
    if key not in _codes:
        in_types, out_types, type_map = kernel._decide_params_type(
            tuple(dtypes[: kernel.nin]), tuple(dtypes[kernel.nin :])
        )
        info, types = _kernel._ArgInfo, [np.dtype(kind) for kind in in_types + out_types]
        infos = [
            info(1, cupy.ndarray, kind, one.ndim, is_contiguous, True)
            if isinstance(one, cupy.ndarray)
            else info(3, CScalar, kind, 0, True, True)
            for one, kind, is_contiguous in zip(arguments, types, contiguous, strict=True)
        ]
        infos.append(info(2, Indexer, None, len(shape), True, True))
        code = _kernel._get_elementwise_kernel_code(
            tuple(infos), type_map, kernel.params, kernel.operation, kernel.name, kernel.preamble, **kernel.kwargs
        )
        SOURCES[f"{kernel.name} {key[1:]}"] = code
        code = '#include "cupy/carray.cuh"\n' + code.replace('#include "cupy/float16.cuh"', "")
        _codes[key] = kernel, code, types  # the kernel stays, so that no other has its id
    _, code, types = _codes[key]
    values = []
    for one, kind in zip(arguments, types, strict=True):
        if isinstance(one, cupy.ndarray):
            values.append(_numbers(one.data.ptr, one.size, *one.shape, *one.strides))
        else:
            values.append(np.ctypeslib.as_ctypes_type(kind)(np.asarray(one).astype(kind).item()))
    values.append(_numbers(count, *shape, *[0] * len(shape)))
    _run(code, kernel.name, values, (2,), (32,))


class RawKernel:
    """Stands for `cupy.RawKernel`, but for a scalar of the wrong width, which CuPy would launch without a word."""

    def __init__(self, code, name, options=(), **_):
        self.code, self.name, self.kinds = code, name, compiled.parameter_types(code, name)
        SOURCES[name] = code

    def __call__(self, grid, block, arguments, *, shared_mem=0):
        _check(arguments, is_copy=True)
        values = []
        for one, kind in zip(arguments, self.kinds, strict=True):
            if isinstance(one, cupy.ndarray):
                pointed = _SCALARS[kind.replace("const ", "").rstrip(" *")]
                assert kind.endswith("*") and one.dtype == pointed, f"{self.name}: {one.dtype} for {kind}"
                values.append(_numbers(one.data.ptr))
            else:
                assert type(one) is _SCALARS[kind], f"{self.name}: {type(one)} for {kind}"
                values.append(np.ctypeslib.as_ctypes_type(type(one))(one.item()))
        _run(self.code, self.name, values, grid, block)


# --- CuPy's own -----------------------------------------------------------------------------------------------------


def _ufunc(kernel, *arguments, out=None, dtype=None):
    name = kernel.name.removeprefix("cupy_")
    is_copy = name in ("copy", "fill")
    if out is None and len(arguments) > kernel.nin:
        *arguments, out = arguments
    (out,) = out if isinstance(out, tuple) else (out,)
    _check((*arguments, out), is_copy=is_copy)
    given = [host(one) for one in arguments]
    if is_copy:
        _do("launches", lambda: np.copyto(host(out), given[0], casting="unsafe"))
        return out
    kind = {} if dtype is None else {"dtype": dtype}
    if out is None:
        _count("launches")
        return device(getattr(np, name)(*given, **kind))
    _do("launches", lambda: getattr(np, name)(*given, out=host(out), casting="same_kind", **kind))
    return out


def _on_elements(self, kernel, *arguments, **options):
    return (_ufunc if isinstance(kernel, _kernel.ufunc) else _elementwise)(kernel, *arguments, **options)


def _on_reduction(self, kernel, axis=None, dtype=None, out=None, keepdims=False):
    _count("launches")
    name = kernel.name.removeprefix("cupy_").removesuffix("_auto_dtype").removesuffix("_with_dtype")
    kind = {} if dtype is None else {"dtype": dtype}
    result = getattr(np, name)(host(self), axis=axis, keepdims=keepdims, **kind)
    assert out is None
    return device(result)


def _refuse_arrays(where):
    parts = where if type(where) is tuple else (where,)
    if any(isinstance(part, np.ndarray | cupy.ndarray | list) for part in parts):
        raise TypeError("indexing by arrays: it waits for the device, and CuPy does not check the range")


def _set_item(self, where, value):
    _refuse_arrays(where)
    if isinstance(value, np.ndarray) and value.ndim:
        raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
    _check((value,) if np.ndim(value) else ())
    to, given = host(self), host(value)
    _do("launches", lambda: to.__setitem__(where, given))


_get_item = cupy.ndarray.__getitem__


def _checked_get_item(self, where):
    _refuse_arrays(where)
    return _get_item(self, where)


def _get(self, *_, **__):
    _count("downloads")
    return np.array(host(self), order="C")


def _as_array(values, dtype=None):
    if isinstance(values, cupy.ndarray):
        raise AssertionError("a copy from the device to itself is `out[...] = array`")
    _count("uploads")
    return device(np.array(values, dtype=dtype, order="C"))


def _copy(self, order="C"):
    _count("launches")
    return device(host(self))


# --- streams and graphs ---------------------------------------------------------------------------------------------


class Stream:
    """A stream of its own, which can record what it is given to do."""

    def __init__(self, *, non_blocking):
        assert non_blocking, "the default stream waits for such a one, and cannot be recorded with it"
        self.ptr = id(self)

    def __enter__(self):
        _state.stream = self.ptr

    def __exit__(self, *_):
        assert _state.recording is None, "a recording has not been ended"
        _state.stream = 0

    def begin_capture(self):
        _state.recording, _state.waiting = [], False

    def end_capture(self):
        work, _state.recording, _state.waiting = _state.recording, None, True
        return Graph(work)


class Graph:
    """What was recorded: launched, it does the same with the same arrays and numbers."""

    def __init__(self, work):
        self.work = work

    def launch(self, stream):
        _count("graphs")
        for what, work in self.work:
            _do(what, work)


def _product(work, stream):
    assert stream == _state.stream, "a product on another stream is not recorded"
    _do("products", work)


def install():
    """Have CuPy work on the host's memory from now on, in this process."""
    cupy.cuda.set_allocator(_allocate)
    _accelerator.set_routine_accelerators([])  # CUB's sums are compiled for a GPU, ahead
    _accelerator.set_reduction_accelerators([])
    array = cupy.ndarray
    array.__cupy_override_elementwise_kernel__ = _on_elements
    array.__cupy_override_reduction_kernel__ = _on_reduction
    array.__setitem__, array.__getitem__, array.get, array.copy = _set_item, _checked_get_item, _get, _copy
    array.item = lambda self: _get(self).item()
    array.__float__ = lambda self: float(_get(self))
    array.__int__ = lambda self: int(_get(self))
    array.__bool__ = lambda self: bool(_get(self))
    cupy.asarray = cupy.array = _as_array
    cupy.RawKernel = RawKernel
    cupy.cuda.Stream, cupy.cuda.get_current_stream = Stream, lambda: None
    blas.library = lambda: hostcublas.Library(_product)

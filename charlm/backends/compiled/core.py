"""The functions of the core's library, as Python calls them. The C files say what each computes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from charlm.backends.base import Array

_MOST_STATES = _MOST_KEPT = 2
_LONG, _INT, _DOUBLE, _POINTER = ctypes.c_long, ctypes.c_int, ctypes.c_double, ctypes.c_void_p
_ALIGNMENT = 64  # bytes: of a line of the cache, and of the widest vector


class Product(ctypes.Structure):
    """`Product` of products.h."""

    _fields_ = (
        *((name, _LONG) for name in ("M", "N", "K")),
        ("a", _POINTER),
        ("a_row", _LONG),
        ("a_column", _LONG),
        ("b", _POINTER),
        ("b_row", _LONG),
        ("b_column", _LONG),
        ("out", _POINTER),
        ("ldo", _LONG),
        ("add", _LONG),
    )


class Pass(ctypes.Structure):
    """`Pass` of scan.h."""

    _fields_ = (
        *((name, _LONG) for name in ("cell", "T", "B", "H")),
        ("W_a", _POINTER),
        ("ldw", _LONG),
        ("param", _POINTER),
        ("continues", _POINTER),
        ("x", _POINTER),
        ("ldx", _LONG),
        ("z", _POINTER),
        ("ldz", _LONG),
        ("ld", _LONG),
        ("states", _POINTER * _MOST_STATES),
        ("y", _POINTER),
        ("kept", _POINTER * _MOST_KEPT),
        ("d_a", _POINTER),
        ("d_last", _POINTER * _MOST_STATES),
        ("dy", _POINTER),
        ("dy_step", _LONG),
        ("dy_lane", _LONG),
        ("dz", _POINTER),
        ("lddz", _LONG),
        ("packed", _POINTER),
        ("left", _POINTER),
    )


class StreamLayer(ctypes.Structure):
    """`StreamLayer` of stream.h."""

    _fields_ = (
        ("N", _LONG),
        ("K", _LONG),
        ("W", _POINTER),
        ("b", _POINTER),
        ("out", _POINTER),
        ("activation", _LONG),
        ("cell", _LONG),
        ("H", _LONG),
        ("W_a", _POINTER),
        ("param", _POINTER),
        ("state", _POINTER * _MOST_STATES),
        ("kept", _POINTER),
        ("z", _POINTER),
    )


class Stream(ctypes.Structure):
    """`Stream` of stream.h."""

    _fields_ = (
        ("layers", _LONG),
        ("layer", _POINTER),
        ("table", _POINTER),
        ("ldt", _LONG),
        ("tokens", _LONG),
        ("known", _POINTER),
        ("place", _POINTER),
        ("room", _LONG),
        ("used", _LONG),
        ("temperature", _DOUBLE),
        ("top_k", _LONG),
        ("top_p", _DOUBLE),
        ("banned", _POINTER),
        ("bans", _LONG),
        ("end", _LONG),
        ("e", _POINTER),
        ("heap", _POINTER),
    )


# The functions that products are computed in.
_OF_PRODUCTS = {"product_scratch", "product", "packed_size", "left_size", "pack_forward", "pack_backward"}
_OF_PRODUCTS |= {"forward", "backward"}


class Functions:
    """The functions of a library in one precision.

    dtype: of the arrays, float32 or float64; bfloat16: the products' numbers, while the arrays are float32
    """

    def __init__(self, library: ctypes.CDLL, dtype: str) -> None:
        suffix, real = ("f64", ctypes.c_double) if dtype == "float64" else ("f32", ctypes.c_float)

        def function(name: str, *arguments: Any, returns: Any = None) -> Callable[..., Any]:
            own = "b16" if dtype == "bfloat16" and name in _OF_PRODUCTS else suffix
            found: Any = getattr(library, f"core_{name}_{own}")
            found.restype, found.argtypes = returns, arguments
            call: Callable[..., Any] = found
            return call

        product, one_pass = ctypes.POINTER(Product), ctypes.POINTER(Pass)
        self.product_scratch: int = function("product_scratch", returns=_LONG)()
        self.product = function("product", product, _LONG, _LONG, _POINTER)
        self.pack_product = function("pack_product", product, _POINTER, _LONG, _LONG)
        self.losses = function("losses", product, *[_POINTER] * 5, _LONG, _LONG)
        self.deepest: int = function("deepest", returns=_LONG)()  # rows of a packed panel
        self.vector: int = function("vector", returns=_LONG)()  # elements of a vector
        self.packed_size = function("packed_size", one_pass, returns=_LONG)
        self.left_size = function("left_size", one_pass, returns=_LONG)
        self.pack_forward = function("pack_forward", one_pass, _LONG, _LONG)
        self.pack_backward = function("pack_backward", one_pass, _POINTER, _LONG, _LONG)
        self.forward = function("forward", one_pass, _LONG, _LONG)
        self.backward = function("backward", one_pass, _LONG, _LONG)
        self.cross_entropy = function(
            "cross_entropy", _POINTER, _LONG, _LONG, _POINTER, _POINTER, _DOUBLE, _POINTER, _LONG, _LONG
        )
        self.lookup = function("lookup", _POINTER, _LONG, _POINTER, _POINTER, _LONG, _LONG, _LONG, _LONG)
        self.lookup_grad = function("lookup_grad", _POINTER, _LONG, _POINTER, _LONG, _POINTER, _LONG, _LONG, _LONG)
        self.column_sums = function("column_sums", _POINTER, _LONG, _LONG, _POINTER, _INT, _LONG, _LONG)
        key = (ctypes.c_uint64, ctypes.c_uint32, real)
        self.dropout = function("dropout", _POINTER, _LONG, _POINTER, _LONG, _LONG, _LONG, *key, _LONG, _LONG)
        self.squares = function("squares", _POINTER, _LONG, _LONG, _POINTER, _LONG, _LONG)
        self.adam = function("adam", *[_POINTER] * 4, *[real] * 3, _LONG, _LONG)
        stream = ctypes.POINTER(Stream)
        self.packed_weights_size = function("packed_weights_size", _LONG, _LONG, returns=_LONG)
        self.pack_weights = function("pack_weights", _POINTER, _LONG, _LONG, _LONG, _POINTER)
        self.stream_read = function("stream_read", stream, _LONG)
        self.stream_draw = function("stream_draw", stream, _POINTER, _LONG, *[_POINTER] * 3, returns=_LONG)


def aligned(size: int, dtype: Any, allocate: Callable[[int, Any], Array] = np.empty) -> Array:
    """Return a vector that begins at a line of the cache, with the contents of `np.empty` or `np.zeros`."""
    kind = np.dtype(dtype)
    memory = allocate(size * kind.itemsize + _ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % _ALIGNMENT
    return memory[first : first + size * kind.itemsize].view(kind)


def strides(array: Array) -> tuple[int, ...]:
    """Return the strides of an array in elements."""
    item = array.itemsize
    return tuple([stride // item for stride in array.strides])

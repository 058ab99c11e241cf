"""The functions of the core's library, as Python calls them. The C files say what each computes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from charlm.backends.base import Array
from charlm.backends.compiled.library import AMX, Library

_ALIGNMENT = 64  # bytes: of a line of the cache, and of the widest vector
_TYPES: dict[str, Any] = {
    "long": ctypes.c_long,
    "int": ctypes.c_int,
    "double": ctypes.c_double,
    "pointer": ctypes.c_void_p,
    "two_pointers": ctypes.c_void_p * 2,
    "key": ctypes.c_uint64,
    "threshold": ctypes.c_uint32,
}


def _fields(*declarations: str) -> list[tuple[str, Any]]:
    """Return the fields of a C structure from declarations, each a type and the names of its fields."""
    split = [declaration.split() for declaration in declarations]
    return [(name, _TYPES[kind]) for kind, *names in split for name in names]


class Product(ctypes.Structure):
    """`Product` of products.h."""

    _fields_ = _fields(
        "long M N K",
        "pointer a",
        "long a_row a_column",
        "pointer b",
        "long b_row b_column",
        "pointer out",
        "long ldo add",
    )


class Pass(ctypes.Structure):
    """`Pass` of scan.h."""

    _fields_ = _fields(
        *(
            "pointer by",
            "long cell T B H",
            "pointer W_a",
            "long ldw",
            "pointer param continues x",
            "long ldx",
            "pointer z",
            "long ldz ld",
        ),
        *("two_pointers states", "pointer y", "two_pointers kept", "pointer d_a", "two_pointers d_last"),
        *("pointer dy", "long dy_step dy_lane", "pointer dz", "long lddz", "pointer packed left"),
    )


class StreamLayer(ctypes.Structure):
    """`StreamLayer` of stream.h."""

    _fields_ = _fields(
        *("long N K", "pointer W b out", "long activation", "pointer step"),
    )


class Stream(ctypes.Structure):
    """`Stream` of stream.h."""

    _fields_ = _fields(
        *(
            "pointer by",
            "long layers",
            "pointer layer table",
            "long ldt tokens",
            "pointer known place",
            "long room used",
        ),
        *("double temperature", "long top_k", "double top_p", "pointer banned", "long bans end", "pointer e heap left"),
    )


_TYPES |= {"product": ctypes.POINTER(Product), "pass": ctypes.POINTER(Pass), "stream": ctypes.POINTER(Stream)}

# The arguments of each function, and after an arrow the type of its result.
_OF_PRODUCTS = {
    "product_scratch": "-> long",
    "product": "product long long pointer",
    "arithmetic": "-> pointer",
}
_OTHERS = {
    "packed_size": "pass -> long",
    "left_size": "pass -> long",
    "pack_forward": "pass long long",
    "pack_backward": "pass pointer long long",
    "forward": "pass long long",
    "backward": "pass long long",
    "packed_weights_size": "pointer long long -> long",
    "pack_weights": "pointer pointer long long long pointer",
    "stream_read": "stream long",
    "stream_draw": "stream pointer long pointer pointer pointer -> long",
    "pack_product": "product pointer long long",
    "losses": "product pointer pointer pointer pointer pointer long long",
    "deepest": "-> long",
    "vector": "-> long",
    "cross_entropy": "pointer long long pointer pointer double pointer long long",
    "lookup": "pointer long pointer pointer long long long long",
    "lookup_grad": "pointer long pointer long pointer long long long",
    "column_sums": "pointer long long pointer int long long",
    "dropout": "pointer long pointer long long long key threshold real long long",
    "squares": "pointer long long pointer long long",
    "adam": "pointer pointer pointer pointer real real real real real real real long long",
}


class Functions:
    """The functions of a library in one precision; one without arguments is its result.

    dtype: of the arrays, float32 or float64; bfloat16: the products' numbers, while the arrays are float32
    """

    def __init__(self, library: Library, dtype: str) -> None:
        suffix, real = ("f64", ctypes.c_double) if dtype == "float64" else ("f32", ctypes.c_float)
        products = suffix_of(library, dtype)
        for name, declaration in {**_OF_PRODUCTS, **_OTHERS}.items():
            own = products if name in _OF_PRODUCTS else suffix
            arguments, _, result = declaration.partition("->")
            function = getattr(library, f"core_{name}_{own}")
            function.argtypes = [{**_TYPES, "real": real}[kind] for kind in arguments.split()]
            function.restype = _TYPES[result.strip()] if result else None
            setattr(self, name, function if arguments.strip() else function())

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the core has no function {name}")


def suffix_of(library: Library, dtype: str) -> str:
    """Return how the names of the functions that multiply numbers of a precision end."""
    in_bfloat16 = "amx" if library.bfloat16 == AMX else "b16"
    return {"float32": "f32", "float64": "f64", "bfloat16": in_bfloat16}[dtype]


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


def rows_of(x: Array) -> Array | None:
    """Return activations `[T, n, B]` as a view [T·B, n] of contiguous rows; None if they do not lie batch first."""
    T, n, batch = x.shape
    rows = x.transpose(0, 2, 1).reshape(T * batch, n) if x.strides[1] == x.itemsize else None
    return rows if rows is not None and rows.ctypes.data == x.ctypes.data else None

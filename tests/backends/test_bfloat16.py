"""Products in bfloat16: the numbers are rounded to eight bits, their products are added in float32."""

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.errors import ResourceError
from charlm.nn.workspace import Workspace
from tests import forms
from tests.compiled import EACH_BFLOAT16, compiled_backend
from tests.gradcheck import each_kind
from tests.nn.test_scans import ORACLE, SHAPES, layer_on, passed

CLOSE = 1e-2  # relative to the largest number: bfloat16 numbers have eight bits


@pytest.fixture(params=EACH_BFLOAT16)
def ops(request):
    try:
        return compiled_backend(request.param).in_precision("bfloat16")
    except ResourceError as error:
        pytest.skip(error.message)


def rounded(x):
    """Return the nearest bfloat16 numbers, of two equally near ones the even one, as float64."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)


def columns(ops, x):
    """Return a copy of x whose columns are contiguous, as activations are."""
    copy = ops.empty((x.shape[1], ops.row_stride(x.shape[0])), "float32")[:, : x.shape[0]].T
    copy[...] = x
    return copy


@forms.each("add", [False, True])
@forms.each("transposed", [False, True])
@forms.each("m, k, n", [(40, 1, 33), (33, 2, 40), (50, 3, 64), (70, 129, 48), (64, 2051, 65)])
def test_products_are_those_of_rounded_numbers(ops, m, k, n, transposed, add):
    rng = np.random.default_rng(m * k)
    a, b = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
    left = ops.array(a.T).T if transposed else ops.array(a)
    for right in (ops.array(b), columns(ops, b)):
        for out in (ops.array(np.ones((m, n), np.float32)), columns(ops, np.ones((m, n), np.float32))):
            ops.matmul(left, right, out=out, add=add)
            expected = rounded(a) @ rounded(b) + add
            np.testing.assert_allclose(out, expected, rtol=0, atol=1e-5 * np.sqrt(k) * 10)


@forms.each("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so(ops, value):
    a, b = np.ones((40, 5), np.float32), np.ones((5, 40), np.float32)
    a[3, 4] = value
    out = ops.empty((40, 40), "float32")
    ops.matmul(ops.array(a), ops.array(b), out=out)
    np.testing.assert_array_equal(np.isfinite(out), np.arange(40)[:, None] != np.full(40, 3))
    assert np.isnan(value) == np.isnan(out[3]).all()


@forms.each("shape", SHAPES)
@each_kind
def test_a_scan_is_near_the_reference(ops, cell, variant, shape):
    oracle, layer = layer_on(ORACLE, cell, variant, "float64", 7), layer_on(ops, cell, variant, "float32", 7)
    ws = Workspace(ops, "float32")
    for seed in (1, 2):
        expected = passed(oracle, Workspace(ORACLE, "float64"), "float64", SHAPES[shape], seed)
        found = passed(layer, ws, "float32", SHAPES[shape], seed)
        for one, right in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, right, rtol=0, atol=CLOSE * max(1, np.abs(right).max()))
        ws.fill(np.nan)
    exact_ops = compiled_backend("v4")
    exact_layer = layer_on(exact_ops, cell, variant, "float32", 7)
    exact = passed(exact_layer, Workspace(exact_ops, "float32"), "float32", SHAPES[shape], 2)
    assert any(not np.array_equal(one, other) for one, other in zip(found, exact, strict=True))


def test_float32_and_float64_are_computed_as_before(ops):
    compiled = compiled_backend("v4")
    assert compiled.in_precision("float32") is compiled.in_precision("float64") is compiled
    rng = np.random.default_rng(1)
    a, b, one, other = rng.random((40, 40)), rng.random((40, 40)), np.empty((40, 40)), np.empty((40, 40))
    compiled.matmul(a, b, out=one)
    ops.matmul(a, b, out=other)
    np.testing.assert_array_equal(one, other)


def test_other_backends_have_no_bfloat16():
    with pytest.raises(ResourceError, match="bfloat16"):
        NumpyBackend().in_precision("bfloat16")

"""The compiled core at every size: no element is left out, and none beside an array is written."""

import math

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.backends.compiled.core import Product, strides
from tests import forms
from tests.compiled import EACH_CORE, compiled_backend
from tests.guarded import Guarded, Matrix
from tests.naive import softmax

TOLERANCE = {"float32": 4e-6, "float64": 1e-14}


@pytest.fixture(params=EACH_CORE)
def ops(request):
    return compiled_backend(request.param)


@pytest.fixture(params=TOLERANCE)
def dtype(request):
    return request.param


def close(found, right, dtype, scale=1.0):
    np.testing.assert_allclose(found, right, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


def product(ops, a, b, out, *, add=False, rows=None):
    """Call the core's product on rows [m0, m1), whatever the sizes."""
    core = ops.core_of(out.dtype)
    (M, K), N = a.shape, b.shape[1]
    p = Product(M, N, K, a.ctypes.data, *strides(a), b.ctypes.data, *strides(b))
    p.out, p.ldo, p.add = out.ctypes.data, strides(out)[0], add
    first, end = rows or (0, M)
    scratch = Guarded(core.product_scratch // out.itemsize, out.dtype)
    core.product(p, first, end, scratch.vector.ctypes.data)
    assert scratch.is_whole()


def check_product(ops, dtype, rng, M, N, K, *, add, a_by_rows, b_by_rows, rows=None):
    a, b, there = (rng.standard_normal(shape).astype(dtype) for shape in ((M, K), (K, N), (M, N)))
    left = Matrix((M, K), dtype, values=a, by_rows=a_by_rows)
    right = Matrix((K, N), dtype, values=b, by_rows=b_by_rows)
    out = Matrix((M, N), dtype, values=there)
    product(ops, left.view, right.view, out.view, add=add, rows=rows)
    expected = a.astype(float) @ b.astype(float) + (there if add else 0)
    first, end = rows or (0, M)
    close(out.view[first:end], expected[first:end], dtype, 10 + K)
    others = np.delete(np.arange(M), np.s_[first:end])
    np.testing.assert_array_equal(out.view[others], there[others])
    assert all(matrix.is_whole() for matrix in (left, right, out)), (M, N, K)
    np.testing.assert_array_equal(left.view, a)
    np.testing.assert_array_equal(right.view, b)


def test_products_of_every_size(ops, dtype):
    """Rows and columns from 1 on, by rows and by columns, written and added."""
    rng = np.random.default_rng(1)
    count = 0
    for M in range(1, 15):
        for N in range(1, 71, forms.times(3, 1)):
            flags = [bool(count >> bit & 1) for bit in range(3)]
            count += 1
            options = dict(zip(("add", "a_by_rows", "b_by_rows"), flags, strict=True))
            check_product(ops, dtype, rng, M, (N + M) % 70 + 1, count % 20, **options)


@pytest.mark.thinned(2)
@forms.each("K", [0, 1, 127, 128, 129, 256, 511, 1023, 1024, 1025, 2100])
@forms.each("add", [False, True])
def test_products_at_the_borders_of_a_panel_s_depth(ops, dtype, K, add):
    rng = np.random.default_rng(K)
    for a_by_rows in (False, True):
        for M, N in ((1, 1), (7, 33), (13, 64), (25, 65)):
            check_product(ops, dtype, rng, M, N, K, add=add, a_by_rows=a_by_rows, b_by_rows=bool(M % 2))


def test_a_range_of_rows_leaves_the_others(ops, dtype):
    rng = np.random.default_rng(2)
    for rows in ((0, 1), (3, 11), (12, 13), (5, 5), (0, 13)):
        for a_by_rows in (False, True):
            check_product(ops, dtype, rng, 13, 37, 9, add=True, a_by_rows=a_by_rows, b_by_rows=True, rows=rows)


@forms.each("M, N, K", [(32, 16, 1), (33, 17, 5), (45, 70, 20), (32, 129, 600), (100, 16, 513)])
def test_products_of_views_of_a_backend(ops, dtype, M, N, K):
    """As the layers call it: all eight orders of the operands, unaligned, with gaps."""
    rng = np.random.default_rng(3)
    for case in range(16):
        add, a_by_rows, b_by_rows, by_rows = (bool(case >> bit & 1) for bit in range(4))
        a, b, there = (rng.standard_normal(shape).astype(dtype) for shape in ((M, K), (K, N), (M, N)))
        left = Matrix((M, K), dtype, values=a, by_rows=a_by_rows)
        right = Matrix((K, N), dtype, values=b, by_rows=b_by_rows)
        out = Matrix((M, N), dtype, values=there, by_rows=by_rows)
        ops.matmul(left.view, right.view, out=out.view, add=add)
        close(out.view, a.astype(float) @ b.astype(float) + (there if add else 0), dtype, 10 + K)
        assert out.is_whole() and left.is_whole() and right.is_whole()


def test_products_of_many_panels(ops, dtype):
    """More than are packed at a time."""
    rng = np.random.default_rng(14)
    for M, N, K in ((3, 700, 1000), (49, 640, 260), (97, 257, 129)):
        for a_by_rows in (False, True):
            check_product(ops, dtype, rng, M, N, K, add=True, a_by_rows=a_by_rows, b_by_rows=True)


def test_products_of_every_second_element(ops, dtype):
    """No dimension of an operand is contiguous."""
    rng = np.random.default_rng(15)
    a, b = rng.standard_normal((80, 60)).astype(dtype), rng.standard_normal((60, 90)).astype(dtype)
    for left, right in (
        (a[::2, ::2], b[::2]),
        (a[:40, :30], b[::2, ::2]),
        (a[::-1, ::3], b[::3, ::-1]),
        (a[:, ::2], b[:30]),
    ):
        out = np.full((len(left), right.shape[1]), np.nan, dtype)
        ops.matmul(left, right, out=out)
        close(out, left.astype(float) @ right.astype(float), dtype, 60)
        turned = np.full(out.T.shape, np.nan, dtype)
        ops.matmul(right.T, left.T, out=turned)
        close(turned, out.T, dtype, 60)


def activations(dtype, T, n, batch, *, gap=3):
    """Return activations [T, n, B] that are batch first, and the memory that they lie in."""
    matrix = Matrix((n, T * batch), dtype, by_rows=False, gap=gap, offset=0)
    return matrix.view.reshape(n, T, batch).transpose(1, 0, 2), matrix


@forms.each("lies", ["batch first", "as in NumPy"])
def test_look_ups_of_every_size(ops, dtype, lies):
    """Rows of a table, whose rows have gaps; -1 is the zero vector. Back, they are added to what is there."""
    rng = np.random.default_rng(16)
    for n in range(1, 41):
        V, T, B = 1 + n % 7, 1 + n % 4, 1 + n * 5 % 13
        table, grad = (Matrix((V, n), dtype, values=rng.standard_normal((V, n))) for _ in range(2))
        out, memory = activations(dtype, T, n, B)
        if lies == "as in NumPy":
            out = np.full((T, n, B), np.nan, dtype)
        ids = rng.integers(-1, V, (T, B)).astype((np.int32, np.int64)[n % 2])
        given, before = ids.copy(), grad.view.astype(float)
        ops.lookup(table.view, ids, out=out)
        expected = np.where((ids >= 0)[:, :, None], table.view[ids], 0).transpose(0, 2, 1)
        np.testing.assert_array_equal(out, expected)
        ops.lookup_grad(out, ids, table_grad=grad.view)
        for t, b in np.argwhere(ids >= 0):
            before[ids[t, b]] += expected[t, :, b]
        close(grad.view, before, dtype, 20)
        np.testing.assert_array_equal(ids, given)
        assert table.is_whole() and grad.is_whole() and memory.is_whole()
        with pytest.raises(IndexError):
            ops.lookup(table.view, np.full_like(ids, V), out=out)
        with pytest.raises(IndexError):
            ops.lookup_grad(out, np.full_like(ids, V), table_grad=grad.view)


@forms.each("add", [False, True])
def test_one_hot_products_of_every_size(ops, dtype, add):
    """As the products with the columns written out; -1 is the zero vector, whose product is b."""
    rng = np.random.default_rng(17)
    for m in range(1, 41):
        V, T, B = 1 + m % 7, 1 + m % 4, 1 + m * 5 % 13
        W = Matrix((m, V + 1), dtype, values=rng.standard_normal((m, V + 1)))
        out, x1 = (Matrix((rows, T * B), dtype, by_rows=False) for rows in (m, V + 1))
        ids = rng.integers(-1, V, (T, B)).astype(np.int32)
        columns = np.concatenate([np.eye(V), np.zeros((1, V))])[ids.ravel()].T
        ones = np.concatenate([columns, np.ones((1, T * B))])
        ops.one_hot_product(W.view, ids, x1=x1.view, out=out.view)
        close(out.view, W.view.astype(float) @ ones, dtype, 4)
        grad = Matrix((m, V + 1), dtype, values=rng.standard_normal((m, V + 1)))
        expected = out.view.astype(float) @ ones.T + (grad.view if add else 0)
        ops.one_hot_grad(out.view, ids, x1=x1.view, out=grad.view, add=add)
        close(grad.view, expected, dtype, 40)
        assert W.is_whole() and out.is_whole() and x1.is_whole() and grad.is_whole()


@forms.each("add", [False, True])
def test_sums_of_every_size(ops, dtype, add):
    rng = np.random.default_rng(4)
    for n in range(1, 71):
        N = n * 7 % 13
        x = Matrix((n, N), dtype, values=rng.standard_normal((n, N)), by_rows=False)
        out = Guarded(n, dtype, 3)
        out.vector[...] = there = rng.standard_normal(n).astype(dtype)
        ops.row_sums(x.view, out=out.vector[:, None], add=add)
        close(out.vector, x.view.astype(float).sum(axis=1) + (there if add else 0), dtype, 10)
        assert out.is_whole() and x.is_whole()


def test_sums_of_a_range_leave_the_others(ops, dtype):
    x, out = Matrix((50, 3), dtype, values=1.0, by_rows=False), Guarded(50, dtype)
    out.vector[...] = 7
    ops.core_of(dtype).column_sums(x.view.ctypes.data, strides(x.view)[1], 3, out.vector.ctypes.data, 0, 16, 41)
    np.testing.assert_array_equal(out.vector, np.where((np.arange(50) >= 16) & (np.arange(50) < 41), 3, 7))


def losses_and_gradient(logits, targets, scale):
    """Return the plain version of cross-entropy and its gradient, in float64."""
    gradient, losses = np.zeros(logits.shape), np.zeros(logits.shape[1])
    for n in np.flatnonzero(targets >= 0):
        gradient[:, n] = softmax(logits[:, n].astype(float))
        losses[n] = -math.log(gradient[targets[n], n])
        gradient[targets[n], n] -= 1
    return losses, scale * gradient


@forms.each("has_bias", [False, True])
def test_cross_entropy_of_every_size(ops, dtype, has_bias):
    rng = np.random.default_rng(5)
    for V in range(1, 71):
        N = 1 + V % 5
        drawn = rng.normal(0, 3, (V, N)).astype(dtype)
        bias = rng.normal(0, 3, (V, 1)).astype(dtype) if has_bias else None
        targets = rng.integers(-1, V, N).astype(np.int32)
        targets[0] = V - 1
        right, gradient = losses_and_gradient(drawn if bias is None else drawn + bias, targets, 0.25)
        logits, alone = (Matrix((V, N), dtype, values=drawn, by_rows=False) for _ in range(2))
        shift = None
        if has_bias:
            shift = Matrix((V, 1), dtype, values=bias, by_rows=False)
        view = None if shift is None else shift.view
        losses = ops.cross_entropy(logits.view, targets, bias=view, scale=0.25)
        np.testing.assert_allclose(losses, right, rtol=TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])
        close(logits.view, gradient, dtype)
        np.testing.assert_array_equal(ops.cross_entropy(alone.view, targets, bias=view), losses)
        assert logits.is_whole() and alone.is_whole() and (shift is None or shift.is_whole())


@forms.each("rate", [0.0, 0.3, 0.9])
def test_dropout_of_every_size(ops, dtype, rate):
    """The mask is the one of NumPy's backend."""
    rng, numpy = np.random.default_rng(6), NumpyBackend()
    for n in range(1, 41):
        T, B = 1 + n % 4, 1 + n * 5 % 13
        drawn = rng.standard_normal((T, n, B)).astype(dtype)
        x = Matrix((n, T * B), dtype, by_rows=False, gap=0 if n < 16 else 2)
        out = Matrix((n, T * B), dtype, by_rows=False, gap=0 if n < 16 else 5)
        steps, to = (m.view.reshape(n, T, B).transpose(1, 0, 2) for m in (x, out))
        steps[...] = drawn
        expected = np.empty_like(drawn)
        numpy.dropout(drawn, rate=rate, key=2**40 + 7, out=expected)
        ops.dropout(steps, rate=rate, key=2**40 + 7, out=to)
        np.testing.assert_array_equal(to, expected)
        np.testing.assert_array_equal(steps, drawn)
        assert x.is_whole() and out.is_whole()


@forms.each("lies", ["steps", "turned around", "as in NumPy"])
def test_dropout_of_every_order(ops, dtype, lies):
    """`out` is batch first; x may lie in any order, as what comes back from a layer that reads from the right does."""
    rng, (T, n, B) = np.random.default_rng(7), (4, 20, 3)
    drawn = rng.standard_normal((T, n, B)).astype(dtype)
    if lies != "as in NumPy":
        first = drawn.transpose(0, 2, 1).copy().transpose(0, 2, 1)
        drawn = first[::-1] if lies == "turned around" else first
    out = np.full((T, B, n + 12), np.nan, dtype)[:, :, :n].transpose(0, 2, 1)
    expected = np.empty((T, n, B), dtype)
    NumpyBackend().dropout(np.ascontiguousarray(drawn), rate=0.5, key=5, out=expected)
    ops.dropout(drawn, rate=0.5, key=5, out=out)
    np.testing.assert_array_equal(out, expected)


@forms.each("scale", [None, 0.25])
def test_adam_of_every_size(ops, dtype, scale):
    """Against the equations, the first steps and a late one."""
    rng = np.random.default_rng(8)
    for n in range(1, 41):
        arrays = [Guarded(n, dtype, k) for k in range(4)]
        w, g, m, v = (array.vector for array in arrays)
        w[...], g[...], m[...], v[...] = *rng.standard_normal((3, n)), rng.random(n)
        start = [array.astype(float) for array in (w, m, v)]
        count = (1, 2, 1000)[n % 3]
        gradient = g.astype(float) * (scale or 1.0)
        ops.adam(w, g, m, v, learning_rate=0.01, count=count, scale=scale)
        first, second = 0.9 * start[1] + 0.1 * gradient, 0.999 * start[2] + 0.001 * gradient**2
        step = 0.01 * first / (1 - 0.9**count) / (np.sqrt(second / (1 - 0.999**count)) + 1e-8)
        for found, right in ((m, first), (v, second), (w, start[0] - step)):
            close(found, right, dtype)
        assert all(array.is_whole() for array in arrays)


def test_norms_of_every_size(ops, dtype):
    rng = np.random.default_rng(9)
    for n in [*range(71), 16383, 16384, 16385, 40000]:
        vector = Guarded(n, dtype, 1)
        vector.vector[...] = rng.standard_normal(n)
        expected = math.sqrt(math.fsum(float(x) ** 2 for x in vector.vector))
        assert ops.norm(vector.vector) == pytest.approx(expected, rel=TOLERANCE[dtype], abs=0)


@forms.each("power", [-30, 0, 25, 60, 100, 160, 300])
def test_norms_of_very_large_and_very_small_numbers(ops, dtype, power):
    """Squares of float32 numbers above 2^64 overflow, those of float64 numbers above 2^512."""
    if dtype == "float32" and power > 120:
        pytest.skip("no such float32 number")
    vector = np.full(50, 2.0**power * (2.0**200 if power == 300 else 1.0), dtype)
    with np.errstate(over="ignore"):
        assert ops.norm(vector) == pytest.approx(math.sqrt(50) * float(vector[0]), rel=1e-6)


class TestRefused:
    """What would be read or written beyond an array."""

    @forms.each(
        "a, b, out",
        [
            ((64, 3), (4, 64), (64, 64)),
            ((64, 3), (3, 64), (64, 32)),
            ((64, 3), (3, 64), (32, 64)),
            ((64, 3), (3, 64), (64, 65)),
        ],
    )
    def test_products_that_do_not_fit(self, ops, dtype, a, b, out):
        with pytest.raises(ValueError, match=r".+"):
            ops.matmul(ops.zeros(a, dtype), ops.zeros(b, dtype), out=ops.zeros(out, dtype))

    def test_a_product_of_two_precisions_is_right_or_refused(self, ops):
        rng = np.random.default_rng(10)
        a, b = rng.standard_normal((64, 8)).astype(np.float32), rng.standard_normal((8, 64))
        out = np.full((64, 64), np.nan)
        try:
            ops.matmul(a, b, out=out)
        except (TypeError, ValueError):
            return
        np.testing.assert_allclose(out, a @ b, rtol=1e-5, atol=1e-5)

    @forms.each("beyond", [70, 2**31 - 1, 2**32, 2**32 + 1])
    def test_targets_out_of_range(self, ops, dtype, beyond):
        with pytest.raises(IndexError):
            ops.cross_entropy(ops.zeros((3, 70), dtype).T[:70], np.array([0, 1, beyond]), scale=1.0)

    def test_fewer_targets_than_columns(self, ops, dtype):
        with pytest.raises((IndexError, ValueError)):
            ops.cross_entropy(ops.zeros((3, 70), dtype).T, np.array([0, 1], np.int32), scale=1.0)


@forms.each("shape", [(0, 5), (5, 0)])
def test_empty_shapes(ops, dtype, shape):
    n, N = shape
    x = np.zeros((N, n), dtype).T
    out = np.full((n, 1), 7.0, dtype)
    ops.row_sums(x, out=out)
    assert not out.any()
    ops.row_sums(x, out=out, add=True)
    assert not out.any()
    assert ops.norm(np.zeros(0, dtype)) == 0.0
    nothing = np.zeros(0, dtype)
    ops.adam(nothing, nothing, nothing, nothing, learning_rate=0.1, count=1)
    if n:
        assert ops.cross_entropy(x, np.zeros(0, np.int32), scale=1.0).shape == (0,)
    for m, k, width in ((0, 3, 40), (40, 0, 40), (40, 3, 0)):
        product_out = np.full((m, width), np.nan, dtype)
        ops.matmul(np.ones((m, k), dtype), np.ones((k, width), dtype), out=product_out)
        assert (product_out == k).all()


@forms.each("K", [1, 19, 64])
def test_losses_of_every_size(ops, dtype, K):
    """The cross-entropy of products that are written nowhere; the logits' memory is scratch."""
    rng = np.random.default_rng(18)
    for V in range(1, 71, forms.times(2, 1)):
        N = (31, 32, 33, 97, 50)[V % 5]
        W = Matrix((V, K), dtype, values=rng.normal(0, 2, (V, K)))
        x = Matrix((K, N), dtype, values=rng.normal(0, 1, (K, N)), by_rows=False)
        bias = Matrix((V, 1), dtype, values=rng.normal(0, 2, (V, 1)), by_rows=False)
        targets = rng.integers(-1, V, N).astype(np.int32)
        targets[0] = V - 1
        logits = Guarded(N * (V + 3), dtype)
        scratch = logits.vector.reshape(N, V + 3)[:, :V].T
        exact = W.view.astype(float) @ x.view.astype(float) + bias.view
        right, _ = losses_and_gradient(exact, targets, 1.0)
        found = ops.losses(W.view, x.view, targets, bias=bias.view, logits=scratch)
        np.testing.assert_allclose(found, right, rtol=TOLERANCE[dtype], atol=(10 + K) * TOLERANCE[dtype])
        assert logits.is_whole() and W.is_whole() and x.is_whole() and bias.is_whole()


@forms.each("value", [np.nan, np.inf, -np.inf, 1e4, -1e4, 3e38])
@forms.each("V", [1, 5, 40, 700])
def test_losses_of_extreme_logits(ops, dtype, V, value):
    """One lane's logit at each end and in the middle, through the bias: the loss is that of the plain operation."""
    N, K = 40, 3
    for place in {0, V // 2, V - 1}:
        bias = np.zeros((V, 1), dtype)
        bias[place] = value
        W, x = np.zeros((V, K), dtype), np.zeros((N, K), dtype).T
        targets = (np.arange(N) % (V + 1) - 1).astype(np.int32)
        targets[:2] = place, (place + 1) % V
        logits = np.empty((N, V), dtype).T
        with np.errstate(all="ignore"):
            found = ops.losses(W, x, targets, bias=bias, logits=logits)
            logits[...] = 0
            right = ops.cross_entropy(logits, targets, bias=bias)
        np.testing.assert_allclose(found, right, rtol=1e-6, atol=1e-6)


def test_losses_refuse_what_does_not_fit(ops, dtype):
    W, x, logits, bias = (
        np.zeros((50, 3), dtype),
        np.zeros((40, 3), dtype).T,
        np.zeros((40, 50), dtype).T,
        np.zeros((50, 1)),
    )
    for targets, error in ((np.full(40, 50), IndexError), (np.zeros(39, np.int32), (IndexError, ValueError))):
        with pytest.raises(error):
            ops.losses(W, x, targets, bias=bias.astype(dtype), logits=logits)
    with pytest.raises(ValueError, match=r".+"):
        ops.losses(W[:, :2], x, np.zeros(40, np.int32), bias=bias.astype(dtype), logits=logits)

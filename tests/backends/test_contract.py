"""What a backend promises, each operation against a plain version in NumPy and float64."""

import math

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from charlm.backends import Backend, get_backend, numpy_backend
from charlm.errors import CharlmError, ResourceError, UsageError
from tests import forms
from tests.naive import softmax

DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


@pytest.fixture
def rng():
    return np.random.default_rng(90)


@pytest.fixture(params=DTYPES)
def dtype(request):
    return request.param


@pytest.fixture
def small_block(ops, monkeypatch):
    """A block so small that a few numbers cross its border."""
    monkeypatch.setattr(type(ops), "block", 8)
    return 8


def close(ops, actual, expected, dtype, scale=1.0):
    actual = ops.numpy(actual)
    assert actual.dtype == dtype and actual.shape == np.shape(expected)
    np.testing.assert_allclose(actual, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


def undefined(ops, shape, dtype):
    """Make an array to write to, full of NaN."""
    array = ops.empty(shape, dtype)
    array[...] = np.nan
    return array


class TestPrecision:
    def test_products_in_the_precision_of_the_arrays_are_its_own(self, ops, dtype):
        assert ops.in_precision(dtype) is ops

    def test_bfloat16_products_come_from_another_backend_or_are_refused(self, ops):
        try:
            other = ops.in_precision("bfloat16")
        except ResourceError as error:
            assert f"--dtype bfloat16: core {ops.core}" in error.message and "--dtype float32" in error.hint
            return
        assert other is not ops and other.workers is ops.workers and other.core == ops.core
        # Nearer to 1 than to the next bfloat16 number.
        a, out = ops.array(np.full((64, 64), 1 + 2.0**-9), "float32"), ops.empty((64, 64), "float32")
        for backend, expected in ((ops, 64 * (1 + 2.0**-9) ** 2), (other, 64.0)):
            backend.matmul(a, a, out=out)
            np.testing.assert_allclose(ops.numpy(out), expected, rtol=1e-6)


class TestArrays:
    def test_there_and_back_are_copies(self, ops, dtype):
        host = np.arange(6, dtype=dtype).reshape(2, 3)
        array = ops.array(host)
        assert array.dtype == dtype and array.shape == (2, 3)
        host[0, 0] = 9
        back = ops.numpy(array)
        assert isinstance(back, np.ndarray) and back[0, 0] == 0
        back[0, 1] = 9
        assert ops.numpy(array)[0, 1] == 1

    def test_a_dtype_can_be_asked_for_and_the_order_is_c(self, ops):
        array = ops.array(np.arange(6.0).reshape(2, 3).T, "float32")
        assert array.dtype == np.float32 and array.flags.c_contiguous
        assert ops.numpy(array).flags.c_contiguous
        np.testing.assert_array_equal(ops.numpy(array), [[0, 3], [1, 4], [2, 5]])
        assert ops.numpy(array.T).flags.c_contiguous
        assert ops.array([True, False], "float64").dtype == np.float64

    @forms.each("shape", [(0,), (3,), (2, 0, 3), (4, 5, 6)])
    def test_empty(self, ops, dtype, shape):
        array = ops.empty(shape, dtype)
        assert array.shape == shape and array.dtype == dtype and array.flags.c_contiguous


class TestMatmul:
    @forms.each("m, k, n", [(1, 1, 1), (5, 3, 4), (7, 2, 1), (1, 6, 9), (3, 0, 2), (0, 3, 2), (40, 33, 17)])
    def test_of_two_matrices(self, ops, dtype, rng, m, k, n):
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        out = undefined(ops, (m, n), dtype)
        ops.matmul(ops.array(a), ops.array(b), out=out)
        close(ops, out, a.astype(float) @ b.astype(float), dtype, scale=20)

    def test_of_views(self, ops, dtype, rng):
        """Transposed, blocks of rows, blocks of columns: what the layers hand over."""
        a, b = rng.standard_normal((6, 8)).astype(dtype), rng.standard_normal((8, 5)).astype(dtype)
        device_a, device_b = ops.array(a), ops.array(b)
        cases = [
            (lambda a, b: (b.T, a.T), (5, 6)),
            (lambda a, b: (a[2:4], b), (2, 5)),
            (lambda a, b: (a[:, 3:], b[3:]), (6, 5)),
            (lambda a, b: (a, b[:, 1:4]), (6, 3)),
        ]
        for views, shape in cases:
            out = undefined(ops, shape, dtype)
            ops.matmul(*views(device_a, device_b), out=out)
            one, other = views(a.astype(float), b.astype(float))
            close(ops, out, one @ other, dtype, scale=20)
        rows = undefined(ops, (9, 5), dtype)
        ops.matmul(device_a, device_b, out=rows[2:8])
        close(ops, rows[2:8], a.astype(float) @ b.astype(float), dtype, scale=20)
        assert np.isnan(ops.numpy(rows)[[0, 1, 8]]).all()
        columns = undefined(ops, (6, 9), dtype)
        ops.matmul(device_a, device_b, out=columns[:, 1:6])
        close(ops, columns[:, 1:6], a.astype(float) @ b.astype(float), dtype, scale=20)
        assert np.isnan(ops.numpy(columns)[:, [0, 6, 7, 8]]).all()

    @forms.each("k", [0, 1, 6])
    def test_added_to_what_is_there(self, ops, dtype, rng, k):
        a, b, there = (rng.standard_normal(shape).astype(dtype) for shape in ((4, k), (k, 5), (4, 5)))
        for lies in (lambda x: x, lambda x: x.T):  # by rows, by columns
            out = lies(ops.array(np.ascontiguousarray(lies(there))))
            ops.matmul(ops.array(a), ops.array(b), out=out, add=True)
            close(ops, out, there + a.astype(float) @ b.astype(float), dtype, scale=20)
        steps = ops.array(np.stack([there, 2 * there]))
        ops.matmul(ops.array(a), ops.array(np.stack([b, b])), out=steps, add=True)
        product = a.astype(float) @ b.astype(float)
        close(ops, steps, np.stack([there + product, 2 * there + product]), dtype, scale=20)

    def test_of_a_matrix_and_many_steps(self, ops, dtype, rng):
        a, b = rng.standard_normal((4, 3)).astype(dtype), rng.standard_normal((6, 3, 5)).astype(dtype)
        out = undefined(ops, (6, 4, 5), dtype)
        ops.matmul(ops.array(a), ops.array(b), out=out)
        close(ops, out, np.einsum("mk,tkn->tmn", a.astype(float), b), dtype, scale=20)


IDS = {
    "plain": [[2, 0, 1], [4, 3, 2]],
    "nothing": [[-1, 0, -1], [4, -1, -1]],
    "repeated": [[1, 1, 1], [1, -1, 1]],
    "only nothing": [[-1, -1]],
    "the last": [[4]],
}


@pytest.mark.parametrize("ids", [np.array(ids, np.int32) for ids in IDS.values()], ids=list(IDS))
class TestTokens:
    V, D = 5, 3

    @forms.each("batch_first", [False, True])
    def test_one_hot(self, ops, dtype, ids, rng, batch_first):
        """The product with the columns written out, and that with their transpose."""
        m, N = 6, ids.size
        W, dz, given = rng.standard_normal((m, self.V + 1)), rng.standard_normal((m, N)), ids.copy()
        columns = np.array([[i == v for i in ids.ravel()] for v in range(self.V)] + [[True] * N], float)
        x1, out, d = (undefined(ops, (n, N), dtype) for n in (self.V + 1, m, m))
        if batch_first:
            x1, out, d = (undefined(ops, (N, n), dtype).T for n in (self.V + 1, m, m))
        d[...] = ops.array(dz, dtype)
        ops.one_hot_product(ops.array(W, dtype), ids, x1=x1, out=out)
        close(ops, out, W.astype(dtype).astype(float) @ columns, dtype, scale=2)
        grad = undefined(ops, (m, self.V + 4), dtype)[:, 2:-1]
        right = dz.astype(dtype).astype(float) @ columns.T
        for add in (False, True):
            ops.one_hot_grad(d, ids, x1=x1, out=grad, add=add)
            close(ops, grad, right * (1 + add), dtype, scale=20)
        np.testing.assert_array_equal(ids, given)

    @forms.each("batch_first", [False, True])
    def test_row_sums(self, ops, dtype, ids, rng, batch_first):
        x = rng.standard_normal((self.V, ids.size))
        array = ops.array(x.T, dtype).T if batch_first else ops.array(x, dtype)
        out = undefined(ops, (self.V, 1), dtype)
        for add in (False, True):
            ops.row_sums(array, out=out, add=add)
            close(ops, out, x.sum(axis=1, keepdims=True) * (1 + add), dtype, scale=10)

    def test_lookup(self, ops, dtype, ids, rng):
        T, B = ids.shape
        table = rng.standard_normal((self.V, self.D)).astype(dtype)
        out, given = undefined(ops, (T, self.D, B), dtype), ids.copy()
        ops.lookup(ops.array(table), ids, out=out)
        out = ops.numpy(out)
        for t, b in np.ndindex(T, B):
            np.testing.assert_array_equal(out[t, :, b], table[ids[t, b]] if ids[t, b] >= 0 else 0)
        np.testing.assert_array_equal(ids, given)

    def test_lookup_grad(self, ops, dtype, ids, rng):
        """Added to what is there, and rows that were not read stay as they are, bit for bit."""
        T, B = ids.shape
        d_out = rng.standard_normal((T, self.D, B)).astype(dtype)
        before = rng.standard_normal((self.V, self.D)).astype(dtype)
        expected = before.astype(float)
        for t, b in np.argwhere(ids >= 0):
            expected[ids[t, b]] += d_out[t, :, b]
        table_grad = ops.array(before)
        ops.lookup_grad(ops.array(d_out), ids, table_grad=table_grad)
        close(ops, table_grad, expected, dtype, scale=10)
        unread = np.setdiff1d(np.arange(self.V), ids)
        np.testing.assert_array_equal(ops.numpy(table_grad)[unread], before[unread])


def test_lookup_grad_of_many_and_of_a_view(ops, dtype, rng):
    """Each token many times; the gradient is a part of a larger array, as a layer hands it down."""
    ids = rng.integers(-1, 6, (40, 30))
    whole = rng.standard_normal((40, 7, 30)).astype(dtype)
    table_grad = ops.array(np.zeros((6, 4)), dtype)
    ops.lookup_grad(ops.array(whole)[:, 3:], ids, table_grad=table_grad)
    expected = np.array([whole[:, 3:].transpose(0, 2, 1)[ids == v].astype(float).sum(axis=0) for v in range(6)])
    close(ops, table_grad, expected, dtype, scale=500)


def test_columns_are_moved_and_the_others_stay(ops, dtype, rng):
    """Also to and from a part of the rows of a larger array."""
    x, before = rng.standard_normal((5, 4, 3)).astype(dtype), rng.standard_normal((2, 6, 4)).astype(dtype)
    origin, to = (np.array([4, 0, 4]), np.array([2, 1, 2])), (np.array([1, 0, 0]), np.array([0, 3, 1]))
    out = ops.array(before)
    ops.move_columns(ops.array(x)[:, 1:], origin, out=out[:, 2:5], to=to)
    expected = before.copy()
    for step, lane, to_step, to_lane in zip(*origin, *to, strict=True):
        expected[to_step, 2:5, to_lane] = x[step, 1:, lane]
    np.testing.assert_array_equal(ops.numpy(out), expected)
    nowhere = np.zeros(0, int)
    ops.move_columns(ops.array(x)[:, 1:], (nowhere, nowhere), out=out[:, 2:5], to=(nowhere, nowhere))
    np.testing.assert_array_equal(ops.numpy(out), expected)


@forms.each("shape", [(0,), (3, 4)])
def test_zeros(ops, dtype, shape):
    zeros = ops.zeros(shape, dtype)
    assert zeros.dtype == dtype and zeros.flags.c_contiguous
    np.testing.assert_array_equal(ops.numpy(zeros), np.zeros(shape))


class TestRefused:
    """What a device would read or write beyond its arrays for, without a word."""

    @forms.each("beyond", [3, 2**31 - 1])
    def test_ids_out_of_range(self, ops, beyond):
        ids = np.array([[0, beyond]])
        table, columns = ops.zeros((3, 2), "float32"), ops.zeros((1, 2, 2), "float32")
        calls = [
            lambda: ops.one_hot_product(
                ops.zeros((5, 4), "float32"),
                ids,
                x1=ops.zeros((4, 2), "float32"),
                out=ops.zeros((2, 5), "float32").T if ops.batch_first else ops.zeros((5, 2), "float32"),
            ),
            lambda: ops.lookup(table, ids, out=columns),
            lambda: ops.lookup_grad(columns, ids, table_grad=table),
            lambda: ops.cross_entropy(table, ids[0]),
        ]
        for number in (0, 1):
            places = [(np.array([0]), np.array([0])), (np.array([0]), np.array([beyond]))]
            origin, to = places[number], places[1 - number]
            calls.append(lambda o=origin, t=to: ops.move_columns(columns, o, out=ops.zeros((1, 2, 2), "float32"), to=t))
        for call in calls:
            with pytest.raises(IndexError):
                call()

    def test_products_that_do_not_fit(self, ops):
        a, b = ops.zeros((2, 3), "float32"), ops.zeros((3, 4), "float32")
        for left, right, shape in ((a, a, (2, 3)), (a, b, (2, 5)), (b, a, (3, 3))):
            with pytest.raises(ValueError, match=r".+"):
                ops.matmul(left, right, out=ops.zeros(shape, "float32"))


class TestLogSoftmax:
    @forms.each("V, N", [(1, 2), (7, 5), (300, 40), (513, 9)])
    def test_against_the_plain_version(self, ops, dtype, rng, V, N):
        logits = rng.normal(0, 3, (V, N)).astype(dtype)
        device = ops.array(logits)
        assert ops.log_softmax(device) is None
        expected = np.log(np.stack([softmax(column) for column in logits.T.astype(float)], axis=1))
        close(ops, device, expected, dtype, scale=10)

    def test_without_columns(self, ops, dtype):
        logits = ops.empty((3, 0), dtype)
        ops.log_softmax(logits)
        assert logits.shape == (3, 0)

    def test_extreme_logits(self, ops, dtype):
        """No overflow, no warning, no NaN; all that is lost is what is too small to tell."""
        logits = ops.array(np.array([[1e4, -1e4, 1e4, 0.0], [-1e4, 1e4, 1e4, -1e4], [0.0, -1e4, 1e4, 1e30]], dtype))
        with np.errstate(all="raise", under="ignore"):
            ops.log_softmax(logits)
        picked = ops.numpy(logits)[[0, 0, 2, 2], range(4)]
        np.testing.assert_allclose(picked, [0, -2e4, -math.log(3), 0], rtol=1e-6)


class TestCrossEntropy:
    """The losses, and the gradient in place of the logits."""

    def run(self, ops, logits, targets, scale=1.0):
        """Return the gradient and the losses; they are the same losses without a gradient."""
        device, targets = ops.array(logits), np.array(targets, np.int32)
        losses = ops.cross_entropy(device, targets, scale=scale)
        alone = ops.numpy(ops.cross_entropy(ops.array(logits), targets))
        assert losses.dtype == np.float64 and losses.shape == targets.shape
        np.testing.assert_array_equal(ops.numpy(losses), alone)
        gradient = ops.numpy(device)
        assert gradient.dtype == logits.dtype
        return gradient, alone

    @pytest.mark.parametrize("logits_at_a_time", [None, 100])
    @pytest.mark.parametrize(("V", "N"), [(1, 3), (2, 1), (7, 5), (300, 40), (513, 9), (70, 0)])
    def test_against_the_plain_version(self, ops, dtype, rng, monkeypatch, V, N, logits_at_a_time):
        """Also in blocks of rows, and the last one short."""
        if logits_at_a_time:
            monkeypatch.setattr(numpy_backend, "_LOGITS", logits_at_a_time)
        logits, targets = rng.normal(0, 3, (V, N)).astype(dtype), rng.integers(-1, V, N)
        targets[:1] = V - 1
        gradient, losses = self.run(ops, logits, targets, 0.25)
        expected, nats = np.zeros((V, N)), np.zeros(N)
        for n in np.flatnonzero(targets >= 0):
            expected[:, n] = softmax(logits[:, n].astype(float))
            nats[n] = -math.log(expected[targets[n], n])
            expected[targets[n], n] -= 1
        close(ops, ops.array(gradient), 0.25 * expected, dtype)
        np.testing.assert_allclose(losses, nats, rtol=TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])
        assert not gradient[:, targets < 0].any() and not losses[targets < 0].any()

    def test_a_bias_is_added_first(self, ops, dtype, rng, monkeypatch):
        monkeypatch.setattr(numpy_backend, "_LOGITS", 30)
        logits, bias = rng.normal(0, 3, (40, 6)).astype(dtype), rng.normal(0, 3, (40, 1)).astype(dtype)
        targets = np.array([3, -1, 0, 39, 7, 7], np.int32)
        expected, losses = self.run(ops, logits + bias, targets, 0.5)
        device = ops.array(logits)
        found = ops.numpy(ops.cross_entropy(device, targets, bias=ops.array(bias), scale=0.5))
        np.testing.assert_array_equal(found, losses)
        np.testing.assert_array_equal(ops.numpy(device), expected)

    def test_of_a_part_of_a_wider_matrix(self, ops, dtype, rng):
        """What stands beside the logits stays."""
        logits, targets = rng.normal(0, 3, (40, 6)).astype(dtype), np.array([3, -1, 0, 39, 7, 7], np.int32)
        whole = undefined(ops, (40, 9), dtype)
        part = whole[:, 1:7]
        part[...] = ops.array(logits)
        losses = ops.numpy(ops.cross_entropy(part, targets, scale=2.0))
        gradient, expected = self.run(ops, logits, targets, 2.0)
        np.testing.assert_array_equal(ops.numpy(part), gradient)
        np.testing.assert_array_equal(losses, expected)
        assert np.isnan(ops.numpy(whole)[:, [0, 7, 8]]).all()

    @pytest.mark.parametrize("logits_at_a_time", [1 << 17, 1])
    def test_extreme_logits(self, ops, dtype, monkeypatch, logits_at_a_time):
        """No overflow, no warning, no NaN; rounding loses only what is too small."""
        monkeypatch.setattr(numpy_backend, "_LOGITS", logits_at_a_time)
        logits = np.array([[1e4, -1e4, 1e4, 0.0], [-1e4, 1e4, 1e4, -1e4], [0.0, -1e4, 1e4, 1e30]], dtype)
        with np.errstate(all="raise", under="ignore"):
            gradient, losses = self.run(ops, logits, [0, 0, 2, 2])
        np.testing.assert_allclose(losses, [0, 2e4, math.log(3), 0], rtol=1e-6)
        third = 1 / 3
        expected = [[0, -1, third, 0], [0, 1, third, 0], [0, 0, third - 1, 0]]
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-6)

    @forms.each("size", [-1e30, -1e20, 1e9, 1e20, 1e30])
    def test_equal_logits_are_a_choice_among_all(self, ops, dtype, size):
        """Also where ln(sum of exponentials) is far below the rounding of a logit."""
        gradient, losses = self.run(ops, np.full((5, 3), size, dtype), [0, 4, -1])
        np.testing.assert_allclose(losses, [math.log(5.0), math.log(5.0), 0.0], rtol=TOLERANCE[dtype])
        np.testing.assert_allclose(gradient[:, 0], [-0.8, 0.2, 0.2, 0.2, 0.2], rtol=10 * TOLERANCE[dtype])

    @pytest.mark.parametrize("logits_at_a_time", [1 << 17, 1])
    def test_what_is_not_finite_shows_unless_it_is_minus_infinity_beside_a_number(
        self, ops, monkeypatch, logits_at_a_time
    ):
        monkeypatch.setattr(numpy_backend, "_LOGITS", logits_at_a_time)
        logits = np.array([[np.nan, np.inf, -np.inf, -np.inf], [0.0, 0.0, 0.0, -np.inf]], np.float32)
        with np.errstate(all="ignore"):
            _, losses = self.run(ops, logits, [1, 1, 1, 1])
        np.testing.assert_array_equal(losses, [np.nan, np.nan, 0.0, np.nan])


def norm_of(ops, vector):
    return float(ops.norm(ops.array(vector)))


class TestNorm:
    @forms.each("size", [0, 1, 7, 8, 9, 16, 17, 100])
    def test_at_the_borders_of_a_block(self, ops, dtype, rng, small_block, size):
        vector = rng.standard_normal(size).astype(dtype)
        expected = math.sqrt(math.fsum(float(x) ** 2 for x in vector))
        assert norm_of(ops, vector) == pytest.approx(expected, rel=TOLERANCE[dtype], abs=0)

    @forms.each("extra", [-1, 0, 1, 5])
    def test_at_the_borders_of_its_own_block(self, ops, dtype, extra):
        size = 2 * ops.block + extra
        vector = np.ones(size, dtype)
        vector[-1] = 100
        assert norm_of(ops, vector) == pytest.approx(math.sqrt(size - 1 + 1e4), rel=TOLERANCE[dtype])

    def test_a_long_float32_vector_loses_nothing(self, ops, rng):
        """The sum over blocks is in float64: one in float32 would stop growing."""
        vector = rng.uniform(0.5, 1.5, 3_000_000).astype(np.float32)
        exact = math.sqrt(float(np.sum(vector.astype(np.float64) ** 2)))
        assert norm_of(ops, vector) == pytest.approx(exact, rel=1e-6)

    def test_not_finite_stays_not_finite(self, ops, dtype):
        """The trainer sees a divergence by it."""
        for value in (np.nan, np.inf):
            vector = np.ones(20, dtype)
            vector[13] = value
            assert not math.isfinite(norm_of(ops, vector))

    @forms.each("most", [0.1, 4.999, 5.0, 5.001, 1e30])
    def test_the_factor_that_clips(self, ops, dtype, most):
        """At the bound itself and below it a gradient is left as it is, bit for bit."""
        vector = np.array([3.0, 0.0, -4.0], dtype)
        factor = ops.clipping(ops.norm(ops.array(vector)), most, dtype)
        array = ops.array(vector)
        if factor is not None:
            array *= factor
        assert array.dtype == dtype
        found = ops.numpy(array)
        if most >= 5:
            np.testing.assert_array_equal(found, vector)
        np.testing.assert_allclose(np.linalg.norm(found), min(most, 5.0), rtol=1e-6)


class TestDropout:
    def run(self, ops, x, rate, key):
        out = undefined(ops, x.shape, x.dtype)
        device = ops.array(x)
        ops.dropout(device, rate=rate, key=key, out=out)
        np.testing.assert_array_equal(ops.numpy(device), x)
        return ops.numpy(out)

    @forms.each("rate", [0.05, 0.3, 0.5, 0.95])
    def test_values_and_share(self, ops, dtype, rng, rate):
        x = rng.uniform(1, 2, (20, 30, 50)).astype(dtype)
        out = self.run(ops, x, rate, 12345)
        kept = out != 0
        close(ops, ops.array(out), np.where(kept, x / (1 - rate), 0).astype(float), dtype, scale=40)
        assert abs(np.mean(~kept) - rate) < 4 * math.sqrt(rate * (1 - rate) / x.size)

    def test_rate_zero(self, ops, dtype, rng):
        x = rng.standard_normal((3, 4, 5)).astype(dtype)
        np.testing.assert_array_equal(self.run(ops, x, 0.0, 7), x)

    def test_a_key_is_a_mask(self, ops):
        ones = np.ones((4, 8, 16), np.float32)
        keys = (0, 1, 2**31, 2**32, 2**32 + 1, 2**63, 2**64 - 1)
        masks = [self.run(ops, ones, 0.5, key) for key in keys]
        for key, mask in zip(keys, masks, strict=True):
            np.testing.assert_array_equal(self.run(ops, ones, 0.5, key), mask)
        assert len({mask.tobytes() for mask in masks}) == len(keys)

    def test_both_dtypes_and_all_blocks_have_one_mask(self, ops, monkeypatch):
        """Which element is dropped is a hash of its index, however the work is cut."""
        masks = []
        for block in (ops.block, 8, 7):
            monkeypatch.setattr(type(ops), "block", block)
            masks += [self.run(ops, np.ones((3, 5, 7), dtype), 0.5, 99) == 0 for dtype in DTYPES]
        assert masks[0].any() and not masks[0].all()
        for mask in masks[1:]:
            np.testing.assert_array_equal(mask, masks[0])

    def test_the_mask_is_part_of_the_contract(self, ops):
        """A hash of key and index, the same on every device: a resumed run goes on as it was."""
        out = self.run(ops, np.ones((1, 4, 16), np.float32), 0.5, 0x0123_4567_89AB_CDEF)
        assert np.packbits(out.ravel() != 0).tobytes().hex() == plain_mask(64, 0.5, 0x0123_4567_89AB_CDEF)

    def test_of_a_view(self, ops, rng):
        """x may be a part of a larger array; the mask is that of the part."""
        whole = rng.uniform(1, 2, (3, 6, 4))
        out = undefined(ops, (3, 2, 4), "float64")
        ops.dropout(ops.array(whole)[:, 4:], rate=0.5, key=3, out=out)
        np.testing.assert_array_equal(ops.numpy(out), self.run(ops, whole[:, 4:].copy(), 0.5, 3))

    def test_neighbours_are_independent(self, ops):
        """Along the index, and at the distances that layers have: a row, a step."""
        dropped = self.run(ops, np.ones(1 << 16, np.float32).reshape(16, 64, 64), 0.5, 42).ravel() == 0
        for distance in (1, 2, 3, 4, 8, 16, 32, 64, 128, 1024, 4096, 1 << 15):
            agree = np.mean(dropped[distance:] == dropped[:-distance])
            assert abs(agree - 0.5) < 4.5 * 0.5 / math.sqrt(dropped.size - distance), distance


def plain_mask(size, rate, key):
    """Give the kept elements as hexadecimal digits, by the hash in plain Python."""

    def mixed(bits):
        bits = (bits ^ bits >> 16) * 0x7FEB352D & 0xFFFFFFFF
        bits = (bits ^ bits >> 15) * 0x846CA68B & 0xFFFFFFFF
        return bits ^ bits >> 16

    first, second = key & 0xFFFFFFFF, key >> 32
    kept = [mixed(mixed(index ^ first) ^ second) >= rate * 2**32 for index in range(size)]
    return np.packbits(kept).tobytes().hex()


class TestThreads:
    def test_a_bound_holds_inside_and_ends_after(self, ops):
        if ops.name != "cpu":
            pytest.skip("the device's products have no threads of the host")

        def count():
            return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

        before = count()
        assert before
        with ops.workers.limit(1):
            assert set(count()) == {1}
        assert count() == before
        with ops.workers.limit(None):
            assert count() == before


class TestChoice:
    @pytest.mark.parametrize("device", ["auto", "cpu"])
    def test_there_is_always_one(self, device):
        assert isinstance(get_backend(device), Backend)
        assert get_backend("cpu").name == "cpu"

    def test_cuda_is_there_or_said_to_be_missing(self):
        try:
            assert get_backend("cuda").name == "cuda"
        except CharlmError as error:
            assert isinstance(error, ResourceError) and error.hint

    @pytest.mark.parametrize("device", ["gpu", "", "CPU"])
    def test_another_name_is_refused(self, device):
        with pytest.raises(UsageError) as caught:
            get_backend(device)
        assert repr(device) in caught.value.message and "cpu" in caught.value.hint

    def test_a_backend_says_what_it_is(self, ops):
        assert isinstance(ops.name, str) and ops.block >= 1
        assert ops.workers.count >= 1

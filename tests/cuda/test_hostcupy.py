"""The emulation refuses what a GPU refuses, and shows what a GPU would do without a word."""

import numpy as np
import pytest

from tests.cuda import hostcupy

cupy = hostcupy.cupy


@pytest.fixture
def pair(ops):
    return ops.zeros((2, 3), "float32"), np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    "work",
    [
        lambda d, h: np.multiply(d, h, out=d),
        lambda d, h: d + h,
        lambda d, h: h + d,
        lambda d, h: d.__iadd__(h),
        lambda d, h: np.add(d, d, out=h),
        lambda d, h: d.__setitem__(Ellipsis, h),
        lambda d, h: np.asarray(d),
        lambda d, h: h.__setitem__(Ellipsis, d),
        lambda d, h: cupy.ElementwiseKernel("T x", "T y", "y = x", "mixed")(h, d),
    ],
)
def test_arrays_of_both_kinds_do_not_mix(pair, work):
    with pytest.raises((TypeError, ValueError)):
        work(*pair)


def test_products_of_both_kinds_are_refused(ops, pair):
    device, host = pair
    out = ops.zeros((2, 2), "float32")
    for a, b in ((device, host.T), (host, device.T), (device, ops.zeros((3, 2), "float64"))):
        with pytest.raises(TypeError):
            ops.matmul(a, b, out=out)


def test_float64_does_not_creep_in(ops, pair):
    double = ops.zeros((2, 3), "float64")
    for work in (lambda x: np.multiply(x, double, out=x), lambda x: x + double):
        with pytest.raises(TypeError, match="creeps"):
            work(pair[0])
    with pytest.raises(TypeError):
        cupy.ElementwiseKernel("T x", "T y", "y = x", "mixed")(double, pair[0])
    pair[0][...] = double  # a conversion that is asked for is none


def test_arrays_do_not_index_arrays(pair):
    """On a GPU an index out of range wraps around, and a mask waits for the device."""
    for where in (np.array([0, 1]), pair[0] > 0, (slice(None), np.array([1]))):
        with pytest.raises(TypeError):
            pair[0][where]
        with pytest.raises(TypeError):
            pair[0][where] = 0.0


def test_memory_is_not_a_number_before_it_is_written(ops):
    for dtype in ("float32", "float64"):
        assert np.isnan(ops.numpy(ops.empty((3, 5), dtype))).all()


def test_a_scalar_of_the_wrong_width_is_refused(ops):
    """CuPy would hand a Python integer to an `int` as eight bytes, and launch."""
    kernel = cupy.RawKernel('extern "C" __global__ void wide(float* x, int n) { x[0] = n; }', "wide")
    x = ops.zeros((1,), "float32")
    kernel((1,), (1,), (x, np.int32(3)))
    assert ops.numpy(x)[0] == 3
    for wrong in (3, np.int64(3), np.float32(3)):
        with pytest.raises(AssertionError):
            kernel((1,), (1,), (x, wrong))


@pytest.mark.parametrize("barrier", ["__syncthreads();", ""])
def test_a_missing_barrier_shows_in_one_order_of_the_threads(ops, barrier):
    """So that what is equal in both orders has its barriers."""
    source = f"""extern "C" __global__ void turn(float* x) {{
      __shared__ float of_thread[4];
      of_thread[threadIdx.x] = 1.0f + threadIdx.x;
      {barrier}
      x[threadIdx.x] = of_thread[3 - threadIdx.x];
      __syncthreads();
      of_thread[threadIdx.x] = 0;
    }}"""
    results = []
    for order in (None, hostcupy.threads_reversed()):
        x = ops.zeros((4,), "float32")
        kernel = cupy.RawKernel(source, "turn")
        if order is None:
            kernel((1,), (4,), (x,))
        else:
            with order:
                kernel((1,), (4,), (x,))
        results.append(ops.numpy(x).tolist())
    assert (results == [[4, 3, 2, 1]] * 2) == bool(barrier)


@pytest.mark.parametrize("rows", [70, 700])
def test_our_kernels_with_barriers_do_not_hang_on_the_order_of_their_threads(ops, rows):
    rng = np.random.default_rng(40)
    logits, vector = rng.normal(0, 3, (rows, 45)).astype("float32"), rng.normal(0, 1, 5000).astype("float32")
    results = []

    def run():
        one, other = ops.array(logits), ops.array(logits)
        ops.log_softmax(one)
        losses = ops.cross_entropy(other, np.arange(45), scale=0.5)
        results.append((ops.numpy(one), ops.numpy(other), ops.numpy(losses), float(ops.norm(ops.array(vector)))))

    run()
    with hostcupy.threads_reversed():
        run()
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_products_are_told_to_cublas_as_they_lie(ops):
    """Random views of either order, batched or not; the memory around the result stays."""
    rng = np.random.default_rng(41)
    for _ in range(200):
        m, k, n, T = (int(number) for number in rng.integers(1, 6, 4))

        def view(rows, columns, steps=()):
            flip = bool(rng.integers(2)) and not steps
            shape = (columns, rows) if flip else (rows, columns)
            before, after = rng.integers(0, 3, 2), rng.integers(0, 3, 2)
            whole = rng.normal(size=(*steps, *(int(s + a + b) for s, a, b in zip(shape, before, after, strict=True))))
            array = ops.array(whole)
            part = (..., *(slice(int(a), int(a) + s) for a, s in zip(before, shape, strict=True)))
            return array, part, (lambda x: x[part].T) if flip else (lambda x: x[part])

        batched = (T,) if rng.integers(2) else ()
        (a, _, of_a), (b, _, of_b), (out, part, of_out) = view(m, k), view(k, n, batched), view(m, n, batched)
        before, expected = ops.numpy(out), ops.numpy(of_a(a)) @ ops.numpy(of_b(b))
        ops.matmul(of_a(a), of_b(b), out=of_out(out))
        after = ops.numpy(out)
        np.testing.assert_allclose(ops.numpy(of_out(out)), expected, rtol=0, atol=1e-13)
        before[part] = after[part]
        np.testing.assert_array_equal(after, before)

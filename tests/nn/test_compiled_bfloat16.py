"""Products in bfloat16 on the compiled core: as in float64 with both factors rounded to the nearest bfloat16 number."""

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.backends.compiled.core import Product, strides
from charlm.errors import ResourceError
from charlm.nn.cells import CELLS
from charlm.nn.grads import Grads
from charlm.nn.recurrent import Recurrent
from charlm.nn.stepping import DeviceStepper
from charlm.nn.workspace import Workspace
from tests import forms
from tests.compiled import EACH_BFLOAT16, EACH_CORE, compiled_backend
from tests.gradcheck import each_kind, random_starts
from tests.guarded import Guarded, Matrix, guard
from tests.nn.test_streams import Network


def rounded(x):
    """Return x rounded to the nearest bfloat16 number, of two to the one whose last bit is 0, in float64."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + (bits >> np.uint64(16) & np.uint64(1))) >> np.uint64(16) << np.uint64(16)
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)


class Rounding(NumpyBackend):
    """The oracle: rounds both factors of a product."""

    def matmul(self, a, b, *, out, add=False):
        super().matmul(rounded(a), rounded(b), out=out, add=add)


ORACLE = Rounding()
ORACLE.scans = {}


@pytest.fixture(params=EACH_BFLOAT16)
def ops(request):
    """A backend with products in bfloat16."""
    try:
        backend = compiled_backend(request.param).in_precision("bfloat16")
    except ResourceError as error:
        pytest.skip(error.message)
    buffers = guard(backend)
    yield backend
    assert all(buffer.is_whole() for buffer in buffers)


def test_products_of_every_size(ops):
    """Pairs of k, and the last k alone where K is odd."""
    rng, core = np.random.default_rng(1), ops.core_of("float32")
    for case, M in enumerate([*range(1, 15), 49, 97] * 3):
        N, K = (case * 17) % 70 + 1, (case * 5) % 21 if case < 40 else 2047 + case
        add, a_by_rows, b_by_rows = (bool(case >> bit & 1) for bit in range(3))
        a, b, there = (rng.standard_normal(shape).astype(np.float32) for shape in ((M, K), (K, N), (M, N)))
        left = Matrix((M, K), "float32", values=a, by_rows=a_by_rows)
        right = Matrix((K, N), "float32", values=b, by_rows=b_by_rows)
        out, scratch = Matrix((M, N), "float32", values=there), Guarded(core.product_scratch // 4, "float32")
        p = Product(M, N, K, left.view.ctypes.data, *strides(left.view), right.view.ctypes.data, *strides(right.view))
        p.out, p.ldo, p.add = out.view.ctypes.data, strides(out.view)[0], add
        core.product(p, 0, M, scratch.vector.ctypes.data)
        expected = rounded(a) @ rounded(b) + (there if add else 0)
        np.testing.assert_allclose(out.view, expected, rtol=0, atol=1e-6 * (10 + K))
        assert all(memory.is_whole() for memory in (left, right, out, scratch)), (M, N, K)


def test_what_is_rounded(ops):
    """To the nearest, ties to even; NaN and infinity stay what they are."""
    values = [
        1.0,
        1 + 2**-8,
        1 + 3 * 2**-8,
        1 + 2**-8 + 2**-20,
        -1 - 2**-8,
        3e38,
        3.4e38,
        np.inf,
        -np.inf,
        np.nan,
        1e-30,
    ]
    a, b = np.zeros((64, 1), np.float32), np.ones((1, 16), np.float32)
    a[: len(values), 0] = values
    out = np.zeros((64, 16), np.float32)
    ops.matmul(a, b, out=out)
    with np.errstate(over="ignore"):
        right = rounded(np.array(values))
    np.testing.assert_array_equal(out[: len(values), 3], np.where(np.isnan(values), np.nan, right))


def scanned(ops, cell, variant, sizes, *, cut):
    """Return what the time loop alone computes, forward and back."""
    T, B, H = sizes
    layer, rng = Recurrent(CELLS[cell][variant](ops, 1, H)), np.random.default_rng(7)
    dtype = "float32" if ops is not ORACLE else "float64"
    values = {n: rng.normal(0, 0.5, shape).astype(np.float32).astype(dtype) for n, shape in layer.shapes().items()}
    layer.bind(values, Grads({name: np.zeros_like(array) for name, array in values.items()}, ops))
    ws, rows = Workspace(ops, dtype), layer.cell.rows
    drawn = [rng.normal(0, 0.7, shape).astype(np.float32) for shape in ((rows, T, B), (T, H, B))]
    first, d_last = (tuple(rng.normal(0, 0.7, (H, B)).astype(dtype) for _ in layer.cell.states) for _ in range(2))
    starts = random_starts(T, B, rng) if cut else None
    zx = ws.columns("zx", rows, T * B)
    steps = zx.reshape(rows, T, B)
    steps[...] = drawn[0]
    y, last = layer.scan(ws).forward(steps, first, starts)
    y = np.array(y)
    back, d_first = layer.scan(ws).backward(drawn[1].astype(dtype), d_last)
    return [y, *last, np.array(back.dz), *d_first, np.array(layer.scan(ws).state_grads())]


@forms.each("sizes", [(5, 3, 7), (4, 1, 16), (1, 5, 1), (3, 50, 18), (6, 2, 65), (3, 7, 33)])
@each_kind
def test_the_time_loops(ops, cell, variant, sizes):
    """A rounded state may fall to the other side of a tie for a last digit, so a few elements may be a step apart."""
    for cut in (False, True):
        for found, right in zip(
            scanned(ops, cell, variant, sizes, cut=cut), scanned(ORACLE, cell, variant, sizes, cut=cut), strict=True
        ):
            error = np.abs(found - right) / max(1, np.abs(right).max())
            assert error.max() < 1e-2 and np.median(error) < 2e-6, (error.max(), np.median(error))
            assert np.mean(error > 1e-4) < 0.05


def test_any_number_of_threads_computes_the_same_bytes(ops, monkeypatch):
    monkeypatch.setattr("charlm.backends.compiled.scan._WORTH_SHARING", 8)
    monkeypatch.setattr("charlm.backends.compiled.backend._WORTH_SHARING", 1)
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((97, 33)).astype(np.float32), rng.standard_normal((33, 130)).astype(np.float32)
    for cell, variant in (("lstm", ""), ("gru", "before")):
        results = []
        for count in (1, 2, 3, 5):
            with ops.workers.limit(count):
                out = np.zeros((97, 130), np.float32)
                ops.matmul(a, b, out=out)
                arrays = [out, *scanned(ops, cell, variant, (5, 7, 19), cut=True)]
                results.append([np.ascontiguousarray(array).tobytes() for array in arrays])
        assert all(result == results[0] for result in results)


@pytest.mark.parametrize("core", EACH_CORE)
def test_float32_stays_float32(core):
    """The backend that the other one was made from multiplies as before."""
    backend = compiled_backend(core)
    assert backend.in_precision("float32") is backend and backend.in_precision("float64") is backend
    try:
        other = backend.in_precision("bfloat16")
    except ResourceError as error:
        assert error.hint
        return
    a, b = np.full((64, 3), 1 + 2**-12, np.float32), np.ones((3, 32), np.float32)
    for ops, expected in ((backend, 3 * (1 + 2**-12)), (other, 3)):
        out = np.zeros((64, 32), np.float32)
        ops.matmul(a, b, out=out)
        np.testing.assert_array_equal(out, np.float32(expected))
    exact = np.zeros((64, 32))
    other.matmul(a.astype(float), b.astype(float), out=exact)
    np.testing.assert_array_equal(exact, 3 * (1 + 2**-12))


@each_kind
def test_a_stream_computes_what_rounded_products_do(ops, cell, variant):
    """In layers of odd sizes. Each token is read from new states, as a number that is rounded the other way grows.

    Biases are rounded before: a stream adds them as they are.
    """
    layers, rng = [(cell, variant, 21), ("lstm", "", 34)], np.random.default_rng(2)
    stepper, reference, plain = (
        Network(layers, 33, inputs=7, dtype=dtype, biases=rounded).stepper(own)
        for dtype, own in (("float32", ops), ("float64", ORACLE), ("float64", NumpyBackend()))
    )
    assert isinstance(stepper, DeviceStepper)
    shapes = [[array.shape for array in state] for state in stepper._own._states]
    apart = []
    for token in (5, 8, 5, 32, 0, 9):
        state = [(), *(tuple(rounded(rng.uniform(-1, 1, shape)) for shape in of_layer) for of_layer in shapes)]
        for one in (stepper, reference, plain):
            one.load(state)
        found, expected, unrounded = (one.next_log_probs(token) for one in (stepper, reference, plain))
        apart.append([np.abs(one - expected).max() for one in (found, unrounded)])
    error, rounding = np.max(apart, axis=0)
    assert error < 1e-5 < 1e-3 < rounding, apart

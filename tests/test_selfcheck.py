"""The check of a machine: it passes on this one, and does not where something is wrong."""

import numpy as np
import pytest

from charlm import selfcheck
from charlm.backends import NumpyBackend
from charlm.nn.cells import CELLS
from charlm.nn.recurrent import Recurrent
from charlm.selfcheck import checks
from tests.bfloat16 import RoundedProducts, RoundingBackend
from tests.cuda import cupy_backend

CELL_COUNT = sum(map(len, CELLS.values()))


@pytest.mark.slow
def test_the_processor_passes():
    found = list(checks(NumpyBackend()))
    assert len(found) == CELL_COUNT + 1
    assert all(check.passed and check.seconds > 0 for check in found), found


def test_the_gpus_backend_passes_on_the_host_and_all_of_it_is_checked(monkeypatch):
    ops = cupy_backend()
    some = {"lstm": {"": CELLS["lstm"][""]}}  # every cell: tests/cuda/test_parity.py
    monkeypatch.setitem(selfcheck._SMALL, "hidden_size", 1)  # a kernel on the host takes long to begin
    monkeypatch.setattr(selfcheck, "CELLS", some)
    called = set()
    functions = "matmul one_hot_product one_hot_grad row_sums lookup lookup_grad move_columns log_softmax cross_entropy"
    functions += " adam norm clipping dropout"
    for name in functions.split():
        method = getattr(type(ops), name)

        def watched(self, *args, name=name, method=method, **kwargs):
            called.add(name)
            return method(self, *args, **kwargs)

        monkeypatch.setattr(type(ops), name, watched)
    found = list(checks(ops))
    assert len(found) == 1 + 1 + 2 * (14 + 1 + 1)
    assert all(check.passed for check in found), [check for check in found if not check.passed]
    assert len(called) == 13


@pytest.mark.parametrize("factor", [1.0, 1.2])
def test_products_in_bfloat16_are_checked_where_there_are_any(monkeypatch, factor):
    class Machine(RoundingBackend):
        core = "v4"

    def matmul(self, a, b, *, out, add=False, rounding=RoundedProducts.matmul):
        rounding(self, factor * a, b, out=out, add=add)

    monkeypatch.setattr(RoundedProducts, "matmul", matmul)
    monkeypatch.setattr(selfcheck, "CELLS", {"lstm": {"": CELLS["lstm"][""]}})
    found = [check.passed for check in checks(Machine()) if check.dtype == "bfloat16"]
    assert found == [factor == 1.0] * 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda self, vector: 1.00003 * np.linalg.norm(self.numpy(vector)),
        lambda self, vector: float("nan"),
    ],
)
def test_a_function_that_is_wrong_fails(monkeypatch, wrong):
    ops = cupy_backend()
    monkeypatch.setattr(type(ops), "norm", wrong)
    monkeypatch.setattr(selfcheck, "CELLS", {})
    monkeypatch.setattr(selfcheck, "_gradients", lambda ops, what, config: selfcheck.Check(what, "float64", 0, 0, 0))
    for check in checks(ops):
        assert check.passed == (check.what != "norm")
        if check.what == "norm":
            return
    pytest.fail("the norm is not checked")


@pytest.mark.slow
def test_a_gradient_that_is_wrong_fails(monkeypatch):
    backward = Recurrent.backward
    monkeypatch.setattr(Recurrent, "backward", lambda self, dy, d_state, ws: backward(self, dy * 1.0001, d_state, ws))
    assert not any(check.passed for check in checks(NumpyBackend()))

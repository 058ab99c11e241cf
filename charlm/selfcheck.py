"""Checks that this machine computes correctly, for a person with a GPU or an unusual processor.

Gradients are compared with central differences in float64. The functions and training steps of a GPU and of the
compiled core are compared with NumPy's, in float32 and float64. Where there are products in bfloat16, they are compared
with NumPy's in float32.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from charlm.backends import Array, Backend, NumpyBackend
from charlm.config import ModelConfig, cell_fields
from charlm.errors import ResourceError
from charlm.nn.build import build
from charlm.nn.cells import CELLS
from charlm.nn.model import Model
from charlm.text.batches.lanes import Batch
from charlm.training import OPTIMIZERS

_STEP = 4e-3  # h of the central differences, which take six points
_STENCIL = {1: 45 / 60, 2: -9 / 60, 3: 1 / 60}
_GRADIENT_BAR = 1e-6
# Largest difference from NumPy, relative to the largest number; of bfloat16 from float32, which has 16 more bits.
_BARS = {"float32": 2e-5, "float64": 1e-12, "bfloat16": 0.1}
_SMALL: dict[str, Any] = {"hidden_size": 3, "num_layers": 1, "dtype": "float64"}
_ADAPTIVE = "an adaptive softmax"
_KEY = 0x1234_5678_9ABC_DEF1


@dataclass(frozen=True)
class Check:
    """The result of one comparison.

    difference: the largest one, relative to the largest number
    bar: the largest difference that rounding explains
    seconds: time of the backend
    """

    what: str
    dtype: str
    difference: float
    bar: float
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the difference is within the bar; NaN is not."""
        return self.difference <= self.bar


def checks(ops: Backend) -> Iterator[Check]:
    """Yield the result of each check of a backend as soon as it is complete."""
    for name, variants in CELLS.items():
        for variant in variants:
            yield _gradients(ops, _named(name, variant), _config(name, variant, 4, **_SMALL))
    yield _gradients(ops, _ADAPTIVE, ModelConfig(4, softmax="adaptive", **_SMALL))
    if ops.core == NumpyBackend.core:
        return
    for dtype in ("float32", "float64"):
        for what, function in _FUNCTIONS.items():
            yield _compared(what, dtype, ops, partial(_called, function, dtype))
        yield from _trainings(ops, dtype, dtype)
    try:
        rounding = ops.in_precision("bfloat16")
    except ResourceError:
        return
    yield from _trainings(rounding, "bfloat16", "float32")


def _trainings(ops: Backend, dtype: str, arrays: str) -> Iterator[Check]:
    """Yield the checks of training steps; dtype, arrays: of the products and of the arrays."""
    for name, variants in CELLS.items():
        for variant in variants:
            what = f"training steps of {_named(name, variant)}"
            config = _config(name, variant, 40, hidden_size=32, dropout=0.2, dense=(24,), dtype=arrays)
            yield _compared(what, dtype, ops, partial(_trained, config))
    config = ModelConfig(40, softmax="adaptive", hidden_size=32, dtype=arrays)
    yield _compared(f"training steps of {_ADAPTIVE}", dtype, ops, partial(_trained, config))


def _named(name: str, variant: str) -> str:
    return f"{name} ({variant})" if variant else name


def _config(name: str, variant: str, vocabulary_size: int, **options: Any) -> ModelConfig:
    return ModelConfig(vocabulary_size, **cell_fields(name, variant), **options)


def _batch(vocabulary_size: int, steps: int, lanes: int) -> Batch:
    """Return a batch whose lanes contain starts of sequences and a step without a target."""
    rng = np.random.default_rng(1)
    inputs, targets = rng.integers(0, vocabulary_size, (2, steps, lanes), dtype=np.int32)
    starts = rng.random((steps, lanes)) < 0.1
    inputs[starts] = -1
    targets[steps // 2, 0] = -1
    return Batch(inputs, targets, starts)


def _gradients(ops: Backend, what: str, config: ModelConfig) -> Check:
    """Compare the gradients of a small network with central differences.

    dL/dw = sum_i f_i (L(w + i h) - L(w - i h)) / h for i = 1, 2, 3, with f = (45, -9, 1) / 60.
    """
    model = build(config, ops)
    batch, ws = _batch(4, 4, 2), model.workspace()
    weights = np.random.default_rng(3).normal(0, 0.8, model.parameters.values.shape)

    def loss() -> float:
        model.parameters.values[...] = ops.array(weights)
        return float(model.nats(batch, model.zero_state(2), ws)[0].sum()) / batch.count

    begin = time.perf_counter()
    numeric = np.empty(weights.shape)
    for index, value in enumerate(weights.copy()):
        slope = 0.0
        for number, factor in _STENCIL.items():
            for sign in (1, -1):
                weights[index] = value + sign * number * _STEP
                slope += sign * factor * loss()
        weights[index] = value
        numeric[index] = slope / _STEP
    loss()
    model.loss_and_grads(batch, model.zero_state(2), model.workspace())
    seconds = time.perf_counter() - begin
    apart = _apart([ops.numpy(model.parameters.grads)], [numeric])
    return Check(f"gradients of {what}", "float64", apart, _GRADIENT_BAR, seconds)


def _compared(what: str, dtype: str, ops: Backend, work: Callable[[Backend], list[np.ndarray]]) -> Check:
    """Compare the results of the same work on a backend and on NumPy."""
    expected = work(NumpyBackend())
    work(ops)  # the first run compiles the kernels
    begin = time.perf_counter()
    found = work(ops)
    return Check(what, dtype, _apart(found, expected), _BARS[dtype], time.perf_counter() - begin)


def _apart(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Return the largest difference, relative to the largest number of its array; infinity if shapes differ."""
    worst = 0.0
    for one, other in zip(found, expected, strict=True):
        if one.shape != other.shape or one.dtype != other.dtype:
            return np.inf
        size = max(float(np.abs(other).max(initial=0.0)), 1e-30)
        worst = float(np.maximum(worst, np.abs(one - other).max(initial=0.0) / size))  # NaN stays NaN
    return worst


def _called(function: Callable[[Backend, str], np.ndarray], dtype: str, ops: Backend) -> list[np.ndarray]:
    return [function(ops, dtype)]


def _trained(config: ModelConfig, ops: Backend) -> list[np.ndarray]:
    """Return the losses and norms of three steps of Adam, the last gradients, the weights, and the nats afterwards."""
    model: Model = build(config, ops, seed=1)
    optimizer, batch, ws = OPTIMIZERS["adam"](model.parameters, ops), _batch(40, 12, 16), model.workspace()
    state, losses = model.zero_state(16), []
    for count in (1, 2, 3):
        loss, state = model.loss_and_grads(batch, state, ws, noise=_KEY + count)
        losses += [float(loss), float(ops.norm(model.parameters.grads))]
        grads = ops.numpy(model.parameters.grads)
        optimizer.step(count, 0.002, 0.5)
    nats, _ = model.nats(batch, state, ws)
    return [np.array(losses), grads, ops.numpy(model.parameters.values), nats]


def _numbers(ops: Backend, dtype: str, *shape: int) -> Array:
    return ops.array(np.random.default_rng(2).normal(0, 1, shape), dtype)


def _matmul(ops: Backend, dtype: str) -> np.ndarray:
    """Multiply blocks of columns, one transposed, into a part of a larger matrix."""
    a, out = _numbers(ops, dtype, 70, 90), ops.zeros((70, 99), dtype)
    ops.matmul(a[:, 20:], a[:, :70].T, out=out[:, 9:79])
    return ops.numpy(out)


def _matmul_of_steps(ops: Backend, dtype: str) -> np.ndarray:
    out = ops.zeros((5, 30, 8), dtype)
    ops.matmul(_numbers(ops, dtype, 30, 20), _numbers(ops, dtype, 5, 20, 8), out=out)
    return ops.numpy(out)


def _ids(size: int) -> np.ndarray:
    return np.random.default_rng(4).integers(-1, size, (12, 7))


def _one_hot(ops: Backend, dtype: str) -> np.ndarray:
    x1, zx, grad = ops.empty((10, 84), dtype), ops.empty((6, 84), dtype), ops.empty((6, 10), dtype)
    ops.one_hot_product(_numbers(ops, dtype, 6, 10), _ids(9), x1=x1, out=zx)
    ops.one_hot_grad(zx, _ids(9), x1=x1, out=grad)
    return np.concatenate([ops.numpy(zx), ops.numpy(grad)], axis=1)


def _row_sums(ops: Backend, dtype: str) -> np.ndarray:
    out = ops.empty((9, 1), dtype)
    ops.row_sums(_numbers(ops, dtype, 9, 40), out=out)
    return ops.numpy(out)


def _lookup(ops: Backend, dtype: str) -> np.ndarray:
    out = ops.empty((12, 5, 7), dtype)
    ops.lookup(_numbers(ops, dtype, 9, 5), _ids(9), out=out)
    return ops.numpy(out)


def _lookup_grad(ops: Backend, dtype: str) -> np.ndarray:
    out = _numbers(ops, dtype, 9, 5)
    ops.lookup_grad(_numbers(ops, dtype, 12, 6, 7)[:, 1:], _ids(9), table_grad=out)
    return ops.numpy(out)


def _move_columns(ops: Backend, dtype: str) -> np.ndarray:
    out, n = ops.zeros((4, 6, 7), dtype), np.arange(4)
    ops.move_columns(_numbers(ops, dtype, 5, 6, 7), (n + 1, n), out=out, to=(n[::-1], n + 2))
    return ops.numpy(out)


def _log_softmax(ops: Backend, dtype: str) -> np.ndarray:
    logits = _numbers(ops, dtype, 300, 84)
    ops.log_softmax(logits)
    return ops.numpy(logits)


def _cross_entropy(ops: Backend, dtype: str) -> np.ndarray:
    """Return the losses above their gradients."""
    logits = _numbers(ops, dtype, 300, 84)
    losses = ops.numpy(ops.cross_entropy(logits, _ids(300).ravel(), scale=0.5))
    return np.vstack([losses, ops.numpy(logits)])


def _adam(ops: Backend, dtype: str) -> np.ndarray:
    """Return weights and moments after a step."""
    w, g, m, v = (_numbers(ops, dtype, 5_000) for _ in range(4))
    np.abs(v, out=v)
    ops.adam(w, g, m, v, learning_rate=0.01, count=3, scale=0.5)
    return np.stack([ops.numpy(array) for array in (w, m, v)])


def _norm(ops: Backend, dtype: str) -> np.ndarray:
    return np.array(float(ops.norm(_numbers(ops, dtype, 100_003))))


def _clipping(ops: Backend, dtype: str) -> np.ndarray:
    vector = _numbers(ops, dtype, 5_000)
    factor = ops.clipping(ops.norm(vector), 1.0, dtype)
    vector *= 1.0 if factor is None else factor
    return ops.numpy(vector)


def _dropout(ops: Backend, dtype: str) -> np.ndarray:
    out = ops.empty((9, 31, 8), dtype)
    ops.dropout(_numbers(ops, dtype, 9, 40, 8)[:, 9:], rate=0.4, key=_KEY, out=out)
    return ops.numpy(out)


_FUNCTIONS: dict[str, Callable[[Backend, str], np.ndarray]] = {
    "copies there and back": lambda ops, dtype: ops.numpy(ops.array(_numbers(ops, dtype, 5, 7).T)),
    "products": _matmul,
    "products of steps": _matmul_of_steps,
    "products with one-hot columns": _one_hot,
    "sums": _row_sums,
    "look-up": _lookup,
    "gradient of the look-up": _lookup_grad,
    "columns moved": _move_columns,
    "softmax": _log_softmax,
    "cross-entropy": _cross_entropy,
    "Adam": _adam,
    "norm": _norm,
    "clipping": _clipping,
    "dropout": _dropout,
}

"""What a step costs on a GPU, counted on the host; and that nothing in it waits, moves memory or leaves the device."""

import ast
import inspect
import textwrap

import numpy as np
import pytest

from charlm.nn.cells import CELLS
from charlm.nn.grads import Grads
from charlm.nn.recurrent import Recurrent
from charlm.nn.workspace import Workspace
from tests.cuda import hostcupy
from tests.gradcheck import KINDS, each_kind

# Kernels and products of a step of a cell, forward and backward; the product and one kernel are the least.
COSTS = {
    "rnn": ((1, 1), (1, 1)),
    "lstm": ((1, 1), (1, 1)),
    "lstm-peephole": ((1, 1), (1, 1)),
    "gru-simple": ((1, 1), (1, 1)),
    "gru": ((1, 1), (1, 1)),
}
BEFORE = ((2, 2), (2, 2))  # the gru that has two products


@pytest.fixture
def layer_of(ops):
    """Make a recurrent layer on the device, and what to run it with."""

    def make(cell, variant, T, H=5, B=3):
        layer = Recurrent(CELLS[cell][variant](ops, 4, H))
        rng = np.random.default_rng(30)
        values, grads = (
            {name: ops.array(rng.normal(0, 0.5, shape), "float32") for name, shape in layer.shapes().items()}
            for _ in range(2)
        )
        layer.bind(values, Grads(grads, ops))
        x, dy = (ops.array(rng.normal(0, 1, (T, n, B)), "float32") for n in (4, H))
        return layer, x, dy

    return make


def counted(work):
    before = hostcupy.counts.copy()
    result = work()
    return hostcupy.counts - before, result


def passes(layer, x, dy):
    """Count a pass forward and one backward, after one that made the buffers."""
    ws = Workspace(layer.ops, "float32")
    state = layer.zero_state(x.shape[-1])
    for _ in range(2):
        forward, _ = counted(lambda: layer.forward(x, state, ws))
        backward, _ = counted(lambda: layer.backward(dy, (), ws))
    return forward, backward


@each_kind
def test_kernels_and_products_of_a_step(layer_of, cell, variant):
    """The difference of a pass over 20 steps to one over 10, so that what is done once for all steps does not count."""
    few, many = passes(*layer_of(cell, variant, 10)), passes(*layer_of(cell, variant, 20))
    found = tuple(
        tuple((two[what] - one[what]) / 10 for what in ("launches", "products"))
        for one, two in zip(few, many, strict=True)
    )
    assert found == (BEFORE if variant == "before" else COSTS[cell])
    for one, two in zip(few, many, strict=True):
        for what in ("uploads", "downloads", "allocations"):
            assert one[what] == two[what], f"{what} grow with the steps"


@each_kind
def test_a_step_does_not_wait(layer_of, cell, variant):
    """Forward and backward as the layers call them, and the way of memory, transfers and host numbers is closed."""
    layer, x, dy = layer_of(cell, variant, 4)
    ws = Workspace(layer.ops, "float32")
    layer.forward(x, layer.zero_state(3), ws)
    layer.backward(dy, (), ws)
    steps, calls = layer.scan(ws)._now.steps, 0
    with hostcupy.no_waiting():
        for arrays in steps.arrays:
            steps.run_step(arrays)
        for arrays in reversed(steps.arrays):
            steps.run_back(arrays)
            calls += 1
    assert calls == 4


def test_what_makes_a_step_wait_is_refused(ops):
    array = ops.zeros((3,), "float32")
    for work in (
        lambda: ops.zeros((3,), "float32"),
        lambda: array * 2.0,
        lambda: ops.array(np.ones(3)),
        lambda: ops.numpy(array),
        lambda: float(array[0]),
        lambda: bool(array[0] > 0),
        lambda: array.sum(),
        lambda: array.copy(),
    ):
        with hostcupy.no_waiting(), pytest.raises(AssertionError, match="within a step"):
            work()


# --- the same, read off the code: also where a branch is not taken in a test ----------------------------------------

WAITING = {"array", "numpy", "empty", "zeros", "ones", "full", "asarray", "concatenate", "copy", "astype", "where"}
WAITING |= {"get", "item", "tolist", "float", "int", "bool", "len", "any", "all", "sum", "max", "min", "norm", "dot"}
METHODS = ("step", "step_back")
MORE_METHODS = ("activate", "slope", "update", "update_back", "memory", "memory_back", "relevance", "relevance_back")


def waits(source):
    """Give a sentence for each place of a function that makes new arrays, or asks the device for something."""
    found = []
    tree = ast.parse(textwrap.dedent(source))
    apart = [part for part in ast.walk(tree) if isinstance(part, ast.Slice)]
    apart += [part.annotation for part in ast.walk(tree) if isinstance(part, ast.arg) and part.annotation]
    not_of_arrays = {id(node) for part in apart for node in ast.walk(part)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            owner = getattr(getattr(node.func, "value", None), "id", "")
            if name in WAITING:
                found.append(f"{name}() in line {node.lineno}")
            elif owner == "np" and "out" not in {word.arg for word in node.keywords}:
                found.append(f"np.{name}() without out= in line {node.lineno}")
        elif isinstance(node, ast.BinOp | ast.UnaryOp) and id(node) not in not_of_arrays and _of_arrays(node):
            found.append(f"a new array in line {node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.If | ast.While | ast.IfExp) and _asks_for_a_number(node.test):
            found.append(f"a choice by a number of the device in line {node.lineno}")
    return found


def _asks_for_a_number(test):
    is_of_the_host = isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Is | ast.IsNot)
    return "s." in ast.unparse(test) and not is_of_the_host


def _of_arrays(node):
    if isinstance(node.op, ast.Not):
        return False  # of a switch on the host: choices by numbers of the device are found by themselves
    return any(isinstance(part, ast.Name | ast.Attribute | ast.Call) for part in ast.walk(node))


def step_functions():
    """Return the source of every function that is called step by step, by name."""
    from charlm.backends.cupy import cells, scan

    functions = [scan._all_steps, scan._all_steps_back, scan._Steps.run_step, scan._Steps.run_back]
    functions += [cells.CellKernel.__call__, cells._Variant.__call__]
    for cell, variant in KINDS:
        kind = CELLS[cell][variant]
        more = [name for name in MORE_METHODS if hasattr(kind, name)]
        functions += [getattr(kind, name) for name in (*METHODS, *more)]
    return {function.__qualname__: inspect.getsource(function) for function in functions}


def test_the_code_of_a_step_makes_nothing_wait(ops):
    found = {name: waits(source) for name, source in step_functions().items()}
    assert len(found) > 25
    assert not {name: sentences for name, sentences in found.items() if sentences}


@pytest.mark.parametrize(
    "line",
    [
        "s.z[...] = s.a + s.z",
        "s.z *= 1.0 - s.a",
        "s.z += -s.a",
        "np.tanh(s.z)",
        "x = s.a.copy()",
        "x = self.ops.empty((3,), 'float32')",
        "x = float(s.a[0])",
        "x = s.a.sum()",
        "x = self.ops.numpy(s.a)",
        "s.a *= np.where(s.z, 1, 0)",
        "if s.a[0] > 0: pass",
    ],
)
def test_code_that_waits_is_seen(line):
    assert waits(f"def step(self, s):\n    {line}\n")


@pytest.mark.parametrize(
    "line",
    [
        "np.tanh(s.z, out=s.z)",
        "s.z *= 0.5",
        "x = s.W_a[2 * self.hidden :]",
        "s.z[:-1] = 0",
        "if not self.x: 1",
        "if s.x is None: 1",
    ],
)
def test_code_that_does_not_is_let_be(line):
    assert not waits(f"def step(self, s):\n    {line}\n")

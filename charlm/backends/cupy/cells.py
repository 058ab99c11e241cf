"""The recurrent cells' steps on the GPU: what stands beside the product is one kernel, forward and backward.

A kernel `..._step` goes on from z = W_a a<t-1>: it adds what x<t> brings, and does what the cell's `activate` does. A
kernel `..._step_back` takes dL/da<t> in two parts, what came back in time and what comes from above, and gives dz at
once: the factors that `slopes` makes for many steps would be written only to be read again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import cupy

from charlm.backends.base import Array

_Variant = tuple[Any, Callable[[Any], Sequence[Array]], Callable[[Any], Sequence[Array]]]
_SIGMA = """
template <typename R> __device__ R sigma(R x) { return R(0.5) * (R(1) + tanh(R(0.5) * x)); }
"""


class CellKernel:
    """A pointwise function of the arrays of a step `s`, all [H, B], and of parameters beside them, [H, 1].

    Where sequences may start, `s.keep` [B] is 0 where one starts at the next step, and else 1: the state that goes on
    is multiplied with it, and so is, on the way back, what came from there.

    reads, writes: names of the arrays in `s`, those that are read and written among the latter; beside: of parameters
    """

    def __init__(self, name: str, reads: str, writes: str, body: str, beside: str = "") -> None:
        self.name = name
        self._plain = self._variant(name, reads, beside, writes, body)
        cut = self.with_starts(reads, beside, writes, body)
        self._cut = self._plain if cut is None else self._variant(f"{name}_cut", *cut)

    @staticmethod
    def with_starts(reads: str, beside: str, writes: str, body: str) -> tuple[str, str, str, str] | None:
        """Give the arrays and the body of the kernel where sequences may start; None where these are the same."""
        if "a_new" not in writes:
            return None
        memory = "c_new *= keep;" if "c_new" in writes else ""
        return f"{reads} keep", beside, f"{writes} a_next", f"{body} a_next = a_new * keep; {memory}"

    @staticmethod
    def _variant(name: str, reads: str, beside: str, writes: str, body: str) -> _Variant:
        given = ", ".join(f"T {one}" for one in [*reads.split(), *beside.split()])
        taken = ", ".join(f"T {one}" for one in writes.split())
        kernel = cupy.ElementwiseKernel(given, taken, body, name, preamble=_SIGMA, no_return=True)
        return kernel, _getter(reads.split()), _getter(writes.split())

    @property
    def names(self) -> set[str]:
        """The names of the kernels that it has."""
        return {self._plain[0].name, self._cut[0].name}

    def __call__(self, s: SimpleNamespace, *beside: Array) -> None:
        """Run on the arrays of `s`."""
        kernel, read, written = self._plain if s.keep is None else self._cut
        kernel(*read(s), *beside, *written(s))


class BackKernel(CellKernel):
    """The way back through a step, from s.back and s.above, both parts of dL/da<t>.

    Where `dc` is written, it is dL/dc<t> on entry and dL/dc<t-1> on exit.
    """

    def __init__(self, name: str, reads: str, writes: str, body: str, beside: str = "") -> None:
        super().__init__(name, f"{reads} back above", writes, f"const T da = back + above; {body}", beside)

    @staticmethod
    def with_starts(reads: str, beside: str, writes: str, body: str) -> tuple[str, str, str, str] | None:
        memory = "dc *= keep;" if "dc" in writes.split() else ""
        return f"{reads} keep", beside, writes, f"{memory} {body.replace('back + above', 'back * keep + above')}"


def _getter(names: list[str]) -> Callable[[Any], Sequence[Array]]:
    """Give a function that gives the attributes of these names, always as a sequence."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda s: [getattr(s, name) for name in names]


def _add_input(gates: str) -> str:
    return " ".join(f"z_{gate} += zx_{gate};" for gate in gates)


def _names(prefix: str, gates: str) -> str:
    return " ".join(f"{prefix}_{gate}" for gate in gates)


_LSTM = """
z_u = sigma(z_u); z_f = sigma(z_f); z_o = sigma(z_o); z_c = tanh(z_c);
c_new = z_u * z_c + z_f * c_old;
tanh_c = tanh(c_new);
a_new = z_o * tanh_c;"""
_LSTM_BACK = """
dc += da * z_o * (T(1) - tanh_c * tanh_c);
dz_o = da * tanh_c * z_o * (T(1) - z_o);
dz_u = dc * z_c * z_u * (T(1) - z_u);
dz_f = dc * c_old * z_f * (T(1) - z_f);
const T e = dc * z_u * (T(1) - z_c * z_c);
dc *= z_f;"""
_UPDATE = "z_c = tanh(z_c); a_new = a + z_u * (z_c - a);"
_UPDATE_BACK = """
dz_u = da * (z_c - a) * z_u * (T(1) - z_u);
const T e = da * z_u * (T(1) - z_c * z_c);
d_a = da * (T(1) - z_u);"""
_RELEVANT = "inner = z_c - b_c; z_c = inner * gamma_r + b_c;"
_RELEVANT_BACK = """
dz_c = e * z_r;
const T beside = e * (T(1) - z_r);
dz_r = beside * inner * z_r;
inner = beside;"""

_ALL = [
    CellKernel("rnn_tanh_step", "zx", "z a_new", "z = tanh(z + zx); a_new = z;"),
    BackKernel("rnn_tanh_step_back", "z", "dz", "dz = da * (T(1) - z * z);"),
    CellKernel("rnn_relu_step", "zx", "z a_new", "z += zx; z = z > T(0) || z != z ? z : T(0); a_new = z;"),
    BackKernel("rnn_relu_step_back", "z", "dz", "dz = z > T(0) ? da : T(0);"),
    CellKernel("gru_simple_step", "a zx_u zx_c", "z_u z_c a_new", f"{_add_input('uc')} z_u = sigma(z_u); {_UPDATE}"),
    BackKernel("gru_simple_step_back", "a z_u z_c", "dz_u dz_c d_a", f"{_UPDATE_BACK} dz_c = e;"),
    CellKernel(
        "gru_after_step",
        "a zx_u zx_r zx_c",
        "z_u z_r z_c z_ca a_new",
        f"""
        {_add_input("ur")} z_u = sigma(z_u); z_r = sigma(z_r);
        z_ca = z_c + b_ca;
        z_c = z_r * z_ca + zx_c;
        {_UPDATE}""",
        beside="b_ca",
    ),
    BackKernel(
        "gru_after_step_back",
        "a z_u z_r z_c z_ca",
        "dz_ca dz_u dz_r dz_c d_a",
        f"{_UPDATE_BACK} dz_c = e; dz_ca = e * z_r; dz_r = dz_ca * z_ca * (T(1) - z_r);",
    ),
    CellKernel(
        "gru_before_gates_step",
        "a zx_u zx_r",
        "z_u z_r relevant",
        f"{_add_input('ur')} z_u = sigma(z_u); z_r = sigma(z_r); relevant = z_r * a;",
    ),
    CellKernel("gru_before_step", "a z_u zx_c", "z_c a_new", f"z_c += zx_c; {_UPDATE}"),
    BackKernel("gru_before_step_back", "a z_u z_c", "dz_u dz_c d_a", f"{_UPDATE_BACK} dz_c = e;"),
    CellKernel(
        "gru_before_merge_step_back",
        "z_r relevant e",
        "dz_r d_a",
        "dz_r = relevant * (T(1) - z_r) * e; d_a += z_r * e;",
    ),
    CellKernel(
        "gru_both_step",
        "a zx_u zx_r zx_c",
        "z_u z_r z_c inner a_new",
        f"""
        {_add_input("urc")} z_u = sigma(z_u); z_r = sigma(z_r);
        const T gamma_r = z_r; {_RELEVANT} {_UPDATE}""",
        beside="b_c",
    ),
    BackKernel("gru_both_step_back", "a z_u z_r z_c", "dz_u dz_r dz_c inner d_a", _UPDATE_BACK + _RELEVANT_BACK),
    CellKernel(
        "lstm_step",
        f"c_old {_names('zx', 'ufoc')}",
        "z_u z_f z_o z_c c_new tanh_c a_new",
        _add_input("ufoc") + _LSTM,
    ),
    BackKernel(
        "lstm_step_back",
        "z_u z_f z_o z_c c_old tanh_c",
        f"{_names('dz', 'ufoc')} dc",
        f"{_LSTM_BACK} dz_c = e;",
    ),
    CellKernel(
        "lstm_peephole_step",
        f"c_old {_names('zx', 'ufoc')}",
        "z_u z_f z_o z_c c_new tanh_c a_new",
        f"{_add_input('ufoc')} z_u += P_u * c_old; z_f += P_f * c_old; z_o += P_o * c_old; {_LSTM}",
        beside="P_u P_f P_o",
    ),
    BackKernel(
        "lstm_peephole_step_back",
        "z_u z_f z_o z_c c_old tanh_c",
        f"{_names('dz', 'ufoc')} dc",
        f"{_LSTM_BACK} dz_c = e; dc += P_u * dz_u + P_f * dz_f + P_o * dz_o;",
        beside="P_u P_f P_o",
    ),
    CellKernel(
        "lstm_relevance_step",
        f"c_old {_names('zx', 'uforc')}",
        "z_u z_f z_o z_r z_c inner c_new tanh_c a_new",
        f"{_add_input('uforc')} z_r = sigma(z_r); const T gamma_r = z_r; {_RELEVANT} {_LSTM}",
        beside="b_c",
    ),
    BackKernel(
        "lstm_relevance_step_back",
        "z_u z_f z_o z_r z_c c_old tanh_c",
        f"{_names('dz', 'uforc')} inner dc",
        _LSTM_BACK + _RELEVANT_BACK,
    ),
]

CELL_KERNELS: Mapping[str, Callable[..., Any]] = {kernel.name: kernel for kernel in _ALL}

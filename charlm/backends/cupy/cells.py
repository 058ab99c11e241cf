"""The equations of the recurrent cells as CUDA kernels: apart from its products, a step is one kernel, or two.

The letters are those of `charlm.nn.cells`; `e` is the gradient of the argument of the candidate's tanh. A kernel `step`
goes on from z = W_a a<t-1>. A kernel `back` computes dz from both parts of dL/da<t>: the array `back` is from the next
step, `above` from the layer above.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cupy

from charlm.backends.base import Array

_SIGMA = """
template <typename R> __device__ R sigma(R x) { return R(0.5) * (R(1) + tanh(R(0.5) * x)); }
"""


class CellKernel:
    """A pointwise function of arrays of a step, [H, B], and of parameters, [H, 1], all by their names.

    Where sequences may start, the array `continues` [B] is 0 where one starts at the next step, else 1. The state that
    goes on is multiplied with it: `a_next` is a<t> times it, and c<t> is overwritten.

    reads, writes: names of the arrays; those that are read and written are among the latter
    """

    def __init__(self, name: str, reads: str, writes: str, body: str) -> None:
        self.name, self.writes = name, frozenset(writes.split())
        self._plain = _Variant(name, reads, writes, body)
        self._starting = self._plain
        if "a_new" in self.writes:
            memory = "c_new *= continues;" if "c_new" in self.writes else ""
            body = f"{body} a_next = a_new * continues; {memory}"
            self._starting = _Variant(f"{name}_starting", f"{reads} continues", f"{writes} a_next", body)

    @property
    def names(self) -> set[str]:
        """The names of the CUDA kernels."""
        return {self._plain.kernel.name, self._starting.kernel.name}

    def __call__(self, arrays: Mapping[str, Array]) -> None:
        """Run on the arrays of a step; `continues` is among them where sequences may start."""
        (self._starting if "continues" in arrays else self._plain)(arrays)


class BackKernel(CellKernel):
    """The way back through a step; `dc`, where written, is dL/dc<t> on entry and dL/dc<t-1> on exit."""

    def __init__(self, name: str, reads: str, writes: str, body: str) -> None:
        reads = f"{reads} back above"
        super().__init__(name, reads, writes, f"const T da = back + above; {body}")
        memory = "dc *= continues;" if "dc" in self.writes else ""
        body = f"{memory} const T da = back * continues + above; {body}"
        self._starting = _Variant(f"{name}_starting", f"{reads} continues", writes, body)


class _Variant:
    """A kernel and the names of its arguments, in order."""

    def __init__(self, name: str, reads: str, writes: str, body: str) -> None:
        self.arguments = [*reads.split(), *writes.split()]
        given, taken = (", ".join(f"T {one}" for one in names.split()) for names in (reads, writes))
        self.kernel: Any = cupy.ElementwiseKernel(given, taken, body, name, preamble=_SIGMA, no_return=True)

    def __call__(self, arrays: Mapping[str, Array]) -> None:
        self.kernel(*(arrays[name] for name in self.arguments))


@dataclass(frozen=True)
class CellKernels:
    """The kernels of a cell.

    gates, merge: of a cell whose candidate has a product of its own: what comes before that product, and on the way
    back after it
    """

    step: CellKernel
    back: BackKernel
    gates: CellKernel | None = None
    merge: CellKernel | None = None

    @property
    def all(self) -> list[CellKernel]:
        """All kernels."""
        return [kernel for kernel in (self.step, self.back, self.gates, self.merge) if kernel is not None]


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
const T share = e * (T(1) - z_r);
dz_r = share * inner * z_r;
inner = share;"""

CELLS: Mapping[str, CellKernels] = {
    "rnn-tanh": CellKernels(
        CellKernel("rnn_tanh_step", "zx", "z a_new", "z = tanh(z + zx); a_new = z;"),
        BackKernel("rnn_tanh_step_back", "z", "dz", "dz = da * (T(1) - z * z);"),
    ),
    "rnn-relu": CellKernels(
        CellKernel("rnn_relu_step", "zx", "z a_new", "z += zx; z = z > T(0) || z != z ? z : T(0); a_new = z;"),
        BackKernel("rnn_relu_step_back", "z", "dz", "dz = z > T(0) ? da : T(0);"),
    ),
    "gru-simple": CellKernels(
        CellKernel(
            "gru_simple_step", "a zx_u zx_c", "z_u z_c a_new", f"{_add_input('uc')} z_u = sigma(z_u); {_UPDATE}"
        ),
        BackKernel("gru_simple_step_back", "a z_u z_c", "dz_u dz_c d_a", f"{_UPDATE_BACK} dz_c = e;"),
    ),
    "gru-after": CellKernels(
        CellKernel(
            "gru_after_step",
            "a zx_u zx_r zx_c b_ca",
            "z_u z_r z_c z_ca a_new",
            f"""
            {_add_input("ur")} z_u = sigma(z_u); z_r = sigma(z_r);
            z_ca = z_c + b_ca;
            z_c = z_r * z_ca + zx_c;
            {_UPDATE}""",
        ),
        BackKernel(
            "gru_after_step_back",
            "a z_u z_r z_c z_ca",
            "dz_ca dz_u dz_r dz_c d_a",
            f"{_UPDATE_BACK} dz_c = e; dz_ca = e * z_r; dz_r = dz_ca * z_ca * (T(1) - z_r);",
        ),
    ),
    "gru-before": CellKernels(
        CellKernel("gru_before_step", "a z_u zx_c", "z_c a_new", f"z_c += zx_c; {_UPDATE}"),
        BackKernel("gru_before_step_back", "a z_u z_c", "dz_u dz_c d_a", f"{_UPDATE_BACK} dz_c = e;"),
        gates=CellKernel(
            "gru_before_gates_step",
            "a zx_u zx_r",
            "z_u z_r relevant",
            f"{_add_input('ur')} z_u = sigma(z_u); z_r = sigma(z_r); relevant = z_r * a;",
        ),
        merge=CellKernel(
            "gru_before_merge_step_back",
            "z_r relevant d_relevant",
            "dz_r d_a",
            "dz_r = relevant * (T(1) - z_r) * d_relevant; d_a += z_r * d_relevant;",
        ),
    ),
    "gru-both": CellKernels(
        CellKernel(
            "gru_both_step",
            "a zx_u zx_r zx_c b_c",
            "z_u z_r z_c inner a_new",
            f"""
            {_add_input("urc")} z_u = sigma(z_u); z_r = sigma(z_r);
            const T gamma_r = z_r; {_RELEVANT} {_UPDATE}""",
        ),
        BackKernel("gru_both_step_back", "a z_u z_r z_c", "dz_u dz_r dz_c inner d_a", _UPDATE_BACK + _RELEVANT_BACK),
    ),
    "lstm": CellKernels(
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
    ),
    "lstm-peephole": CellKernels(
        CellKernel(
            "lstm_peephole_step",
            f"c_old {_names('zx', 'ufoc')} P_u P_f P_o",
            "z_u z_f z_o z_c c_new tanh_c a_new",
            f"{_add_input('ufoc')} z_u += P_u * c_old; z_f += P_f * c_old; z_o += P_o * c_old; {_LSTM}",
        ),
        BackKernel(
            "lstm_peephole_step_back",
            "z_u z_f z_o z_c c_old tanh_c P_u P_f P_o",
            f"{_names('dz', 'ufoc')} dc",
            f"{_LSTM_BACK} dz_c = e; dc += P_u * dz_u + P_f * dz_f + P_o * dz_o;",
        ),
    ),
    "lstm-relevance": CellKernels(
        CellKernel(
            "lstm_relevance_step",
            f"c_old {_names('zx', 'uforc')} b_c",
            "z_u z_f z_o z_r z_c inner c_new tanh_c a_new",
            f"{_add_input('uforc')} z_r = sigma(z_r); const T gamma_r = z_r; {_RELEVANT} {_LSTM}",
        ),
        BackKernel(
            "lstm_relevance_step_back",
            "z_u z_f z_o z_r z_c c_old tanh_c",
            f"{_names('dz', 'uforc')} inner dc",
            _LSTM_BACK + _RELEVANT_BACK,
        ),
    ),
}

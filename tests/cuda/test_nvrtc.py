"""Every kernel of ours, as CuPy hands it to NVIDIA's compiler, compiled for old and new GPUs without one.

g++ takes names and headers that NVRTC does not know, so that it runs says nothing of that.
"""

import hashlib
import os

import numpy as np
import pytest

from charlm.backends.cupy.raw import ROOT, SQUARES
from tests.cuda import compiled, hostcupy
from tests.cuda.twins import NOISE, batch_for, differences, twins
from tests.gradcheck import KINDS, config_of
from tests.task_batches import BODIES

ARCHITECTURES = {"float32": (70, 120), "float64": (90,)}
FIRST_OF_13 = 75  # CUDA 13, which other packages of NVIDIA's may have brought along, knows none before
cupy = hostcupy.cupy
_OTHERS = {"one_hot", "lookup", "lookup_grad", "move_columns", "dropout", "adam"}
_OTHERS |= {"softmax_8", "softmax_64", "squares", "root", "clipping"}


def nvrtc(source, architecture):
    """Compile for an architecture and give the machine's code; what compiled once is kept in a folder."""
    compiler = pytest.importorskip("cupy.cuda.compiler")
    options = hostcupy.core.assemble_cupy_compiler_options(())
    options += ("--device-as-default-execution-space", f"-arch=sm_{architecture}")
    key = hashlib.sha256(repr((source, options, cupy.__version__)).encode()).hexdigest()[:24]
    kept = compiled.FOLDER / f"{key}.cubin"
    if not kept.exists():
        program = compiler._NVRTCProgram(source, "kernel.cu", (), (), method="cubin")
        code = program.compile(options, None)[0]
        compiled.FOLDER.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(code)
        unfinished.replace(kept)  # tests in other processes read it whole
    return kept.read_bytes()


def as_handed_over(*sources):
    """Give kernels' sources behind the headers that CuPy puts before one that it made itself.

    Each has a namespace of its own, so that the compiler reads the headers, which take it longest, once for all.
    """
    headers = "".join(f"#include <{header}>\n" for header in hostcupy.core._cupy_header_list)
    return headers + "".join(f"namespace kernel_{i} {{\n{source}\n}}\n" for i, source in enumerate(sources))


def every_source(ops):
    """Run all there is, and give the source of each kernel in both precisions, by name and precision."""
    for dtype in ("float32", "float64"):
        for kind in KINDS:
            config = config_of(*kind, dtype=dtype)
            for model in twins(config, ops)[1:]:
                stepper = model.stepper()
                stepper.next_log_probs(2)
            for body in ("", "no starts"):
                differences(*twins(config, ops), batch_for(config, body, np.random.default_rng(50)))
        config = config_of("lstm", "", **BODIES["classify"], dtype=dtype, dropout=0.5, embedding_size=3)
        batch = batch_for(config, "classify", np.random.default_rng(51))
        device = twins(config, ops)[1]
        device.loss_and_grads(batch, device.zero_state(batch.lanes), device.workspace(), noise=NOISE)
        ops.log_softmax(ops.zeros((600, 2), dtype))
        ops.clipping(ops.norm(ops.zeros((3,), dtype)), 1.0, dtype)
        w, g, m, v = (ops.zeros((9,), dtype) for _ in range(4))
        ops.adam(w, g, m, v, learning_rate=0.1, count=1, scale=1.0)
    sources = {}
    for name, source in hostcupy.SOURCES.items():
        short = name.split(" ")[0].removesuffix("_float").removesuffix("_double")
        single = name.endswith("_float") or "float32" in name
        precision = "float32" if single else "float64"
        sources[short, precision] = source
    return sources


def test_every_kernel_compiles_for_old_and_new_gpus(ops):
    sources = every_source(ops)
    from charlm.backends.cupy.cells import CELLS

    names = {name for name, _ in sources}
    of_cells = [kernel.names for kernels in CELLS.values() for kernel in kernels.all]
    known = _OTHERS.union(*of_cells)
    assert known <= names, known - names
    from cupy_backends.cuda.libs import nvrtc as compiler

    is_13 = compiler.getVersion() >= (13, 0)
    assert len(sources) >= 2 * len(known) - 1 and len(known) > 2 * len(of_cells)  # one sum is in double precision only
    for precision, architectures in ARCHITECTURES.items():
        of_it = {name: source for (name, kind), source in sources.items() if kind == precision}
        for architecture in architectures:
            if is_13 and architecture < FIRST_OF_13:
                continue
            code = nvrtc(as_handed_over(*of_it.values()), architecture)
            assert code[:4] == b"\x7fELF"
            assert all(name.encode() in code for name in of_it), "a kernel is not in the code"


def test_a_kernel_that_does_not_compile_is_seen_among_others(ops):
    wrong = 'extern "C" __global__ void wrong(float* x) { x[0] = nothing_of_the_kind; }'
    right = 'extern "C" __global__ void right(float* x) { x[0] = 1; }'
    with pytest.raises(Exception, match="nothing_of_the_kind"):
        nvrtc(as_handed_over(right, wrong), 90)
    for source in (SQUARES, ROOT):  # those of ours that take no header of CuPy's
        assert nvrtc(source.replace("REAL", "float"), 90)


def test_what_only_a_hosts_compiler_knows_is_refused(ops):
    source = 'extern "C" __global__ void f(float* x) { x[0] = INFINITY; }'
    assert compiled.library(source, "f", hostcupy.HEADERS)
    with pytest.raises(Exception, match="INFINITY"):
        nvrtc(source, 90)

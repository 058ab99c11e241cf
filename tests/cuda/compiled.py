"""CUDA C++ made to run on the processor: g++ compiles it once, and the library stays in a folder between runs."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SHIM = Path(__file__).with_name("cuda_on_cpu.h")
COMPILER = shutil.which("g++")
FLAGS = ["-O1", "-std=c++17", "-w", "-ffp-contract=off", "-fPIC"]
CARRAY = '#include "cupy/carray.cuh"'
FOLDER = Path(os.environ.get("CHARLM_KERNEL_CACHE", Path(tempfile.gettempdir()) / f"charlm-kernels-{os.getuid()}"))


def parameter_types(source: str, name: str) -> list[str]:
    """Give the types of a kernel's parameters, as its source has them."""
    found = re.search(rf"void\s+{name}\s*\((.*?)\)\s*{{", source, re.DOTALL)
    assert found, f"no kernel {name} in its source"
    parts, depth, part = [], 0, ""
    for letter in found[1] + ",":
        depth += (letter == "<") - (letter == ">")
        if letter == "," and not depth:
            parts.append(re.sub(r"\s*\b\w+$", "", part.replace("__restrict__", "").strip()))
            part = ""
        else:
            part += letter
    return parts


@cache
def read_once(headers: str) -> Path:
    """Give a header with what most kernels include, which takes longest to be read, and have it compiled beforehand."""
    whole = f'#include "{SHIM}"\n{CARRAY}\n'
    key = hashlib.sha256((whole + SHIM.read_text() + headers).encode()).hexdigest()[:24]
    header = FOLDER / f"{key}.h"
    if not header.with_suffix(".h.gch").exists():
        own = FOLDER / f"{key}.{os.getpid()}.h"
        own.write_text(whole)
        made = own.with_suffix(".gch")
        command = [COMPILER, *FLAGS, f"-I{headers}", "-x", "c++-header", own, "-o", made]
        is_made = not subprocess.run(command, capture_output=True, check=False).returncode
        os.replace(own, header)
        if is_made:  # without it, g++ reads the header itself
            os.replace(made, header.with_suffix(".h.gch"))
    return header


@cache
def library(source: str, name: str, headers: str) -> ctypes.CDLL:
    """Compile a kernel of this source and give its library, whose `run` launches it; headers: CuPy's folder of them."""
    types = [re.sub(r"^const ", "", kind) for kind in parameter_types(source, name)]
    call = ", ".join(f"*({kind}*)a[{i}]" for i, kind in enumerate(types))
    whole = f"""{source}
static void call_it(void** a) {{ {name}({call}); }}
extern "C" void run(void** a, const unsigned* grid, const unsigned* block, int synchronises, int reversed) {{
  on_cpu::launch(grid, block, synchronises, reversed, call_it, a);
}}"""
    key = hashlib.sha256((whole + SHIM.read_text() + headers).encode()).hexdigest()[:24]
    built = FOLDER / f"{key}.so"
    if not built.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        code, unfinished = FOLDER / f"{key}.{os.getpid()}.cpp", FOLDER / f"{key}.{os.getpid()}.so"
        code.write_text(whole)
        before = read_once(headers) if CARRAY in source else SHIM
        flags = [*FLAGS, f"-I{headers}", "-shared", "-include", before]
        run = subprocess.run([COMPILER, *flags, "-o", unfinished, code], capture_output=True, text=True, check=False)
        code.unlink()
        assert not run.returncode, f"{run.stderr[:4000]}\n{whole}"
        os.replace(unfinished, built)
    return ctypes.CDLL(str(built))

"""The compiled core under AddressSanitizer and UndefinedBehaviorSanitizer: its own tests, on a library built for them.

The library of one core is built from a copy of the sources and takes the place of the others in a copy of the tree.
"""

import os
import platform
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FLAGS = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-std=gnu11", "-fno-math-errno"]
FLAGS += ["-ffp-contract=fast", "-fPIC", "-shared"]
CORES = {"x86_64": ("v3", ["-march=x86-64-v3", "-DVECTOR_BYTES=32"]), "aarch64": ("neon", ["-DVECTOR_BYTES=16"])}
TESTS = ["tests/backends/test_contract.py", "tests/backends/test_compiled_tails.py", "tests/nn/test_scans.py"]
# Minutes: SANITIZE=all runs these too.
MORE = ["tests/backends/test_compiled_functions.py", "tests/nn/test_compiled_scans.py", "tests/nn/test_streams.py"]
MORE += ["tests/nn/test_compiled_models.py"]
BEYOND = """
import numpy as np
from tests.compiled import compiled_backend
x, out = np.zeros((8, 40), np.float32), np.zeros(40, np.float32)
core = compiled_backend({core!r}).core_of("float32")
core.column_sums(x.ctypes.data, 40, {rows}, out.ctypes.data, 0, 0, 40)
print("no fault")
"""


def sanitized(tree):
    """Return the name of a core, and what runs Python with its sanitized library in a copy of the tree."""
    if not shutil.which("gcc") or platform.machine() not in CORES or sys.platform != "linux":
        pytest.skip("needs gcc on Linux")
    core, flags = CORES[platform.machine()]
    for folder in ("charlm", "tests"):
        ignored = shutil.ignore_patterns("*.so", "core_*.sha256", "__pycache__", "fixtures")
        shutil.copytree(REPOSITORY / folder, tree / folder, ignore=ignored)
    shutil.copy(REPOSITORY / "pyproject.toml", tree)
    sources = tree / "charlm" / "backends" / "compiled"
    library = sources / f"core_{core}.so"
    command = ["gcc", *FLAGS, *flags, *sorted(sources.glob("*.c")), "-lm", "-o", library]
    if subprocess.run(command, cwd=sources, capture_output=True).returncode:
        pytest.skip("this gcc has no sanitizers")
    library.with_suffix(".sha256").write_text(sha256(library.read_bytes()).hexdigest())
    preloaded = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    environment = {**os.environ, "LD_PRELOAD": preloaded.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0"}
    environment |= {"PYTHONMALLOC": "malloc", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(tree)}

    def run(*arguments):
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)

    return core, run


@pytest.mark.slow
def test_nothing_is_found_but_a_planted_read_beyond_an_array(tmp_path):
    """One test, so that the library is built once."""
    core, run = sanitized(tmp_path)
    for rows in (8, 9):
        done = run("-c", BEYOND.format(core=core, rows=rows))
        assert ("no fault" in done.stdout) == (rows == 8), done.stderr
        assert ("heap-buffer-overflow" in done.stderr) == (rows > 8)
    tests = TESTS + MORE * (os.environ.get("SANITIZE") == "all")
    done = run("-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *tests, "-k", core)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " passed" in done.stdout and "runtime error" not in done.stdout + done.stderr

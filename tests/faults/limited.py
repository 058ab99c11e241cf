"""The command with less memory than it would take, and how much it took."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.cli.shell import SECONDS, Result, environment

PROJECT = Path(__file__).resolve().parents[2]
NO_LIMIT = 1 << 40

# All is imported before the limit: what a process takes to start differs from machine to machine.
_LIMITED = """
import pkgutil, resource, sys
from importlib import import_module
import charlm, numpy.random
from charlm.cli.app import main
for module in pkgutil.walk_packages(charlm.__path__, "charlm."):
    # CuPy, onnx and setuptools are optional, and the libraries of the compiled core are not for Python.
    foreign = ("cupy", "exchange.onnx", "exchange.sherpa", "compiled.build", "compiled.core_", "__main__")
    if not any(part in module.name for part in foreign):
        import_module(module.name)
exec(sys.argv[1])
# OpenBLAS ends the process where it has no room for its buffer, which it makes for its first large product.
large = numpy.ones((512, 512), "f")
large @ large
del large
def status(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024
begun = status("VmRSS")
limit = status("VmSize") + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
code = main(sys.argv[3:])
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
print("limit", limit, "took", status("VmHWM") - begun, file=sys.stderr)
sys.exit(code)
"""


@dataclass(frozen=True)
class Limited(Result):
    """limit: the bytes of address space that it might have had; took: those of memory that it took, from its start."""

    limit: int = 0
    took: int = 0


def run_limited(
    *args: object, allowed: int = NO_LIMIT, before: str = "", stdin: bytes = b"", seconds: float = SECONDS, **env: str
) -> Limited:
    """Run `charlm ARGS` in a process that may take so many bytes more than it has once it is started.

    before: Python to run before
    """
    command = [sys.executable, "-c", _LIMITED, before, str(allowed), *map(str, args)]
    done = subprocess.run(
        command, input=stdin, cwd=PROJECT, env=environment(**env), capture_output=True, timeout=seconds
    )
    *said, last = done.stderr.decode().splitlines(keepends=True)
    words = last.split()
    assert words[:1] == ["limit"], done.stderr
    return Limited(done.returncode, done.stdout, "".join(said), limit=int(words[1]), took=int(words[3]))

"""The libraries of the compiled core: which are installed, which this processor runs, and which is used."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from hashlib import sha256
from pathlib import Path

from charlm.errors import ResourceError, UsageError

_V3 = {"ssse3", "sse4_1", "sse4_2", "popcnt", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}

_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}

# The cores, the fastest first, with the features that a processor needs to run each, as Linux names them. Every
# aarch64 processor runs neon.
CORES: dict[str, set[str]] = {"v4": _V4, "v3": _V3, "neon": set()}
# v4 with tiles for products in bfloat16; all else is computed as by v4.
AMX = "amx"
_FEATURES_OF = {**CORES, AMX: _V4 | {"amx_tile", "amx_bf16"}}
_DEFAULT = "auto"  # without CHARLM_CORE
_FOLDER = Path(__file__).parent
_FEATURES = Path("/proc/cpuinfo")
_INSTALL = "install a C compiler, and then charlm again"


class Library(ctypes.CDLL):
    """The library of one core.

    core: the name of what computes in float32 and float64, one of `CORES`
    bfloat16: the name of what multiplies bfloat16 numbers, `AMX` or the core itself; "" if nothing does
    """

    def __init__(self, core: str, path: Path) -> None:
        super().__init__(str(path))
        if core == AMX and not (hasattr(self, "core_permitted_amx") and self.core_permitted_amx()):
            raise OSError("the C compiler or the system does not support AMX")
        self.core = "v4" if core == AMX else core
        multiplies = hasattr(self, "core_product_b16") and "avx512_bf16" in _processor_features()
        self.bfloat16 = core if core == AMX or multiplies else ""


def load_library() -> Library | None:
    """Return the library that the variable CHARLM_CORE names, the fastest one for `auto`, None for NumPy.

    Raises UsageError for an unknown name, and ResourceError if the library that it names cannot be used here.
    """
    core = _chosen()
    names = ("auto", "numpy", AMX, *CORES)
    if core not in names:
        raise UsageError(f"CHARLM_CORE is {core!r}", hint=f"choose one of: {', '.join(names)}")
    if core == "numpy":
        return None
    if core == "auto":
        return fastest_library()
    if reason := obstacle(core):
        raise ResourceError(f"CHARLM_CORE is {core}: {reason}", hint=f"unset CHARLM_CORE, or {_INSTALL}")
    return open_library(core)


def fastest_library() -> Library | None:
    """Return the library of the fastest core that this processor runs, None if it runs none."""
    return next((open_library(core) for core in (AMX, *CORES) if not obstacle(core)), None)


@cache
def open_library(core: str) -> Library:
    """Load the library of a core that this processor runs; raise OSError if it is damaged or of another machine."""
    path = _path(core)
    # Loading a truncated file would end the process.
    if sha256(path.read_bytes()).hexdigest() != path.with_suffix(".sha256").read_text():
        raise OSError(f"{path} is damaged")
    return Library(core, path)


def obstacle(core: str) -> str:
    """Return why a core cannot be used on this machine, "" if it can be."""
    if not _path(core).exists():
        return "it is not installed"
    if missing := sorted(_FEATURES_OF[core] - _processor_features()):
        return f"this processor does not support {missing[0]}"
    try:
        open_library(core)
    except OSError as error:
        return f"its library cannot be loaded: {error}"
    return ""


def why_numpy() -> str:
    """Return why no library can be used, and what to do about it; "" if one can be, or CHARLM_CORE asks for NumPy."""
    obstacles = {core: obstacle(core) for core in CORES if _path(core).exists()}
    if _chosen() == "numpy" or not all(obstacles.values()):
        return ""
    if not obstacles:
        return f"the compiled core is not installed: {_INSTALL}"
    return f"the compiled core is not used: {'; '.join(f'{core}: {reason}' for core, reason in obstacles.items())}"


def _chosen() -> str:
    return os.environ.get("CHARLM_CORE") or _DEFAULT


def _path(core: str) -> Path:
    return _FOLDER / f"core_{'v4' if core == AMX else core}.so"


def _processor_features() -> set[str]:
    """Return the features of an x86-64 processor that the kernel supports, none if they are not known."""
    try:
        with _FEATURES.open(encoding="ascii", errors="replace") as lines:
            named = (line.partition(":") for line in lines)
            return next((set(value.split()) for name, _, value in named if name.strip() == "flags"), set())
    except OSError:
        return set()

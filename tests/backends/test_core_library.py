"""Which library of the compiled core is used: by the processor, by what is installed, and by CHARLM_CORE."""

import ctypes
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from charlm.backends import NumpyBackend, get_backend, why_numpy
from charlm.backends.compiled import library
from charlm.backends.compiled.backend import CompiledBackend
from charlm.backends.compiled.library import AMX, CORES, Library, load_library, open_library
from charlm.errors import ResourceError, UsageError
from tests.compiled import HERE

INSTALLED = [core for core in CORES if library._path(core).exists()]
needs_core = pytest.mark.skipif(not HERE, reason="no library of the compiled core is installed and runs here")
each_core = pytest.mark.parametrize("core", HERE)

_AVX2 = "fpu sse sse2 ssse3 sse4_1 sse4_2 popcnt avx avx2 bmi1 bmi2 f16c fma abm movbe"
_AVX512 = f"{_AVX2} avx512f avx512bw avx512cd avx512dq avx512vl"
_TILES = f"{_AVX512} avx512_bf16 amx_bf16 amx_tile amx_int8"
CPU_INFO = "processor\t: {}\nmodel name\t: A: processor\nflags\t\t: {}\nbugs\t\t: none\n\n"


@pytest.fixture(autouse=True)
def automatic(monkeypatch):
    """Let the loader choose, and forget what it has loaded."""
    monkeypatch.setenv("CHARLM_CORE", "auto")
    open_library.cache_clear()
    yield
    open_library.cache_clear()


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Return a function that puts files in the place of the libraries, and have them loaded as their own names."""

    def call(**files: bytes) -> None:
        for core, content in files.items():
            path = tmp_path / f"core_{core}.so"
            path.write_bytes(content)
            path.with_suffix(".sha256").write_text(sha256(content).hexdigest())

    monkeypatch.setattr(library, "_FOLDER", tmp_path)
    return call


@pytest.fixture
def loads_names(monkeypatch):
    """Load no library, but the name of its file."""
    monkeypatch.setattr(library, "Library", lambda core, path: path.name)


@pytest.fixture
def processor(monkeypatch, tmp_path):
    """Return a function that makes this a processor with these flags; None: the system does not name them."""

    def call(flags):
        path = tmp_path / "cpuinfo"
        if flags is not None:
            path.write_text(CPU_INFO.format(0, flags) + CPU_INFO.format(1, flags))
        monkeypatch.setattr(library, "_FEATURES", path)

    return call


def refused(core, error):
    with pytest.raises(error) as caught:
        get_backend("cpu")
    assert core in caught.value.message and caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("flags", "chosen"),
    [
        (_AVX512, "core_v4.so"),
        (_AVX512.replace(" avx512vl", ""), "core_v3.so"),
        (_AVX2, "core_v3.so"),
        (_AVX2.replace(" fma", ""), None),
        (_AVX2.replace(" avx2", " avx2x"), None),
        ("fpu sse sse2", None),
        ("", None),
        (None, None),
    ],
)
def test_the_best_library_that_the_processor_runs_is_loaded(install, loads_names, processor, flags, chosen):
    install(v3=b"3", v4=b"4")
    processor(flags)
    assert load_library() == chosen
    assert (why_numpy() == "") == (chosen is not None)


def test_one_that_is_not_installed_is_passed_over(install, loads_names, processor):
    processor(_AVX512)
    install(v3=b"3")
    assert load_library() == "core_v3.so"


def test_neon_needs_no_flags(install, loads_names, processor):
    processor(None)
    install(neon=b"n")
    assert load_library() == "core_neon.so"


@pytest.mark.parametrize("flags", [b"flags\t\t: \xff\xfe avx2\n", b"flags", b"\x00" * 100, b"Features : fp asimd\n"])
def test_flags_that_cannot_be_read_are_none(install, loads_names, processor, tmp_path, flags):
    install(v3=b"3", v4=b"4")
    processor("")
    (tmp_path / "cpuinfo").write_bytes(flags)
    assert load_library() is None


def test_without_a_library_it_is_numpy(install):
    install()
    assert type(get_backend("cpu")) is NumpyBackend
    assert "not installed: install a C compiler" in why_numpy()


@needs_core
@pytest.mark.parametrize("value", [None, "", "auto"])
def test_the_best_core_of_this_processor_is_the_default(monkeypatch, value):
    if value is None:
        monkeypatch.delenv("CHARLM_CORE")
    else:
        monkeypatch.setenv("CHARLM_CORE", value)
    backend = get_backend("cpu")
    assert type(backend) is CompiledBackend and backend.core == HERE[0] and backend.name == "cpu"
    assert why_numpy() == ""


@needs_core
@each_core
def test_each_core_is_loaded_by_its_name(monkeypatch, core):
    monkeypatch.setenv("CHARLM_CORE", core)
    backend = get_backend("cpu")
    assert type(backend) is CompiledBackend and backend.core == core
    assert load_library() is open_library(core)


@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="of x86-64")
@needs_core
def test_both_levels_are_built():
    """A compiler that knows one level of x86-64 knows the other; which of them runs here is up to the processor."""
    assert INSTALLED == ["v4", "v3"]


def test_numpy_can_be_asked_for(monkeypatch):
    monkeypatch.setenv("CHARLM_CORE", "numpy")
    backend = get_backend("cpu")
    assert type(backend) is NumpyBackend and backend.core == "numpy"
    assert why_numpy() == ""


@pytest.mark.parametrize("value", ["avx2", "V4", "v4 ", "0", "cuda"])
def test_an_unknown_core_is_refused(monkeypatch, value):
    monkeypatch.setenv("CHARLM_CORE", value)
    error = refused(repr(value), UsageError)
    assert error.exit_code == 2
    assert all(name in error.hint for name in ("auto", "numpy", "v3", "v4", "neon"))


@pytest.mark.parametrize("core", CORES)
def test_a_core_that_is_not_installed_is_refused(monkeypatch, install, core):
    install()
    monkeypatch.setenv("CHARLM_CORE", core)
    error = refused(core, ResourceError)
    assert error.exit_code == 6 and "not installed" in error.message and "C compiler" in error.hint


def test_a_core_that_does_not_run_here_is_refused(monkeypatch, install, loads_names, processor):
    install(v3=b"3", v4=b"4")
    processor(_AVX2)
    monkeypatch.setenv("CHARLM_CORE", "v4")
    error = refused("v4", ResourceError)
    assert error.exit_code == 6 and "avx512bw" in error.message


@pytest.fixture
def permits_tiles(monkeypatch):
    """Return a function that makes a library one of a system that supports tiles, or does not."""

    def call(answer):
        functions = {"core_permitted_amx": lambda: answer, "core_product_b16": None}
        monkeypatch.setattr(ctypes.CDLL, "__init__", lambda self, path: vars(self).update(functions))

    return call


@pytest.mark.parametrize(
    ("flags", "permitted", "value", "multiplies"),
    [
        (_TILES, 1, "auto", "amx"),
        (_TILES, 1, "amx", "amx"),
        (_TILES, 1, "v4", "v4"),
        (_TILES, 0, "auto", "v4"),
        (_TILES.replace(" amx_tile", ""), 1, "auto", "v4"),
        (_TILES.replace(" amx_bf16", ""), 1, "auto", "v4"),
        (_AVX512, 1, "auto", ""),
    ],
)
def test_who_multiplies_bfloat16_numbers(
    install, processor, permits_tiles, monkeypatch, flags, permitted, value, multiplies
):
    """All else is computed by v4."""
    install(v4=b"4")
    processor(flags)
    permits_tiles(permitted)
    monkeypatch.setenv("CHARLM_CORE", value)
    chosen = load_library()
    assert isinstance(chosen, Library) and chosen.core == "v4" and chosen.bfloat16 == multiplies


@pytest.mark.parametrize(
    ("flags", "permitted", "reason"),
    [(_TILES, 0, "the system"), (_AVX512, 1, "does not support amx_"), (_AVX2, 1, "does not support am")],
)
def test_amx_is_refused_where_it_does_not_run(install, processor, permits_tiles, monkeypatch, flags, permitted, reason):
    install(v4=b"4")
    processor(flags)
    permits_tiles(permitted)
    monkeypatch.setenv("CHARLM_CORE", AMX)
    error = refused(AMX, ResourceError)
    assert error.exit_code == 6 and reason in error.message


def damaged(content: bytes) -> dict[str, bytes]:
    """Return damaged copies of a library, by what has happened to it."""
    half = len(content) // 2
    return {
        "empty": b"",
        "truncated": content[:half],
        "last byte missing": content[:-1],
        "zeros": content[:half] + bytes(len(content) - half),
        "a bit": content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :],
        "a text": b"not a library\n",
    }


@needs_core
@pytest.mark.parametrize("kind", damaged(b"any"))
def test_a_damaged_library_is_not_used(monkeypatch, install, tmp_path, kind):
    core = HERE[0]
    content = (Path(library.__file__).parent / f"core_{core}.so").read_bytes()
    install(**{core: content})
    (tmp_path / f"core_{core}.so").write_bytes(damaged(content)[kind])
    assert type(get_backend("cpu")) is NumpyBackend
    assert "is damaged" in why_numpy()
    monkeypatch.setenv("CHARLM_CORE", core)
    assert "is damaged" in refused(core, ResourceError).message


@pytest.mark.parametrize("content", [b"", b"not a library\n", b"\x7fELF" + bytes(60)])
def test_a_foreign_library_is_not_used(monkeypatch, install, processor, content):
    """A whole file, but not a library of this machine."""
    install(v3=content)
    processor(_AVX2)
    assert type(get_backend("cpu")) is NumpyBackend
    assert "cannot be loaded" in why_numpy()
    monkeypatch.setenv("CHARLM_CORE", "v3")
    assert "cannot be loaded" in refused("v3", ResourceError).message


@pytest.mark.parametrize("lost", ["core_v3.sha256", "core_v3.so"])
def test_half_of_an_installation_is_not_used(install, loads_names, processor, tmp_path, lost):
    install(v3=b"3")
    processor(_AVX2)
    (tmp_path / lost).unlink()
    assert load_library() is None


def test_the_next_best_takes_the_place_of_a_damaged_one(install, loads_names, processor, tmp_path):
    install(v3=b"3", v4=b"4")
    processor(_AVX512)
    (tmp_path / "core_v4.so").write_bytes(b"5")
    assert load_library() == "core_v3.so"


def charlm(*args, **env):
    command = [sys.executable, "-m", "charlm", *map(str, args)]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True)


def test_the_command_line_refuses_an_unknown_core():
    done = charlm("bench", "train", CHARLM_CORE="best")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "charlm: error: CHARLM_CORE is 'best'\nhint: choose one of: auto, numpy, amx, v4, v3, neon\n"


def test_help_loads_no_library_and_needs_no_core():
    done = charlm("--help", CHARLM_CORE="best", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    assert "charlm.cli.app" in done.stderr and "charlm.backends" not in done.stderr and "ctypes" not in done.stderr

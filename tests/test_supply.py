"""What charlm is made from: bounded, fixed to the release, and built to the same bytes again."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
import zlib
from importlib import import_module
from pathlib import Path, PurePath
from types import SimpleNamespace
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.building import HAS_COMPILER, Sources, built, contents
from tests.constraints import needed, pinned
from tests.manual import SHARE
from tests.readme import GUIDE

PROJECT = Path(__file__).parents[1]
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())
CORE = PROJECT / "charlm" / "backends" / "compiled"
EXTRAS = DECLARED["project"]["optional-dependencies"]
REQUIREMENTS = [
    Requirement(line)
    for lines in (DECLARED["project"]["dependencies"], DECLARED["build-system"]["requires"], *EXTRAS.values())
    for line in lines
    if not line.startswith("charlm-rnn")
]
needs_compiler = pytest.mark.skipif(
    not HAS_COMPILER or platform.machine() != "x86_64", reason="no C compiler, or not x86-64"
)


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_every_dependency_is_bounded_below_and_above(requirement):
    operators = {specifier.operator for specifier in requirement.specifier}
    assert operators >= {">=", "<"}, str(requirement)


def test_every_distribution_that_is_installed_is_pinned():
    assert needed("charlm-rnn", "dev") <= set(pinned())


def test_the_pinned_releases_lie_within_the_bounds():
    releases = pinned()
    for requirement in REQUIREMENTS:
        name = canonicalize_name(requirement.name)
        assert name not in releases or releases[name] in requirement.specifier, str(requirement)


@pytest.mark.slow
def test_two_builds_are_the_same_bytes(tmp_path):
    """From two clones of a commit, made at different times and under another umask."""
    if not (PROJECT / ".git").exists():
        pytest.skip("not a git checkout")
    digests = []
    # The two compilations are of all sources with all flags, but without the passes that take most of the time.
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\nexec cc "$@" -O0\n')
    compiler.chmod(0o755)
    for name, umask in (("one", 0o022), ("another", 0o077)):
        folder = tmp_path / name
        environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
        environment |= {"CC": str(compiler)} if HAS_COMPILER else {}
        previous = os.umask(umask)
        try:
            subprocess.run(["git", "clone", "--quiet", PROJECT, folder], check=True)
            build = ["make", "wheel", f"PYTHON={sys.executable}"]
            done = subprocess.run(build, cwd=folder, env=environment, capture_output=True, text=True)
        finally:
            os.umask(previous)
        assert done.returncode == 0, done.stderr
        (wheel,) = (folder / "dist").glob("charlm_rnn-*.whl")
        digests.append((wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest()))
    assert digests[0] == digests[1]
    with ZipFile(wheel) as files:
        names = set(map(PurePath, files.namelist()))
        of_libraries = sum(entry.compress_size for entry in files.infolist() if entry.filename.endswith(".so"))
    compiled_with_all_passes = sum(len(zlib.compress(path.read_bytes())) for path in CORE.glob("core_*.so"))
    assert wheel.stat().st_size - of_libraries + compiled_with_all_passes < 1e6
    assert PurePath("charlm/exchange/page/network.js") in names
    libraries = {name.stem for name in names if name.suffix == ".so"}
    assert libraries == {name.stem for name in names if name.suffix == ".sha256"}
    assert not {name for name in names if name.suffix in (".c", ".h", ".o")}
    tag = "any" if not libraries else sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.name == f"charlm_rnn-{DECLARED['project']['version']}-py3-none-{tag}.whl"
    assert bool(libraries) == (HAS_COMPILER and platform.machine() in ("x86_64", "aarch64"))


@pytest.fixture
def sources(tmp_path):
    return Sources(tmp_path / "sources")


WITHOUT = {
    "no compiler": {"PATH": "/nowhere"},
    "one that fails": {"CC": "false"},
    "one that does nothing": {"CC": "true"},
}


@pytest.mark.thinned(4)
@pytest.mark.parametrize("env", WITHOUT.values(), ids=WITHOUT)
@pytest.mark.slow
def test_without_a_compiler_the_wheel_is_for_every_machine(sources, env):
    wheel = sources.built(**env)
    assert wheel.name.endswith("-py3-none-any.whl")
    files = contents(wheel)
    assert not [name for name in files if "/core_" in name]
    shared = {name.partition("/data/share/")[2]: text for name, text in files.items() if "/data/share/" in name}
    assert shared == {
        path.relative_to(SHARE).as_posix(): path.read_bytes() for path in SHARE.rglob("*") if path.is_file()
    }
    assert {name for name in files if name.startswith("charlm/guide/")} == {
        f"charlm/guide/{page.name}" for page in GUIDE.glob("*.md")
    }
    assert {f"charlm/recipes/{path.name}" for path in (PROJECT / "charlm" / "recipes").glob("*.toml")} <= set(files)
    assert b"Root-Is-Purelib: true" in next(text for name, text in files.items() if name.endswith(".dist-info/WHEEL"))
    sources.built("editable", **env)
    assert sources.libraries() == []


def test_msvc_has_no_vector_extensions():
    """It would compile some of the sources, and not fail at each."""
    setuptools = pytest.importorskip("setuptools")
    build = import_module("charlm.backends.compiled.build")
    command = build.BuildCore(setuptools.Distribution())
    command.compiler = SimpleNamespace(compiler_type="msvc")
    with pytest.raises(build.CompileError, match="MSVC"):
        command.build_extension(setuptools.Extension("core", ["core.c"]))


@needs_compiler
@pytest.mark.slow
def test_a_compiler_that_lacks_a_level_builds_the_other(sources, tmp_path):
    sources.built("editable")
    assert sources.libraries() == ["v3", "v4"]
    old = tmp_path / "old-cc"
    old.write_text('#!/bin/sh\ncase "$*" in *x86-64-v4*) echo unknown level >&2; exit 1;; esac\nexec cc "$@"\n')
    old.chmod(0o755)
    wheel = sources.built("editable", CC=str(old))
    assert sources.libraries() == ["v3"], "a library of older sources is left"
    assert not [name for name in contents(wheel) if "/core_" in name]


@pytest.mark.slow
@needs_compiler
def test_a_header_is_a_source_too(sources):
    """A change of it is compiled, although another build left its files behind."""
    libraries = []
    for width in ("VECTOR_BYTES", "7"):
        (sources.core / "width.h").write_text(f"#define WIDTH {width}\n")
        wheel = sources.built()
        assert "-py3-none-" in wheel.name and not wheel.name.endswith("-any.whl"), "it has no interface of a Python"
        files = contents(wheel)
        libraries.append({name: text for name, text in files.items() if name.endswith(".so")})
    assert libraries[0].keys() == libraries[1].keys() and len(libraries[0]) == 2
    assert all(libraries[0][name] != libraries[1][name] for name in libraries[0])


@needs_compiler
@pytest.mark.slow
def test_a_library_in_use_is_replaced_not_overwritten(sources):
    sources.built("editable")
    with (sources.core / "core_v3.so").open("rb") as used:
        before = used.read()
        (sources.core / "width.h").write_text("#define WIDTH 7\n")
        sources.built("editable")
        used.seek(0)
        assert used.read() == before != (sources.core / "core_v3.so").read_bytes()


@pytest.mark.slow
def test_a_source_distribution_builds(sources, tmp_path):
    sources.built("editable")  # what it leaves is not taken
    subprocess.run(["tar", "-x", "-z", "-f", sources.built("sdist"), "-C", tmp_path], check=True)
    (unpacked,) = tmp_path.glob("charlm_rnn-*")
    files = [path for path in unpacked.rglob("*") if path.is_file()]
    assert {path.name for path in files if path.suffix in (".c", ".h")} == {"core.c", "width.h"}
    assert not [path for path in files if path.suffix in (".so", ".sha256")]
    names = list(contents(built(unpacked)))
    assert any(name.endswith("share/man/man1/charlm.1") for name in names)
    made = [name for name in names if name.endswith(".so")]
    assert bool(made) == (HAS_COMPILER and platform.machine() in ("x86_64", "aarch64"))


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("changed", ["core.c", "width.h", "build.py"])
def test_make_compiles_again_what_has_changed(sources, changed):
    """Once, and it does not install the packages of the tests again."""
    for name in ("Makefile", "constraints.txt"):
        shutil.copy(PROJECT / name, sources.folder)
    (sources.folder / ".venv").mkdir()
    for name in (".installed", ".dev"):
        (sources.folder / ".venv" / name).touch()

    def commands():
        done = subprocess.run(["make", "-n", ".venv/.dev"], cwd=sources.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "up to date" in commands()
    later = time.time() + 10
    os.utime(sources.core / changed, (later, later))
    assert commands().count("touch") == 1 and "--editable '.'" in commands()

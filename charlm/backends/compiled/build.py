"""Building the libraries of the compiled core, for setuptools: one for each level of the processor.

setuptools loads this file without its package, so it imports nothing from charlm. Each library is optional: if the C
compiler is missing or does not know a level, the installation goes on, and charlm computes with NumPy.
"""

from __future__ import annotations

import platform
import sys
from hashlib import sha256
from pathlib import Path

from setuptools import Extension
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

_FOLDER = "charlm/backends/compiled"  # relative, so that no path of this machine gets into a library
_SOURCES = sorted(path.as_posix() for path in Path(_FOLDER).glob("*.[ch]"))

# Not -ffast-math, which removes the checks for NaN and infinity. -g0: debugging information contains paths. An array of
# variable size stays in memory: with one, the kernels for AVX2 took 1.3 to 1.7 times as long.
_FLAGS = ["-O3", "-g0", "-std=gnu11", "-fno-math-errno", "-ffp-contract=fast", "-Werror=vla"]
_IS_LINUX = sys.platform == "linux"
_LINK_FLAGS = ["-Wl,--build-id=none"] if _IS_LINUX else []

# The levels of each machine, as `platform.machine()` names it, and their own flags. The loader finds out on Linux only
# which level an x86-64 processor has.
_X86 = {
    "v3": ["-march=x86-64-v3", "-DVECTOR_BYTES=32"],
    "v4": ["-march=x86-64-v4", "-DVECTOR_BYTES=64", "-mprefer-vector-width=512"],
}
_ARM = {"neon": ["-DVECTOR_BYTES=16"]}
_LEVELS = {"x86_64": _X86 if _IS_LINUX else {}, "aarch64": _ARM, "arm64": _ARM}


class BuildCore(build_ext):
    """Compile the core once for each level: `core_LEVEL.so`, beside the sources in an editable installation."""

    def finalize_options(self) -> None:
        """Put the libraries of this machine in the place of the one that pyproject.toml names."""
        self.distribution.ext_modules = [
            Extension(
                f"{_FOLDER.replace('/', '.')}.core_{level}",
                [path for path in _SOURCES if path.endswith(".c")],
                depends=[*_SOURCES, f"{_FOLDER}/build.py"],
                libraries=["m"],
                extra_compile_args=[*_FLAGS, *flags],
                extra_link_args=_LINK_FLAGS,
                optional=True,
            )
            for level, flags in _LEVELS.get(platform.machine(), {}).items()
        ]
        super().finalize_options()

    def get_ext_filename(self, fullname: str) -> str:
        """Return the path of a library, without a tag of the Python, whose headers it does not use."""
        return f"{fullname.replace('.', '/')}.so"

    def build_extension(self, ext: Extension) -> None:
        """Compile a library and write its checksum; raise CompileError with MSVC, which has no vector extensions."""
        if self.compiler.compiler_type == "msvc":
            raise CompileError("MSVC has no vector extensions")
        super().build_extension(ext)
        library = Path(self.get_ext_fullpath(ext.name))
        if not library.exists():
            raise CompileError(f"the C compiler has not written {library}")
        library.with_suffix(".sha256").write_text(sha256(library.read_bytes()).hexdigest())

    def copy_extensions_to_source(self) -> None:
        """Replace the libraries beside the sources; remove those that could not be built again."""
        # Removed, not overwritten: a process may be computing with one.
        for old in Path(_FOLDER).glob("core_*.s*"):
            old.unlink()
        for built in (Path(self.build_lib) / _FOLDER).glob("core_*.s*"):
            self.copy_file(str(built), _FOLDER)

    def get_source_files(self) -> list[str]:
        """Return the files that a source distribution contains, also from a machine without a level."""
        return _SOURCES


class Wheel(bdist_wheel):
    """Name a wheel by its platform, not by its Python; without a library, it is for every platform."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tags of the Python, its binary interface and the platform."""
        libraries = self.get_finalized_command("build_ext").get_outputs()
        self.root_is_pure = not any(Path(path).exists() for path in libraries)
        _, _, system = super().get_tag()
        return self.python_tag, "none", system

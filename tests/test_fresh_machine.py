"""A new machine: no CuPy, no compiler, no home, an empty environment; what was installed beside charlm is not there.

The environment is a new venv into which nothing but the declared dependencies are linked, so that a test that passes
because of something else that is installed here fails there.
"""

import os
import subprocess
import venv
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.building import Sources
from tests.constraints import needed

PROJECT = Path(__file__).parents[1]
TINY = ("--hidden-size", 8, "--num-layers", 1, "--batch-size", 4, "--seq-length", 4, "--max-steps", 1, "--seed", 1)

# CuPy, Optuna, onnx and setuptools are not there, and the libraries of the compiled core are not for Python.
IMPORT_ALL = """
import pkgutil
from importlib import import_module
import charlm
for module in pkgutil.walk_packages(charlm.__path__, "charlm."):
    optional = ("cupy", "charlm.tuning", "exchange.onnx", "exchange.sherpa")
    if not any(part in module.name for part in (*optional, "compiled.build", "compiled.core_", "__main__")):
        import_module(module.name)
"""


class Machine:
    """A Python with some distributions and charlm, an empty environment, and a home that cannot be written to."""

    def __init__(self, folder: Path, *extras: str, wheel: Path | None = None) -> None:
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        self.python = folder / "venv" / "bin" / "python"
        packages = Path(self.run_python("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
        for name in needed("charlm-rnn", *extras):
            found = distribution(name)
            tops = {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}
            for top in tops - {path.name for path in packages.iterdir()}:
                (packages / top).symlink_to(Path(str(found.locate_file(top))).resolve())
        if wheel is None:
            (packages / "charlm.pth").write_text(f"{PROJECT}\n")
        else:
            with ZipFile(wheel) as files:
                files.extractall(packages)

    def run_python(self, *arguments: object, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """Run Python with nothing in its environment but these variables, and a path without programs."""
        command = [self.python, *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)

    def charlm(self, *arguments: object, cwd: Path | None = None, **env: str) -> str:
        """Run the command; it has to succeed, and to say nothing of what is missing. Return what it prints."""
        done = self.run_python("-m", "charlm", *arguments, cwd=cwd, **env)
        assert done.returncode == 0, done.stderr
        # One step does not teach it anything, and it says so.
        told = done.stderr.lower().replace("charlm: warning: the model has hardly learned", "")
        assert "warning" not in told and "Traceback" not in told
        return done.stdout


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """Return a machine of a user: what `make demo` installs."""
    return Machine(tmp_path_factory.mktemp("user"))


def homes(folder):
    """Return the environments that a home may be missing in, by name."""
    locked = folder / "locked"
    locked.mkdir(mode=0o500)
    return [{"HOME": str(locked)}, {"HOME": "/dev/null"}, {"HOME": ""}, {}]


def test_what_was_installed_beside_is_not_there(machine):
    for name in ("cupy", "pytest", "torch", "pip"):
        assert machine.run_python("-c", f"import {name}").returncode == 1


def test_every_room_but_cupys_is_imported(machine):
    done = machine.run_python("-c", IMPORT_ALL)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_a_first_session(machine, tmp_path):
    """Without a home, with one that is locked, and with names that are none; from a folder of the user's own."""
    corpus, model = tmp_path / "names.txt", tmp_path / "m.safetensors"
    corpus.write_text("Rato\nSauni\nTrito\n" * 20)
    trained = set()
    for env in homes(tmp_path):
        machine.charlm("train", corpus.name, "-o", model.name, "--force", *TINY, cwd=tmp_path, **env)
        trained.add(model.read_bytes())
    assert len(trained) == 1
    assert machine.charlm("generate", model.name, "--seed", 1, cwd=tmp_path)
    assert "log10p" in machine.charlm("score", model.name, corpus.name, cwd=tmp_path)
    assert "perplexity" in machine.charlm("evaluate", model.name, corpus.name, cwd=tmp_path)
    assert machine.charlm("--help")
    assert {path.name for path in tmp_path.iterdir()} <= {
        "names.txt",
        "m.safetensors",
        "locked",
    }


@pytest.mark.thinned(2)
@pytest.mark.parametrize("env", [{"PATH": "/nowhere"}, {"CC": "false"}], ids=["no compiler", "one that fails"])
@pytest.mark.slow
def test_without_a_compiler_it_is_installed_and_computes_with_numpy(tmp_path, env):
    wheel = Sources(tmp_path / "sources").built(**env)
    machine = Machine(tmp_path, wheel=wheel)
    (tmp_path / "names.txt").write_text("Rato\nSauni\nTrito\n" * 20)
    machine.charlm("train", "names.txt", "-o", "m.safetensors", *TINY, cwd=tmp_path)
    assert "core           numpy" in machine.charlm("inspect", "m.safetensors", cwd=tmp_path).splitlines()
    done = machine.run_python("-m", "charlm", "selfcheck", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("core    numpy\n")
    assert "the compiled core is not installed: install a C compiler, and then charlm again\n" in done.stderr


TESTS = (  # of each kind of helper that starts processes, and of what asks the machine: the home, git, a compiler
    "tests/faults/test_hostile_text.py::test_empty_lines_by_the_million",
    "tests/faults/test_load.py::test_training_that_needs_more_memory_says_how_much_and_what_to_do",
    "tests/faults/test_hostile_models.py::test_a_pipe_is_not_waited_for",
    "tests/cli/test_cli_pipes.py::test_the_environment_is_not_needed",
    "tests/backends/test_devices.py",
    "tests/test_supply.py",
    "tests/storage/test_files.py",
)


@pytest.mark.slow
def test_the_tests_need_nothing_else_either(tmp_path):
    """Those that start processes in ways of their own; `make test` on a new machine, which CI begins with, runs all."""
    machine = Machine(tmp_path, "dev")
    copy = tmp_path / "alone"  # with no ../shared beside it, and no .git
    copy.mkdir()
    for name in ("charlm", "tests", "corpora", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "Makefile"):
        (copy / name).symlink_to(PROJECT / name)
    command = ("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--rootdir", copy, *TESTS)
    path = f"{machine.python.parent}{os.pathsep}{os.defpath}"
    done = machine.run_python(*command, cwd=copy, PATH=path, OPENBLAS_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

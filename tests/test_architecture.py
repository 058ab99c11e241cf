"""The rules of the house, read from its files: a room imports only rooms above it, and nothing imports in a circle."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forms

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "charlm"
ROOMS = [  # from the top of the house to its door
    "version",
    "errors",
    "task",
    "config",
    "settings",
    "randomness",
    "quoting",
    "processes",
    "storage",
    "text",
    "backends",
    "nn",
    "language_model",
    "inference",
    "training",
    "header",
    "checkpoint",
    "exchange",
    "session",
    "estimate",
    "samples",
    "seeds",
    "saving",
    "tuning",
    "api",
    "benchmark",
    "selfcheck",
    "cli",
]
DOORS = ("__init__", "__main__")  # of the house itself: they may name any room
ONLY_IN = {  # where a foreign library may be imported, as the beginning of a path
    "typer": "cli/",
    "rich": "cli/",
    "tqdm": "cli/",
    "cupy": "backends/cupy/",
    "cupyx": "backends/cupy/",
    "cupy_backends": "backends/cupy/",
    "optuna": "tuning/",
    "sqlalchemy": "tuning/",
    "onnx": "exchange/",
    "mpi4py": "processes/",
}
LONGEST = 300  # lines
FILES = sorted(PACKAGE.rglob("*.py"))
each_file = forms.each("path", FILES)


def room_of(name):
    """Return the room of a path or of a module's name, both relative to the package."""
    return re.split(r"[./]", name)[0]


def imports(source, path):
    """Yield the line and the full name of everything that a file imports: at its top, in functions or by a string.

    path: the file's, relative to the package. `from a import b` is yielded as a.b, as b may be a module.
    """
    folder = ["charlm", *Path(path).parts[:-1]]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            yield from ((node.lineno, ".".join([*module, alias.name])) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                yield node.lineno, str(node.args[0].value)


def broken_rules(source, path):
    """Return a sentence for each place where a file breaks the rules; path: relative to the package."""
    room, sentences = room_of(path.removesuffix(".py")), []
    if room not in ROOMS and path.removesuffix(".py") not in DOORS:
        return [f"{path}: ROOMS does not say where the room {room!r} is"]
    for line, name in imports(source, path):
        library, _, rest = name.partition(".")
        if library == "charlm" and room in ROOMS:
            other = room_of(rest)
            if other not in ROOMS:
                sentences.append(f"{path}:{line}: imports {name}, of no known room")
            elif ROOMS.index(other) > ROOMS.index(room):
                sentences.append(f"{path}:{line}: {room} imports {name}, of a room below it")
        if not path.startswith(ONLY_IN.get(library, "")):
            sentences.append(f"{path}:{line}: {library} may be imported only in {ONLY_IN[library]}")
        if name == "types.SimpleNamespace":
            sentences.append(f"{path}:{line}: SimpleNamespace has no types; write a dataclass")
    if room != "cli":
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                sentences.append(f"{path}:{node.lineno}: print() outside cli/")
    if (lines := source.count("\n")) > LONGEST:
        sentences.append(f"{path}: {lines} lines, more than {LONGEST}")
    return sentences


def circles(sources):
    """Return the groups of modules that import each other, directly or by way of others.

    sources: the text of each file, by its path relative to the package. Imports in functions and for types count.
    """
    modules = {path: module_of(path) for path in sources}
    known = set(modules.values())
    reached = {
        modules[path]: {_nearest(name, known) for _, name in imports(source, path)} - {modules[path], None}
        for path, source in sources.items()
    }
    for between in known:
        for module in known:
            if between in reached[module]:
                reached[module] |= reached[between]
    groups = {frozenset(other for other in known if other in reached[m] and m in reached[other]) for m in known}
    return sorted(sorted(group) for group in groups if group)


def module_of(path):
    """Return the full name of the module in a file, by its path relative to the package."""
    parts = ["charlm", *path.removesuffix(".py").split("/")]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _nearest(name, known):
    """Return the module that a full name is of or in, None if it is not one of the package's."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None


@each_file
def test_a_file_keeps_the_rules(path):
    assert broken_rules(path.read_text(encoding="utf-8"), path.relative_to(PACKAGE).as_posix()) == []


def test_no_imports_make_a_circle():
    sources = {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in FILES}
    found = circles(sources)
    assert not found, found


@pytest.mark.parametrize(
    ("sources", "groups"),
    [
        ({"a.py": "import charlm.b", "b.py": "from charlm import c", "c.py": ""}, []),
        ({"a.py": "import charlm.b", "b.py": "def f():\n    from charlm.a import x"}, [["charlm.a", "charlm.b"]]),
        ({"a.py": "import charlm.b", "b.py": "if TYPE_CHECKING:\n    from .a import X"}, [["charlm.a", "charlm.b"]]),
        (
            {"n/a.py": "from .b import x", "n/b.py": "from charlm.n import c", "n/c.py": "import charlm.n.a"},
            [["charlm.n.a", "charlm.n.b", "charlm.n.c"]],
        ),
        (
            {"n/__init__.py": "from charlm.n.a import x", "n/a.py": "from charlm.n import x"},
            [["charlm.n", "charlm.n.a"]],
        ),
        ({"n/__init__.py": "from charlm.n.a import x", "n/a.py": "from charlm.n.b import x", "n/b.py": ""}, []),
        ({"a.py": "import numpy\nfrom charlm.a import x"}, []),
    ],
)
def test_a_circle_is_seen(sources, groups):
    assert circles(sources) == groups


def test_there_is_something_to_read():
    """And the rooms that are there have files of both kinds, with imports that this test sees."""
    assert len(FILES) > 10
    seen = {name for path in FILES for _, name in imports(path.read_text(), path.relative_to(PACKAGE).as_posix())}
    assert {"numpy", "charlm.errors.CharlmError", "charlm.errors.UsageError"} & seen


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("errors.py", "import charlm.config"),
        ("text/lines/reading.py", "from charlm import nn"),
        ("text/lines/reading.py", "def f():\n    from charlm.nn.build import build"),
        ("text/lines/reading.py", "from ...nn import build"),
        ("nn/cells/rnn.py", "from ...training import trainer"),
        ("nn/build.py", "import importlib\nimportlib.import_module('charlm.training')"),
        ("nn/build.py", "if TYPE_CHECKING:\n    from charlm.checkpoint import load"),
        ("inference/generation.py", "from charlm.training import trainer"),
        ("nn/build.py", "from charlm.version import __version__\nfrom charlm import api"),
        ("language_model.py", "from charlm.cli import app"),
        ("nn/build.py", "from charlm.cellar import wine"),
        ("cellar.py", ""),
        ("nn/build.py", "from charlm import load"),
        ("nn/build.py", "from charlm import __version__"),
        ("nn/build.py", "import cupy"),
        ("backends/__init__.py", "def f():\n    import cupy as cp"),
        ("backends/numpy_backend.py", "from cupyx.scipy import special"),
        ("training/trainer.py", "from tqdm import tqdm"),
        ("training/trainer.py", "import rich.console"),
        ("__main__.py", "import typer"),
        ("inference/scoring.py", "print('so far')"),
        ("nn/recurrent.py", "from types import SimpleNamespace"),
        ("text/tokens/vocabulary.py", "x = 1\n" * 301),
    ],
)
def test_a_broken_rule_is_seen(path, source):
    assert len(broken_rules(source, path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("cli/train.py", "import typer, rich.progress\nfrom tqdm import tqdm\nfrom charlm.nn import build\nprint(1)"),
        ("backends/cupy/backend.py", "import cupy\nfrom cupyx import jit\nfrom charlm.backends.base import Backend"),
        ("backends/__init__.py", "from charlm.backends.cupy.backend import CupyBackend"),
        ("nn/cells/rnn.py", "from .base import Cell\nfrom ..layer import Layer\nfrom ...errors import UsageError"),
        ("api.py", "from charlm.checkpoint import load\nfrom charlm import version, inference"),
        ("__init__.py", "from charlm.language_model import LanguageModel"),
        ("__main__.py", "from charlm.cli.app import main"),
        ("text/tokens/vocabulary.py", "x = 1\n" * 300),
        ("training/trainer.py", "self.print('a method')"),
    ],
)
def test_a_kept_rule_is_let_be(path, source):
    assert broken_rules(source, path) == []


def test_the_page_of_the_rooms_names_all_in_their_order():
    section = (PACKAGE / "README.md").read_text(encoding="utf-8")
    first_cells = re.findall(r"^\| (`[^|]*`) \|", section, re.MULTILINE)
    named = re.findall(r"`([^`]+)`", " ".join(first_cells))
    assert [name.removesuffix(".py").removesuffix("/") for name in named] == ROOMS
    assert [name for name in named if not (PACKAGE / name).exists()] == []
    inside = re.findall(r"`((?:nn|cli|backends)/[\w/.]*)`", section)
    assert inside and [name for name in inside if not (PACKAGE / name).exists()] == []


class TestStartUp:
    """What is imported before anything is asked for: NumPy alone takes a tenth of a second."""

    HEAVY = ("numpy", "cupy", "cupyx", "torch", "optuna", "sqlalchemy", "onnx")

    def imported_by(self, *arguments):
        command = [sys.executable, "-X", "importtime", *arguments]
        run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False)
        assert run.returncode == 0, run.stderr[-2000:]
        timed = re.findall(r"^import time:[^|]*\|[^|]*\| *([\w.]+)$", run.stderr, re.MULTILINE)
        assert "site" in timed or "encodings" in timed
        return run.stdout, {name.split(".")[0] for name in timed}, set(timed)

    def test_import_charlm(self):
        _, libraries, modules = self.imported_by("-c", "import charlm")
        assert "charlm" in libraries
        assert libraries.isdisjoint(self.HEAVY), modules

    @pytest.mark.skipif(not (PACKAGE / "__main__.py").exists(), reason="there is no command line yet")
    def test_help(self):
        text, libraries, modules = self.imported_by("-m", "charlm", "--help")
        assert "Usage" in text
        assert libraries.isdisjoint(self.HEAVY), modules
        assert "pydantic" not in libraries

    @pytest.mark.parametrize("command", ["train", "tune"])
    def test_help_of_a_command(self, command):
        text, libraries, modules = self.imported_by("-m", "charlm", command, "--help")
        assert "Usage" in text
        assert libraries.isdisjoint(self.HEAVY), modules

    def test_it_would_be_seen(self):
        assert "numpy" in self.imported_by("-c", "import numpy.linalg")[1]

"""Models trained by the command itself, once; and the command in this process, where no process is needed."""

from __future__ import annotations

import dataclasses
import io
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer.main
from threadpoolctl import ThreadpoolController
from typer.main import get_command

from charlm.cli import ui
from charlm.cli.app import main
from tests.cli.shell import Result, files_of, run

# Few evaluations, because each waits for the disk.
TINY = ("--hidden-size", 8, "--num-layers", 1, "--batch-size", 8, "--seq-length", 16, "--max-steps", 40, "--lr", 0.02)


def _names(count: int) -> list[str]:
    rng = np.random.default_rng(1)
    syllables = ["ra", "to", "ni", "sau", "rus", "tri", "ce", "don"]
    return ["".join(rng.choice(syllables, rng.integers(1, 5))).capitalize() for _ in range(count)]


def _sentences(count: int) -> list[str]:
    rng = np.random.default_rng(2)
    subjects, verbs, objects = ["the cat", "a dog", "she"], ["sees", "likes"], ["fish", "it, too", "the end!"]
    return [f"{rng.choice(subjects)} {rng.choice(verbs)} {rng.choice(objects)}." for _ in range(count)]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Three tiny models - `char` and `word` of lines, `stream` of characters - and what they learned from."""
    folder = tmp_path_factory.mktemp("trained")
    names, sentences = folder / "names.txt", folder / "sentences.txt"
    names.write_text("".join(f"{line}\n" for line in _names(120)))
    sentences.write_text("".join(f"{line}\n" for line in _sentences(80)))
    made = SimpleNamespace(folder=folder, names=names, sentences=sentences)
    for name, corpus, flags in (
        ("char", names, ()),
        ("stream", sentences, ("--unit", "stream", "--cell", "gru")),
        ("word", sentences, ("--level", "word", "--embedding-size", 4)),
    ):
        path = folder / f"{name}.safetensors"
        run("train", corpus, "-o", path, "--seed", 1, *TINY, *flags).succeeded()
        setattr(made, name, path)
    return made


class _Commands:
    """Commands for Typer's apps, each made once: that takes as long as what most tests then do with it."""

    def __init__(self) -> None:
        self._made: dict[tuple[str | None, ...], object] = {}

    def get(self, app: typer.Typer) -> object:
        names = tuple(command.name for command in app.registered_commands)
        if names not in self._made:
            self._made[names] = get_command(app)
        return self._made[names]


_COMMANDS = _Commands()
_THREADS = ThreadpoolController()


@pytest.fixture
def charlm(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `charlm ARGS` in this process; what it changes there is put back."""

    def call(*args: object, stdin: bytes = b"") -> Result:
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        settings = dataclasses.asdict(ui.settings)
        monkeypatch.setattr(typer.main, "get_command", _COMMANDS.get)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin))))
        capfdbinary.readouterr()
        try:
            with _THREADS.limit(limits=1):  # as in the processes of `run`, so that the numbers are the same
                code = main(list(map(str, args)))
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            vars(ui.settings).update(settings)
        out, err = capfdbinary.readouterr()
        return Result(code, out, err.decode())

    return call


@pytest.fixture
def unchanged(tmp_path: Path) -> Callable[[], None]:
    """Check that the folder of the test holds what it held when this was first called, byte for byte."""
    before: list[dict[str, bytes]] = []

    def check() -> None:
        before.append(files_of(tmp_path))
        assert before[-1] == before[0]

    return check

"""The README is true: its help texts are those of the commands, its examples run and print what it says."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from charlm.cli import ui
from charlm.cli.app import make_app
from tests.readme import README, documented, run_example, updated

TEXT = README.read_text()
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
_WORD = re.compile(r"[a-z]+")
_MACHINE = re.compile(r"(?<=tokens_per_second) +[\d,.]+|(?<=^core) +\w+")  # what differs between two machines
RELATIVE, ABSOLUTE = 0.1, 0.005  # of a figure: processors round differently, and a training amplifies that


def test_help_texts_are_the_commands_own() -> None:
    assert updated(TEXT) == TEXT, "run: make readme"


def test_every_command_is_documented() -> None:
    assert documented() == list(typer.main.get_command(make_app()).commands)  # type: ignore[attr-defined]


def test_no_placeholder_is_left() -> None:
    assert not re.search("@[A-Z0-9]+@", TEXT)


def examples() -> list[tuple[str, list[str]]]:
    """Return each command of the console blocks with the lines that it prints, in order."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    (folder / "corpora").symlink_to(README.parent / "corpora")
    return folder


def commands_of(line: str) -> Iterator[list[str]]:
    """Yield the arguments of each `charlm` on a line of shell."""
    words = shlex.shlex(line, posix=True, punctuation_chars="|;&<>()")
    words.whitespace_split = True
    command: list[str] = []
    for word in [*words, ";"]:
        if set(word) <= set("|;&<>()"):
            if command[:1] == ["charlm"]:
                yield command[1:]
            command = []
        else:
            command.append(word)


def test_console_examples_are_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """The long form runs them; here they are only read."""
    monkeypatch.setattr(ui, "settings", ui.Settings())  # options set them while they are read
    app = typer.main.get_command(make_app())
    read = [arguments for command, _ in examples() for arguments in commands_of(command)]
    assert len(read) > 20
    for name, *arguments in read:
        app.commands[name].make_context(name, arguments)  # type: ignore[attr-defined]


def differences(printed: list[str], shown: list[str]) -> list[tuple[str, str]]:
    """Return the pairs of lines that differ in a word, a whole number, or a figure by more than its tolerance."""
    return [
        pair
        for pair in zip(printed, shown, strict=True)
        if _NUMBER.sub("N", pair[0]) != _NUMBER.sub("N", pair[1])
        or not all(map(_is_near, *(_NUMBER.findall(line) for line in pair)))
    ]


def _is_near(printed: str, shown: str) -> bool:
    if shown.lstrip("-").replace(",", "").isdecimal():
        return printed == shown
    value, expected = (float(number.replace(",", "")) for number in (printed, shown))
    return abs(value - expected) <= max(RELATIVE * abs(expected), ABSOLUTE)


@pytest.mark.parametrize(
    ("printed", "shown", "is_same"),
    [
        ("accuracy 0.9957", "accuracy 0.9957", True),
        ("-4.9 6 0 6.6 the salad", "-4.7956 6 0 6.2990 the salad", True),
        ("-5.3 6 0 6.6 the salad", "-4.7956 6 0 6.2990 the salad", False),
        ("-4.9 6 0 7.0 the salad", "-4.7956 6 0 6.2990 the salad", False),
        ("-4.9 5 0 6.6 the salad", "-4.7956 6 0 6.2990 the salad", False),
        ("-4.9 6 0 6.6 the soup", "-4.7956 6 0 6.2990 the salad", False),
        ("4.7956", "-4.7956", False),
        ("nats 0.0061", "nats 0.0040", True),
        ("nats 0.0141", "nats 0.0040", False),
        ("norm 6.5e-02", "norm 6.344e-02", True),
        ("norm 6.3e-01", "norm 6.344e-02", False),
        ("tokens 12,018", "tokens 12,019", False),
        ("0.5", "1", False),
    ],
)
def test_figures_are_compared(printed: str, shown: str, is_same: bool) -> None:
    assert (differences([printed], [shown]) == []) == is_same


@pytest.mark.slow
def test_console_examples_print_what_is_shown(folder: Path) -> None:
    """Figures, drawn texts and the words of gaps, which are nearly as likely as the next, depend on the machine's
    arithmetic; everything else is compared to the letter."""
    for command, shown in examples():
        run = run_example(command, folder)
        enough = 128 + signal.SIGPIPE if "| head" in command else 0  # of what head did not wait for
        assert run.returncode in (0, enough), f"{command}\n{run.stderr}"
        printed = [line.rstrip() for line in run.stdout.splitlines()]
        assert len(printed) == len(shown), f"{command}\n{run.stdout}"
        words = command.split()
        if "generate" in words or "--gradients" in words:
            continue
        if "--plot" in words:  # where its marks stand is drawn, too
            printed, shown = ([line for line in lines if "|" not in line] for lines in (printed, shown))
        if "fill" in words:
            printed, shown = ([_WORD.sub("word", line) for line in lines] for lines in (printed, shown))
        printed, shown = ([_MACHINE.sub(" blank", line) for line in lines] for lines in (printed, shown))
        assert differences(printed, shown) == [], command


def test_python_example_runs(folder: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    generated, triceratops, strange = run.stdout.splitlines()
    assert generated.startswith("Tri")
    assert float(triceratops.split()[2]) < float(strange.split()[2])  # perplexities

"""The `train` command that repeats a training."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from charlm.quoting import shell_argument

# The options that are not called as their field in the configurations.
_OPTIONS = {"learning_rate": "lr"}
_FILES = ("valid", "init_from", "vectors", "test", "pieces")
# Options whose value may be any text, also one that begins with a dash.
_TEXTS = ("sample_prompt",)
_STANDARD_INPUT = "-"


def train_command(program: str, corpus: Sequence[str], output: Path, settings: Mapping[str, Any]) -> str:
    """Return the shell command of a training.

    settings: fields of the configurations and options of `train`, by their names
    """
    files = [name if name == _STANDARD_INPUT else shell_argument(name) for name in corpus]
    return " ".join([program, *files, "-o", shell_argument(str(output)), *flags_of(settings)])


def flags_of(settings: Mapping[str, Any]) -> list[str]:
    """Return the words of settings and options, quoted for a shell."""
    return [word for name, value in settings.items() for word in _flag(_OPTIONS.get(name, name), value)]


def _flag(option: str, value: Any) -> Iterator[str]:
    """Yield the words that give an option a value."""
    flag = f"--{option.replace('_', '-')}"
    if option == "bidirectional" and value is False:
        yield "--causal"
    elif isinstance(value, bool):
        yield from [flag] if value else []
    elif isinstance(value, list | tuple):
        for one in value:
            yield from (flag, str(one))
    elif option in _TEXTS:
        yield f"{flag}={shlex.quote(value)}"
    elif value is not None:
        text = str(value)
        yield from (flag, shell_argument(text) if option in _FILES and text != _STANDARD_INPUT else text)

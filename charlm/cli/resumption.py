"""Resuming a training: the flags that fit its checkpoint, and the command that continues it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from charlm.errors import CorpusError, UsageError
from charlm.quoting import shell_argument
from charlm.storage.files import display_name
from charlm.task import task_named

LIMITS = ("epochs", "max_steps", "minutes")
_FREE = (*LIMITS, "patience")  # what a resumed run may change
_STANDARD_INPUT = "-"


def check_flags(given: Mapping[str, Any], language_model: Any) -> None:
    """Raise UsageError for a flag that contradicts the checkpoint.

    given: the flags on the command line, by the names of their parameters
    """
    parts = (language_model.text, language_model.model.config, language_model.train)
    stored = {name: value for part in parts for name, value in part.to_dict().items()}
    stored |= {"lr": stored["learning_rate"], "condition": language_model.is_conditioned}
    wanted = dict(given)
    if "task" in wanted:
        wanted["task"] = task_named(wanted["task"], bidirectional=wanted.get("bidirectional"))
    if stored["valid"] is not None:
        # The file may have moved, so its lines are compared instead of its name.
        wanted.pop("valid", None)
    for name, value in wanted.items():
        if name in _FREE or name not in stored:
            continue
        if (tuple(value) if isinstance(value, list) else value) != stored[name]:
            raise UsageError(
                _difference(name, value, stored[name]),
                hint="leave the flag out, or train anew without --resume",
            )


def _difference(name: str, value: Any, stored: Any) -> str:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        flag = flag if value else "--causal"
        return f"{flag} differs from the checkpoint, which was trained without this flag"
    if name == "valid":
        return f"{flag} differs from the checkpoint, which holds out part of its corpus"
    shown = [" ".join(map(str, v)) if isinstance(v, list | tuple) else str(v) for v in (value, stored)]
    return f"{flag} {shown[0]} differs from the checkpoint's {'none' if stored in (None, ()) else shown[1]}"


def held_out_file(given: str | None, stored: str | None) -> str | None:
    """Return the name of the held-out file, as given or else as stored; raise CorpusError for a missing stored one."""
    if given is not None or stored is None:
        return given
    if stored != _STANDARD_INPUT and not Path(stored).exists():
        raise CorpusError(
            f"the held-out file of this training is missing, {display_name(stored)}",
            hint="if it has moved, name it: --valid FILE",
        )
    return stored


def new_limits(given: Mapping[str, Any], checkpoint: Any) -> dict[str, Any]:
    """Return the given limits that change those of the checkpoint.

    The limits of an unfinished run, repeated, change nothing: its steps stay as planned, and `--minutes` is not
    measured again.
    """
    limits = {name: given[name] for name in _FREE if name in given}
    config, numbers = checkpoint.language_model.train, checkpoint.training.numbers
    # Limits that followed from the corpus are stored too, and a repeated command does not have them.
    is_repeated = all(given[name] == getattr(config, name) for name in LIMITS if name in given)
    # Minutes after the end are more minutes.
    if is_repeated and (numbers.step < numbers.total_steps or "minutes" not in given):
        return {name: value for name, value in limits.items() if name not in LIMITS}
    return limits


def command(program: str, corpus: Sequence[str], output: Path, valid: str | None, given: Mapping[str, Any]) -> str:
    """Return the shell command that resumes the training, with the options of the machine and the log as given."""
    same = [f"--{name} {given[name]}" for name in ("device", "threads") if name in given]
    if given.get("log") is not None:
        same += ["--log", shell_argument(given["log"])]
    if given.get("test") is not None:
        same += ["--test", shell_argument(given["test"])]
    if given.get("keep_checkpoint"):
        same.append("--keep-checkpoint")
    held_out = [] if valid is None else ["--valid", _name(valid)]
    return " ".join([program, *map(_name, corpus), "-o", _name(str(output)), *held_out, *same, "--resume"])


def _name(path: str) -> str:
    return path if path == _STANDARD_INPUT else shell_argument(path)

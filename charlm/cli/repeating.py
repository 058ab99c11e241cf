"""The command that repeats a training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlm.cli.train_options import model_options
from charlm.quoting import shell_argument
from charlm.training.plan import DEFAULT_EPOCHS

_STANDARD_INPUT = "-"
_FILES = ("valid", "init_from", "test")


def training_command(language_model: Any, path: Path) -> str:
    """Return the `charlm train` command that repeats the training of a model, all settings explicit.

    A time limit becomes the number of steps that it was. CORPUS stands for files that the model does not know.
    """
    run = language_model.run
    options = model_options(language_model, held_out_file=True)
    if options.pop("minutes", None) is not None:
        options.pop("epochs", None)
        options["max_steps"] = run.planned_steps or max((row["step"] for row in language_model.history), default=1)
    if not options.keys() & {"epochs", "max_steps"}:
        options["epochs"] = DEFAULT_EPOCHS
    facts = language_model.facts
    if len(facts.bidirectional) == 1:
        options.pop("bidirectional")
    if not facts.can_be_conditioned:
        options.pop("condition")
    of_run = {
        "init_from": run.init_from,
        "sample_every": run.sample_every,
        "sample_prompt": run.sample_prompt,
        "test": run.test_file,
    }
    options |= {name: value for name, value in of_run.items() if value}
    corpus = [_name(file) for file in run.corpus] or ["CORPUS"]
    return " ".join(["charlm train", *corpus, "-o", _name(str(path)), *flags_of(options)])


def flags_of(options: Mapping[str, Any]) -> list[str]:
    """Return options as on the command line, quoted for a shell; options: by the names of their parameters."""
    return [flag for name, value in options.items() for flag in _flags(name, value)]


def _flags(name: str, value: Any) -> list[str]:
    """Return an option as on the command line; a switch that is off is left out."""
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [flag] if value else ["--causal"] if name == "bidirectional" else []
    if isinstance(value, list):
        return [f"{flag} {one}" for one in value]
    if name in _FILES:
        return [f"{flag} {_name(str(value))}"]
    # With an equals sign a text may begin with a dash.
    return [shell_argument(f"{flag}={value}").removeprefix("./")] if isinstance(value, str) else [f"{flag} {value}"]


def _name(file: str) -> str:
    return file if file == _STANDARD_INPUT else shell_argument(file)

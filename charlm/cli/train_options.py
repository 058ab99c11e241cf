"""The options of `charlm train`: from the command line, from a file, from another model, or the defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from charlm.cli.config_file import file_or_recipe, read_options
from charlm.errors import UsageError

LIMITS = ("epochs", "max_steps", "minutes")
# Fields of the configurations whose options have another name.
OPTION_OF = {"learning_rate": "lr"}
# Options that a file does not set: they are of one run, not of a kind of run.
_OF_ONE_RUN = (
    *("corpus", "output", "force", "resume", "dry_run", "config", "like"),
    *("format", "no_header", "progress", "help"),
)

# Options that may be repeated.
_LISTS = ("dense", "cutoffs")
# Typer makes paths of them only when it calls the command.
_PATHS = ("init_from", "log", "pieces")


@dataclass(frozen=True)
class TrainOptions:
    """Options by the names of their parameters.

    values: all of them; given: those that are not defaults; typed: those on the command line
    """

    values: Mapping[str, Any]
    given: Mapping[str, Any]
    typed: Mapping[str, Any]


def options_of(context: typer.Context, device: str) -> TrainOptions:
    """Return the options of a command line: its own, else those of --config, else those of --like, else the defaults.

    Raises UsageError for an option of the file that is unknown or of another type.
    """
    sources = {name: context.get_parameter_source(name) for name in context.params}
    typed = {name: context.params[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}
    given: dict[str, Any] = dict(typed)
    if (file := context.params["config"]) is not None:
        allowed = {str(one.name): one for one in context.command.params if one.name not in _OF_ONE_RUN}
        _add(given, read_options(file_or_recipe(Path(file)), allowed))
    if (model := context.params["like"]) is not None:
        if given.get("resume"):
            raise UsageError("--like with --resume", hint="a resumed training has its settings: leave --like out")
        _add(given, _settings_like(Path(model), device))
    values = {**context.params, **given}
    for name in _PATHS:
        values[name] = None if values[name] is None else Path(values[name])
    return TrainOptions(values, given, typed)


def _add(given: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add options that are not given; a limit that is given takes the place of all others."""
    limits = LIMITS if any(name in given for name in LIMITS) else ()
    # Cutoffs belong to a softmax.
    cutoffs = ("cutoffs",) if "softmax" in given else ()
    held_out = ("valid", "valid_fraction", "valid_seed") if "valid" in given or "valid_fraction" in given else ()
    for name, value in more.items():
        if name not in given and name not in (*limits, *held_out, *cutoffs):
            given[name] = value


def _settings_like(path: Path, device: str) -> dict[str, Any]:
    """Return the settings of a model as options, without the names of its files."""
    from charlm.backends import get_backend
    from charlm.checkpoint import load

    return model_options(load(path, get_backend(device)).language_model, held_out_file=False)


def model_options(language_model: Any, *, held_out_file: bool) -> dict[str, Any]:
    """Return the settings of a model's training as options, by the names of their parameters."""
    from charlm.session import settings_of

    settings = settings_of(language_model)
    settings.pop("piece_model")
    if not held_out_file:
        settings.pop("valid")
    if settings.get("valid") is not None:
        settings.pop("valid_fraction")
    named = {OPTION_OF.get(name, name): value for name, value in settings.items()}
    options = {name: list(value) if isinstance(value, tuple) else value for name, value in named.items()}
    options["condition"] = language_model.is_conditioned
    for name, default in rare_defaults().items():
        if options[name] == default:
            del options[name]
    return {name: value for name, value in options.items() if value not in (None, [])}


def rare_defaults() -> dict[str, Any]:
    """Return the defaults of the options of `recipe_options`: a command is readable without those that are unused."""
    from charlm.config import ModelConfig, TrainConfig
    from charlm.session import SIZES

    added = {name: getattr(kind, name) for kind in (ModelConfig, TrainConfig) for name in kind.added}
    return {name: default for name, default in added.items() if name not in SIZES}


def settings_given(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings among the options, by the names of their fields in the configurations."""
    from charlm.config import ModelConfig, TextConfig, TrainConfig

    renamed = {**given, "learning_rate": given.get("lr"), **{name: tuple(given.get(name) or ()) for name in _LISTS}}
    names = {one.name for kind in (TextConfig, ModelConfig, TrainConfig) for one in dataclasses.fields(kind)}
    return {name: value for name, value in renamed.items() if name in names and value not in (None, ())}

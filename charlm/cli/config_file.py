"""A TOML file with options: names of long options without dashes, e.g. `hidden-size = 256`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlm.errors import UsageError
from charlm.quoting import did_you_mean
from charlm.storage.files import display_name

# By the first word of the name of a parameter's type; all others are texts.
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "true or false"),
}


def recipes() -> dict[str, Path]:
    """Return the files of the recipes in the package, by their names."""
    folder = Path(__file__).parents[1] / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def file_or_recipe(name: Path) -> Path:
    """Return the file of this name, or else the recipe."""
    return name if name.exists() else recipes().get(str(name), name)


def read_options(path: Path, allowed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a file, by the names of their parameters.

    allowed: the parameters that a file may set
    Raises UsageError for an unknown option, a value of another type, and a file that is missing or not TOML.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(
            f"cannot read {display_name(path)}: {error.strerror}",
            hint=f"name a file: --config FILE, or a recipe: {', '.join(recipes())}",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"not TOML, {display_name(path)}: {error}", hint="write one option a line, e.g. hidden-size = 256"
        ) from error
    options: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in allowed:
            raise _unknown(key, path, allowed)
        if name in options:
            raise UsageError(f"{key} is set twice, {display_name(path)}", hint="remove one of the two lines")
        options[name] = _checked(key, value, allowed[name], path)
    return options


def _unknown(key: str, path: Path, allowed: Mapping[str, Any]) -> UsageError:
    meant = did_you_mean(key.replace("_", "-"), [name.replace("_", "-") for name in allowed]).strip()
    hint = meant or "charlm train --help lists the options: leave out the dashes"
    return UsageError(f"unknown option {key!r}, {display_name(path)}", hint=hint)


def _kind_of(parameter: Any) -> str:
    name = str(parameter.type.name).split(" ")[0]
    return {"integer": "int", "boolean": "bool"}.get(name, name)


def _checked(key: str, value: Any, parameter: Any, path: Path) -> Any:
    """Return a value as the command line would; raise UsageError for another type or a value out of range."""
    if getattr(parameter, "multiple", False):
        listed = value if isinstance(value, list) else [value]
        return [_one(key, one, parameter, path) for one in listed]
    return _one(key, value, parameter, path)


def _one(key: str, value: Any, parameter: Any, path: Path) -> Any:
    kinds, wanted = _KINDS.get(_kind_of(parameter), ((str,), "a text in quotes"))
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise UsageError(f"{key} is {value!r}, not {wanted}, {display_name(path)}", hint=f"write {key} = VALUE anew")
    try:
        return parameter.type.convert(value, parameter, None)
    except Exception as error:
        # A usage error of the Click inside Typer, which cannot be imported by name.
        if not hasattr(error, "format_message"):
            raise
        message = getattr(error, "message", str(error)).rstrip(".")
        raise UsageError(f"{key}: {message}, {display_name(path)}", hint="see: charlm train --help") from error

"""What a shell offers for the word that is being typed: models, and the labels of a model."""

from __future__ import annotations

import os
from pathlib import Path

import typer

_MODEL, _CHECKPOINT = ".safetensors", ".ckpt.safetensors"


def complete_model(incomplete: str) -> list[str]:
    """Return the model files, and the folders that may contain some, whose names begin so."""
    folder, slash, start = incomplete.rpartition("/")
    found = []
    try:
        entries = sorted(os.scandir(os.path.expanduser(folder + slash) or "."), key=lambda entry: entry.name)
        for entry in entries:
            hidden = entry.name.startswith(".") and not start.startswith(".")
            if not hidden and entry.name.startswith(start):
                if entry.is_dir():
                    found.append(f"{folder}{slash}{entry.name}/")
                elif entry.name.endswith(_MODEL) and not entry.name.endswith(_CHECKPOINT):
                    found.append(f"{folder}{slash}{entry.name}")
    except OSError:
        return []
    return found


def complete_label(context: typer.Context, incomplete: str) -> list[str]:
    """Return the labels of the model on the command line that begin so."""
    from charlm.errors import CharlmError
    from charlm.storage.container import Container

    # Typer does not assign the arguments before an option whose value is missing.
    named = context.params.get("model") or next(iter(context.args), "")
    try:
        labels = Container(Path(os.path.expanduser(str(named)))).header.get("labels", [])
    except CharlmError:
        return []
    return [label for label in labels if label.startswith(incomplete)]

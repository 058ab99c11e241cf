"""The files that a training writes: their names, and who may write them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_NAME_ONE = "name a file: -o NAME.safetensors"


def model_file(output: Path) -> Path:
    """Return the model file that --output names; raise UsageError where it names none."""
    from charlm.checkpoint import MODEL_SUFFIX
    from charlm.errors import UsageError
    from charlm.storage.files import display_name

    if str(output) == "-":
        raise UsageError("--output -: a model does not go to standard output", hint=_NAME_ONE)
    if output.name in ("", ".."):
        raise UsageError(f"--output names no file, {display_name(output)}", hint=_NAME_ONE)
    model = output if output.name.endswith(MODEL_SUFFIX) else output.with_name(output.name + MODEL_SUFFIX)
    _refuse_checkpoint(model)
    return model


@contextlib.contextmanager
def kept_alone(output: Path, model: Path, checkpoint: Path) -> Iterator[None]:
    """Keep both files to this process, and remove what killed ones have left beside them.

    Raises ResourceError where one of them cannot be written or is in use, UsageError where both are the same file.
    """
    from charlm.errors import UsageError
    from charlm.storage.files import check_regular, check_writable, display_name
    from charlm.storage.locks import held, sweep

    files = (model, checkpoint)
    if not os.path.isdir(output):
        check_regular(output)  # a name without its suffix may be that of a device, which is then what was meant
    for path in files:
        check_writable(path)
    targets = [Path(os.path.realpath(path)) for path in files]
    _refuse_checkpoint(targets[0])
    if targets[0] == targets[1]:
        raise UsageError(f"model and checkpoint are one file, {display_name(targets[0])}", hint=_NAME_ONE)
    with held(model), held(checkpoint):
        for path in files:
            sweep(path)
        yield


def holds(model: Path, weights: Mapping[str, Any]) -> bool:
    """Return whether a model file has these weights."""
    import numpy as np

    from charlm.errors import ModelFileError
    from charlm.storage.container import Container

    try:
        arrays = Container(model).arrays()
    except ModelFileError:
        return False
    return arrays.keys() == weights.keys() and all(np.array_equal(arrays[name], weights[name]) for name in arrays)


def _refuse_checkpoint(model: Path) -> None:
    from charlm.checkpoint import CHECKPOINT_SUFFIX
    from charlm.errors import UsageError
    from charlm.storage.files import display_name

    if model.name.lower().endswith(CHECKPOINT_SUFFIX):
        raise UsageError(
            f"--output leads to the name of a checkpoint, {display_name(model)}",
            hint="name a file that does not end in .ckpt: -o NAME.safetensors",
        )

"""The files that a training writes: their names, and who may write them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from charlm.cli.options import refuse_same_file
from charlm.errors import ModelFileError, UsageError
from charlm.quoting import shell_argument

_HINT = "name a file: -o NAME.safetensors"


def output_files(output: Path, flag: str = "--output") -> tuple[Path, Path]:
    """Return the model file and the checkpoint that an option names; raise UsageError if it names no file."""
    from charlm.checkpoint import MODEL_SUFFIX, checkpoint_path
    from charlm.storage.files import display_name

    if str(output) == "-":
        raise UsageError(f"{flag} -: a model cannot go to standard output", hint=_HINT)
    if output.name in ("", ".."):
        raise UsageError(f"{flag} names no file, {display_name(output)}", hint=_HINT)
    model = output if output.name.endswith(MODEL_SUFFIX) else output.with_name(output.name + MODEL_SUFFIX)
    _refuse_checkpoint(model)
    return model, checkpoint_path(model)


def check_output(model: Path, checkpoint: Path, inputs: list[str], *, force: bool, resume: bool) -> None:
    """Raise UsageError for files that would be lost, and ModelFileError for a missing checkpoint to resume."""
    if resume and not checkpoint.exists():
        if model.exists():
            raise ModelFileError(
                f"no checkpoint to resume, {checkpoint}: a training that has ended leaves none",
                hint=f"start from its weights: --init-from {shell_argument(model)} -o NEW; --keep-checkpoint keeps one",
            )
        raise ModelFileError(f"no checkpoint to resume, {checkpoint}", hint="train without --resume")
    for path in (model, checkpoint):
        refuse_same_file(inputs, path, hint="name another output: -o NAME")
        if path.exists() and not (force or resume):
            on = ", --resume continues it" if checkpoint.exists() else ""
            raise UsageError(f"output exists, {path}", hint=f"--force overwrites it{on}, -o names another")


@contextlib.contextmanager
def kept_alone(output: Path, model: Path, checkpoint: Path) -> Iterator[None]:
    """Lock both files inside the block, after removing what killed runs have left beside them.

    Raises ResourceError if one of them cannot be written or is in use, UsageError if both are the same file.
    """
    from charlm.storage.files import check_regular, check_writable, display_name
    from charlm.storage.locks import held, sweep

    files = (model, checkpoint)
    if not os.path.isdir(output):
        # Without its suffix the name may be that of a device, which is then what was meant.
        check_regular(output)
    for path in files:
        check_writable(path)
    targets = [Path(os.path.realpath(path)) for path in files]
    _refuse_checkpoint(targets[0])
    if targets[0] == targets[1]:
        raise UsageError(f"model and checkpoint are one file, {display_name(targets[0])}", hint=_HINT)
    with held(model), held(checkpoint):
        for path in files:
            sweep(path)
        yield


def _refuse_checkpoint(model: Path) -> None:
    from charlm.checkpoint import CHECKPOINT_SUFFIX
    from charlm.storage.files import display_name

    if model.name.lower().endswith(CHECKPOINT_SUFFIX):
        raise UsageError(
            f"--output has the suffix of checkpoints, {display_name(model)}",
            hint="name a file that does not end in .ckpt: -o NAME.safetensors",
        )

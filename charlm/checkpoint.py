"""Model files and checkpoints: one file each, checked before it is used; nothing in it is executed.

A model file contains an array for each parameter. A checkpoint contains `weights/...`, the optimizer's memory, the
carried `state/...`, the `best/...` weights so far, and the numbers that an exact resumption needs. Both have a header:
the version of the format, the configurations, the vocabulary, the training history, and the core that trained it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charlm.backends import Backend, Shape
from charlm.config import ModelConfig, TrainConfig
from charlm.errors import ModelFileError, ResourceError
from charlm.header import FORMAT_VERSION, INVALID, checked_history, described_by, header_of, is_number, not_finite
from charlm.language_model import LanguageModel
from charlm.nn.build import parameter_shapes
from charlm.nn.cells import cell_class
from charlm.storage import container
from charlm.storage.container import Container
from charlm.storage.files import display_name
from charlm.task import TASKS
from charlm.training import TrainingNumbers, TrainingState
from charlm.training.update import slots_of

MODEL_SUFFIX, CHECKPOINT_SUFFIX = container.SUFFIX, f".ckpt{container.SUFFIX}"
_TYPES = {"float32": "F32", "float64": "F64"}

# Characters of a quotation in a message.
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a file: a language model; of a checkpoint also the training state and the corpus' SHA-256."""

    language_model: LanguageModel
    training: TrainingState | None = None
    corpus: str | None = None


def checkpoint_path(model_path: Path) -> Path:
    """Return the path of the checkpoint of a model file, in the same folder."""
    return model_path.with_name(model_path.name.removesuffix(MODEL_SUFFIX) + CHECKPOINT_SUFFIX)


def save(path: Path, language_model: LanguageModel, *, weights: dict[str, np.ndarray] | None = None) -> None:
    """Write a model file, atomically.

    weights: arrays by name, in place of the model's own
    Raises ResourceError if writing fails; an existing file is then unchanged.
    """
    parameters = language_model.model.parameters
    if weights is None:
        flat = language_model.model.ops.numpy(parameters.values)
        weights = parameters.named(flat)
    container.write(path, header_of(language_model), weights)


def save_training(path: Path, language_model: LanguageModel, training: TrainingState, *, corpus: str) -> None:
    """Write a checkpoint, atomically; corpus: SHA-256 of the text, as hexadecimal digits."""
    header = {**header_of(language_model, "checkpoint"), "training": asdict(training.numbers), "corpus": corpus}
    container.write(path, header, training.arrays)


def load(path: Path, ops: Backend) -> Checkpoint:
    """Read a model file or a checkpoint, with its arrays on a device.

    path: named with or without its suffix
    Raises ModelFileError, exit code 4, if the file is missing, foreign, damaged or of a newer version, or if its arrays
    do not fit its configuration.
    """
    file = Container(path)
    _check_version(file)
    header = file.header
    try:
        described = described_by(header)
        is_model = {"model": True, "checkpoint": False}[header["kind"]]
        if not is_model:
            _check_training(header["training"])
            corpus = header["corpus"]
            if not isinstance(corpus, str):
                raise ValueError("the checksum of the corpus is not a string")
    except ResourceError:
        raise
    except INVALID as error:
        raise file.damaged(f"invalid header: {error}") from error
    try:
        described.check_names()
    except ValueError as error:
        raise file.damaged(str(error)) from error
    config = described.config
    implied = parameter_shapes(config, ops)
    if not is_model:
        implied = _training_shapes(implied, described.train, config, file)
    _check_types(file, implied, _TYPES[config.array_dtype])
    values = file.arrays()
    if strange := not_finite(values):
        raise file.damaged(f"{strange} contains NaN or infinity")
    language_model = described.with_weights("" if is_model else "weights/", values, ops)
    if is_model:
        return Checkpoint(language_model)
    return Checkpoint(language_model, TrainingState(TrainingNumbers.from_dict(header["training"]), values), corpus)


def _check_version(file: Container) -> None:
    version, task = file.header.get("version"), file.header.get("task")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise file.damaged(f"format version {version!r}")
    if version > FORMAT_VERSION or task not in tuple(TASKS):
        newer = f"format version {version}" if version > FORMAT_VERSION else f"task {task!r}"
        newer = newer if len(newer) <= _LONGEST_NAME else f"{newer[:_LONGEST_NAME]}..."
        raise ModelFileError(f"{newer} is newer than this charlm, {display_name(file.path)}", hint="upgrade charlm-rnn")


def _check_training(training: Any) -> None:
    """Raise ValueError if a training cannot continue from these numbers."""
    TrainingNumbers.from_dict(training)
    checked_history(training["history"])
    if not all(value is None or is_number(value) for key, value in training.items() if key != "history"):
        raise ValueError("the training state contains an invalid number")
    if training.get("restarted", 0) > training["step"]:
        raise ValueError("the training state restarted at a step after its last one")


def _training_shapes(
    weights: dict[str, Shape], train: TrainConfig, config: ModelConfig, file: Container
) -> dict[str, Shape]:
    """Return the shapes of a checkpoint's arrays; weights: those of the parameters."""
    kinds = ["weights", *slots_of(train)]
    kinds += [kind for kind in ("best", "good") if any(name.startswith(f"{kind}/") for name in file.types)]
    batch = file.types.get("state/0", ("", (0, 0)))[1][-1:]
    states = len(cell_class(config).states) * config.num_layers if config.facts.carries_state else 0
    carried = {f"state/{i}": (config.hidden_size, *batch) for i in range(states)}
    return {**{f"{kind}/{name}": shape for kind in kinds for name, shape in weights.items()}, **carried}


def _check_types(file: Container, implied: dict[str, Shape], dtype: str) -> None:
    for name, shape in implied.items():
        if file.types.get(name) != (dtype, shape):
            raise file.damaged(f"array {name} is {file.types.get(name, 'missing')}, not {(dtype, shape)}")
    if strange := sorted(set(file.types) - set(implied)):
        raise file.damaged(f"unexpected array {strange[0]!r}")

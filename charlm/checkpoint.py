"""The files: one model, one file; nothing in it is executed, and all of it is checked before it is used.

A model file holds an array for each parameter. A checkpoint holds `weights/...`, the optimizer's memory, the carried
`state/...` and the `best/...` weights so far, and the numbers that an exact resumption needs. The header of both has
the format's version, the configurations, the vocabulary and the training history.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charlm import __version__
from charlm.backends import Backend, Shape
from charlm.config import TASKS, ModelConfig, TextConfig, TrainConfig, check_text
from charlm.errors import CharlmError, ModelFileError
from charlm.language_model import LanguageModel
from charlm.nn.build import build, parameter_shapes
from charlm.nn.cells import cell_class
from charlm.storage import container
from charlm.storage.container import Container
from charlm.storage.files import display_name
from charlm.text import Tokenizer, Vocabulary, splitter_of
from charlm.text.pieces import HIGHEST_KEY
from charlm.text.tokens.codec import BINARY, SPECIAL, Codec
from charlm.training import HISTORY_FIELDS, OPTIMIZERS, TrainingNumbers, TrainingState

FORMAT_VERSION = 2  # version 1 has no `text.normalize`; all versions up to this one can be read
MODEL_SUFFIX, CHECKPOINT_SUFFIX = ".safetensors", ".ckpt.safetensors"
_TYPES = {"float32": "F32", "float64": "F64"}
_LARGEST: dict[type, float] = {int: 1 << 53, float: 1e300}  # numbers whose sums and quotients are numbers, too
_KEYS = frozenset(map(str, range(HIGHEST_KEY + 1)))  # the tokens of music
_LONGEST_NAME = 80  # characters of what is quoted


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: a language model, and of a checkpoint the state of its training and the corpus' SHA-256."""

    language_model: LanguageModel
    training: TrainingState | None = None
    corpus: str | None = None


def checkpoint_path(model_path: Path) -> Path:
    """Give the name of the checkpoint that lies beside a model file."""
    return model_path.with_name(model_path.name.removesuffix(MODEL_SUFFIX) + CHECKPOINT_SUFFIX)


def save(path: Path, language_model: LanguageModel, *, weights: dict[str, np.ndarray] | None = None) -> None:
    """Write a model file, atomically; `weights` in place of the model's own, where given.

    Raises ResourceError where it cannot be written; a file that was there before is then unchanged.
    """
    parameters = language_model.model.parameters
    if weights is None:
        flat = language_model.model.ops.numpy(parameters.values)
        weights = parameters.named(flat)
    container.write(path, _header(language_model, "model"), weights)


def save_training(path: Path, language_model: LanguageModel, training: TrainingState, *, corpus: str) -> None:
    """Write a checkpoint, atomically; corpus: SHA-256 of the text, as hexadecimal digits."""
    header = {**_header(language_model, "checkpoint"), "training": asdict(training.numbers), "corpus": corpus}
    container.write(path, header, training.arrays)


def load(path: Path, ops: Backend) -> Checkpoint:
    """Open a model file or a checkpoint on a device.

    Raises ModelFileError, exit code 4, where the file is missing, is none of ours, is damaged, is of a newer version,
    or where its arrays are not those that its configuration implies.
    """
    file = Container(path)
    _check_version(file)
    header = file.header
    try:
        config = ModelConfig.from_dict(header["model"])
        text, train = TextConfig.from_dict(header["text"]), TrainConfig.from_dict(header["train"])
        codec = _codec(header, text)
        if header["task"] != config.task:
            raise ValueError(f"its task is {header['task']} and {config.task}")
        _check_task(config, text)
        is_model = {"model": True, "checkpoint": False}[header["kind"]]
        history = _checked_history(header["history"])
        if not is_model:
            _check_training(header["training"])
            corpus = header["corpus"]
            if not isinstance(corpus, str):
                raise ValueError("its corpus is no checksum")
    except (CharlmError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise file.damaged(f"its header does not hold: {error}") from error
    if config.task == "tag" and config.labels == 1 and codec.labels != BINARY:
        raise file.damaged(f"its tags are {codec.labels}, not {BINARY}")
    if config.task == "music" and not _KEYS.issuperset(codec.tokenizer.vocabulary.tokens[SPECIAL:]):
        raise file.damaged("its vocabulary has what is no key of music")
    for name, size in codec.sizes(config.task).items():
        if getattr(config, name) != size:
            what = {"vocabulary_size": "tokens in a vocabulary", "labels": "labels in a network"}.get(name, name)
            raise file.damaged(f"{size} {what} of {getattr(config, name)}")
    implied = parameter_shapes(config, ops)
    if not is_model:
        implied = _of_training(implied, train, config, file)
    _check_types(file, implied, _TYPES[config.dtype])
    values = file.arrays()
    if strange := next((name for name, array in values.items() if not np.isfinite(array).all()), None):
        raise file.damaged(f"{strange} holds numbers that are none")
    model = build(config, ops)
    for name, array in model.parameters.named(model.parameters.values).items():
        array[...] = ops.array(values[name if is_model else f"weights/{name}"])
    language_model = LanguageModel(model, codec, text, train, history)
    if is_model:
        return Checkpoint(language_model)
    return Checkpoint(language_model, TrainingState(TrainingNumbers.from_dict(header["training"]), values), corpus)


def _header(language_model: LanguageModel, kind: str) -> dict[str, Any]:
    return {
        "format": "charlm",
        "version": FORMAT_VERSION,
        "charlm": __version__,
        "kind": kind,
        "task": language_model.task,
        "text": language_model.text.to_dict(),
        "model": language_model.model.config.to_dict(),
        "train": language_model.train.to_dict(),
        "vocabulary": list(language_model.tokenizer.vocabulary.tokens),
        **_names(language_model.codec),
        "history": language_model.history,
    }


def _names(codec: Codec) -> dict[str, list[str]]:
    """Give the names that only some tasks have."""
    target = [] if codec.target is None else list(codec.target.vocabulary.tokens)
    return {key: names for key, names in (("labels", list(codec.labels)), ("target_vocabulary", target)) if names}


def _codec(header: dict[str, Any], text: TextConfig) -> Codec:
    """Make the codec that a header describes; raises ValueError or KeyError where it describes none."""
    splitter = splitter_of(text)
    names = {
        "vocabulary": header["vocabulary"],
        **{key: header.get(key, []) for key in ("labels", "target_vocabulary")},
    }
    if strange := next((key for key, listed in names.items() if not isinstance(listed, list)), None):
        raise ValueError(f"its {strange} is no list")
    labels = tuple(names["labels"])
    if not all(isinstance(label, str) and label for label in labels) or len(set(labels)) != len(labels):
        raise ValueError("its labels are no different names")
    target = tuple(names["target_vocabulary"])
    return Codec(
        Tokenizer(splitter, Vocabulary(tuple(names["vocabulary"]))),
        labels,
        Tokenizer(splitter, Vocabulary(target)) if target else None,
    )


def _check_task(config: ModelConfig, text: TextConfig) -> None:
    """Raise UsageError or ValueError where a text, or names, are those of another task than the network's."""
    check_text(config.task, text, conditioned=config.task in ("lm", "music") and config.labels > 0)
    if (config.target_size and config.task != "translate") or (config.labels and config.task in ("cloze", "translate")):
        raise ValueError(f"the task {config.task} has no use for its names")


def _check_version(file: Container) -> None:
    version, task = file.header.get("version"), file.header.get("task")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise file.damaged(f"its format version is {version!r}")
    if version > FORMAT_VERSION or task not in TASKS:
        newer = f"format version {version}" if version > FORMAT_VERSION else f"task {task!r}"
        newer = newer if len(newer) <= _LONGEST_NAME else f"{newer[:_LONGEST_NAME]}..."
        raise ModelFileError(f"{newer} is newer than this charlm, {display_name(file.path)}", hint="upgrade charlm-rnn")


def _checked_history(history: Any) -> list[dict[str, Any]]:
    """Give the history; raises ValueError where it is no list of records of numbers."""
    for row in history if isinstance(history, list) else [None]:
        if not isinstance(row, dict) or set(row) != set(HISTORY_FIELDS):
            raise ValueError("the history is no list of records")
        if not all(_is_number(v) or (v is None and k == "valid_nats") for k, v in row.items()):
            raise ValueError("the history holds what is no number")
    return list(history)


def _check_training(training: Any) -> None:
    """Raise ValueError where a training cannot go on from these numbers."""
    TrainingNumbers.from_dict(training)
    _checked_history(training["history"])
    if not all(value is None or _is_number(value) for key, value in training.items() if key != "history"):
        raise ValueError("the training state holds a number that is too large")
    if training.get("restarted", 0) > training["step"]:
        raise ValueError("the training state has a later step behind it")


def _is_number(value: Any) -> bool:
    """Tell whether a value can be reckoned with: JSON has whole numbers without end."""
    return type(value) in _LARGEST and abs(value) <= _LARGEST[type(value)]


def _of_training(
    weights: dict[str, Shape], train: TrainConfig, config: ModelConfig, file: Container
) -> dict[str, Shape]:
    """Give the shapes that a checkpoint's arrays are to have, for parameters of the shapes `weights`."""
    kinds = ["weights", *OPTIMIZERS[train.optimizer].slots]
    kinds += [kind for kind in ("best", "good") if any(name.startswith(f"{kind}/") for name in file.types)]
    batch = file.types.get("state/0", ("", (0, 0)))[1][-1:]
    states = len(cell_class(config).states) * config.num_layers if config.task in ("lm", "music") else 0
    carried = {f"state/{i}": (config.hidden_size, *batch) for i in range(states)}
    return {**{f"{kind}/{name}": shape for kind in kinds for name, shape in weights.items()}, **carried}


def _check_types(file: Container, implied: dict[str, Shape], dtype: str) -> None:
    for name, shape in implied.items():
        if file.types.get(name) != (dtype, shape):
            raise file.damaged(f"array {name} is {file.types.get(name, 'missing')}, not {(dtype, shape)}")
    if strange := sorted(set(file.types) - set(implied)):
        raise file.damaged(f"unexpected array {strange[0]!r}")

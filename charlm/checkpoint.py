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
from charlm.config import ModelConfig, TextConfig, TrainConfig, check_text
from charlm.errors import CharlmError, ModelFileError
from charlm.language_model import LanguageModel, Outcome, RunRecord
from charlm.nn.build import build, parameter_shapes
from charlm.nn.cells import cell_class
from charlm.storage import container
from charlm.storage.container import Container
from charlm.storage.files import display_name
from charlm.task import TASKS
from charlm.text import Tokenizer, Vocabulary, splitter_of
from charlm.text.tokens.codec import BINARY, SPECIAL, Codec
from charlm.text.tokens.joining import Spacing
from charlm.text.tokens.music_steps import HIGHEST_KEY
from charlm.training import FIGURES, HISTORY_FIELDS, OPTIMIZERS, TrainingNumbers, TrainingState
from charlm.version import __version__

# Version 1 has no `text.normalize`. All versions up to this one can be read. `spacing` is optional in all of them.
FORMAT_VERSION = 3
MODEL_SUFFIX, CHECKPOINT_SUFFIX = container.SUFFIX, f".ckpt{container.SUFFIX}"
_TYPES = {"float32": "F32", "float64": "F64"}

# Limits that keep sums and quotients of these numbers finite.
_LARGEST: dict[type, float] = {int: 1 << 53, float: 1e300}

# The tokens of music.
_KEYS = frozenset(map(str, range(HIGHEST_KEY + 1)))

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
    container.write(path, _header(language_model, "model"), weights)


def save_training(path: Path, language_model: LanguageModel, training: TrainingState, *, corpus: str) -> None:
    """Write a checkpoint, atomically; corpus: SHA-256 of the text, as hexadecimal digits."""
    header = {**_header(language_model, "checkpoint"), "training": asdict(training.numbers), "corpus": corpus}
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
        config = ModelConfig.from_dict(header["model"])
        text, train = TextConfig.from_dict(header["text"]), TrainConfig.from_dict(header["train"])
        codec = _codec(header, text)
        if header["task"] != config.task:
            raise ValueError(f"two tasks, {header['task']} and {config.task}")
        _check_task(config, text)
        is_model = {"model": True, "checkpoint": False}[header["kind"]]
        history = _checked_history(header["history"])
        core = _checked_core(header.get("core"))
        run = RunRecord.from_dict(header.get("run", {}))
        outcome = _checked_outcome(header.get("outcome"))
        version = _version(header.get("charlm"))
        if not is_model:
            _check_training(header["training"])
            corpus = header["corpus"]
            if not isinstance(corpus, str):
                raise ValueError("the checksum of the corpus is not a string")
    except (CharlmError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise file.damaged(f"invalid header: {error}") from error
    if config.facts.binary_head and config.labels == 1 and codec.labels != BINARY:
        raise file.damaged(f"its labels are {codec.labels}, not {BINARY}")
    if config.facts.inputs == "keys" and not _KEYS.issuperset(codec.tokenizer.vocabulary.tokens[SPECIAL:]):
        raise file.damaged(f"its vocabulary contains other tokens than the keys 0 to {HIGHEST_KEY}")
    for name, size in codec.sizes(config.task).items():
        if getattr(config, name) != size:
            raise file.damaged(f"its header lists {size} names for a {name} of {getattr(config, name)}")
    implied = parameter_shapes(config, ops)
    if not is_model:
        implied = _training_shapes(implied, train, config, file)
    _check_types(file, implied, _TYPES[config.array_dtype])
    values = file.arrays()
    if strange := next((name for name, array in values.items() if not np.isfinite(array).all()), None):
        raise file.damaged(f"{strange} contains NaN or infinity")
    model = build(config, ops)
    for name, array in model.parameters.named(model.parameters.values).items():
        array[...] = ops.array(values[name if is_model else f"weights/{name}"])
    language_model = LanguageModel(model, codec, text, train, history, core, outcome, run, version)
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
        **({} if language_model.core is None else {"core": language_model.core}),
        **({"run": run} if (run := language_model.run.to_dict()) else {}),
        **({} if language_model.outcome is None else {"outcome": language_model.outcome.to_dict()}),
    }


def _names(codec: Codec) -> dict[str, list[Any]]:
    """Return the names that only some tasks have, and the spacing of text with learned spaces."""
    target = [] if codec.target is None else list(codec.target.vocabulary.tokens)
    names = {"labels": list(codec.labels), "target_vocabulary": target}
    tokenizers = {"spacing": codec.tokenizer, "target_spacing": codec.target}
    spacings = {key: one.splitter.spacing.to_json() for key, one in tokenizers.items() if one and one.splitter.spacing}
    return {key: named for key, named in (names | spacings).items() if named}


def _codec(header: dict[str, Any], text: TextConfig) -> Codec:
    """Return the codec that a header describes; raise ValueError or KeyError for an invalid one."""
    splitter = splitter_of(text)
    names = {
        "vocabulary": header["vocabulary"],
        **{key: header.get(key, []) for key in ("labels", "target_vocabulary")},
    }
    if strange := next((key for key, listed in names.items() if not isinstance(listed, list)), None):
        raise ValueError(f"{strange} is not a list")
    labels = tuple(names["labels"])
    if not all(isinstance(label, str) and label for label in labels) or len(set(labels)) != len(labels):
        raise ValueError("the labels are not distinct non-empty strings")
    target = tuple(names["target_vocabulary"])
    # Files of older versions have no spacing: their tokens are joined as English is written.
    own, other = (
        splitter.spelling_as(Spacing.from_json(header[key]) if key in header else None)
        for key in ("spacing", "target_spacing")
    )
    return Codec(
        Tokenizer(own, Vocabulary(tuple(names["vocabulary"]))),
        labels,
        Tokenizer(other, Vocabulary(target)) if target else None,
    )


def _check_task(config: ModelConfig, text: TextConfig) -> None:
    """Raise UsageError or ValueError if the text or the names do not fit the task of the network."""
    check_text(config.task, text, conditioned=config.is_conditioned)
    if (config.target_size and not config.facts.translates) or (config.labels and not config.facts.has_labels):
        raise ValueError(f"labels or a target vocabulary with the task {config.task}")


def _check_version(file: Container) -> None:
    version, task = file.header.get("version"), file.header.get("task")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise file.damaged(f"format version {version!r}")
    if version > FORMAT_VERSION or task not in tuple(TASKS):
        newer = f"format version {version}" if version > FORMAT_VERSION else f"task {task!r}"
        newer = newer if len(newer) <= _LONGEST_NAME else f"{newer[:_LONGEST_NAME]}..."
        raise ModelFileError(f"{newer} is newer than this charlm, {display_name(file.path)}", hint="upgrade charlm-rnn")


def _checked_history(history: Any) -> list[dict[str, Any]]:
    """Return the history; raise ValueError for a malformed one."""
    for row in history if isinstance(history, list) else [None]:
        if not isinstance(row, dict) or set(row) - set(FIGURES) != set(HISTORY_FIELDS):
            raise ValueError("the history is not a list of records")
        if not all(_is_number(v) or (v is None and k == "valid_nats") for k, v in row.items()):
            raise ValueError("the history contains an invalid number")
    return list(history)


def _checked_core(core: Any) -> str | None:
    """Return the name of the core, of any charlm, or None; raise ValueError if it is not a name."""
    if core is not None and not (isinstance(core, str) and core.isidentifier() and len(core) <= _LONGEST_NAME):
        raise ValueError("the core is not a name")
    return core


def _version(charlm: Any) -> str | None:
    """Return the version of the charlm that wrote a file, None if it is not named: nothing depends on it."""
    is_name = isinstance(charlm, str) and charlm.isprintable() and 0 < len(charlm) <= _LONGEST_NAME
    return charlm if is_name else None


def _checked_outcome(outcome: Any) -> Outcome | None:
    """Return what a training has come to, or None; raise ValueError for a malformed record."""
    if outcome is None:
        return None
    if not isinstance(outcome, dict):
        raise ValueError("the outcome is not a record")
    optional = ("valid_nats", "figure")
    numbers = {key: value for key, value in outcome.items() if key != "figure_name"}
    if outcome.get("figure_name") not in ("", *FIGURES) or not all(
        _is_number(value) or (value is None and key in optional) for key, value in numbers.items()
    ):
        raise ValueError("the outcome contains an invalid value")
    return Outcome.from_dict(outcome)


def _check_training(training: Any) -> None:
    """Raise ValueError if a training cannot continue from these numbers."""
    TrainingNumbers.from_dict(training)
    _checked_history(training["history"])
    if not all(value is None or _is_number(value) for key, value in training.items() if key != "history"):
        raise ValueError("the training state contains an invalid number")
    if training.get("restarted", 0) > training["step"]:
        raise ValueError("the training state restarted at a step after its last one")


def _is_number(value: Any) -> bool:
    """Return whether a value is a number that the trainer can compute with; JSON allows integers of any size."""
    return type(value) in _LARGEST and abs(value) <= _LARGEST[type(value)]


def _training_shapes(
    weights: dict[str, Shape], train: TrainConfig, config: ModelConfig, file: Container
) -> dict[str, Shape]:
    """Return the shapes of a checkpoint's arrays; weights: those of the parameters."""
    kinds = ["weights", *OPTIMIZERS[train.optimizer].slots]
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

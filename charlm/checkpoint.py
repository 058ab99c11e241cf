"""The files: one model, one file; nothing in it is executed, and all of it is checked before it is used.

A file is in the safetensors format: a JSON header that names the arrays, then their bytes. Its metadata has one entry,
`charlm`, a JSON object with the format's version, the configurations, the vocabulary and the training history. A model
file holds an array for each parameter; a checkpoint holds `weights/…`, the optimizer's memory, the carried state and
the best weights so far, and the numbers that an exact resumption needs.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charlm import __version__
from charlm.backends import Backend, Shape
from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.errors import CharlmError, ModelFileError
from charlm.files import write_atomically
from charlm.language_model import LanguageModel
from charlm.nn.build import build, parameter_shapes
from charlm.text import Tokenizer, Vocabulary, make_splitter
from charlm.training import TrainingState

FORMAT_VERSION = 1
MODEL_SUFFIX, CHECKPOINT_SUFFIX = ".safetensors", ".ckpt.safetensors"

_FOREIGN_STARTS = {
    b"PK\x03\x04": "a zip archive or a PyTorch file",
    b"\x80": "a pickle",
    b"\x89HDF": "an HDF5 file",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
    b"<": "HTML or XML",
    b"\x1f\x8b": "compressed by gzip",
}


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
    _write(path, _header(language_model, "model"), weights)


def save_training(path: Path, language_model: LanguageModel, training: TrainingState, *, corpus: str) -> None:
    """Write a checkpoint, atomically; corpus: SHA-256 of the text, as hexadecimal digits."""
    header = {**_header(language_model, "checkpoint"), "training": training.numbers, "corpus": corpus}
    _write(path, header, training.arrays)


def load(path: Path, ops: Backend) -> Checkpoint:
    """Open a model file or a checkpoint on a device.

    Raises ModelFileError, exit code 4, where the file is missing, is none of ours, is damaged, is of a newer version,
    or where its arrays are not those that its configuration implies.
    """
    header, shapes, arrays = _open(path)
    try:
        config = ModelConfig.from_dict(header["model"])
        text, train = TextConfig.from_dict(header["text"]), TrainConfig.from_dict(header["train"])
        vocabulary = Vocabulary(tuple(header["vocabulary"]))
        is_model, history = header["kind"] == "model", list(header["history"])
    except (CharlmError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"its configuration does not hold: {error}") from error
    if len(vocabulary) != config.vocabulary_size:
        raise _damaged(path, f"{len(vocabulary)} tokens in a vocabulary of {config.vocabulary_size}")
    implied = parameter_shapes(config, ops)
    prefix = "" if is_model else "weights/"
    _check_shapes(path, shapes, {prefix + name: shape for name, shape in implied.items()}, exact=is_model)
    values = arrays()
    model = build(config, ops)
    for name, array in model.parameters.named(model.parameters.values).items():
        stored = values[prefix + name]
        if stored.dtype != config.dtype or not np.isfinite(stored).all():
            raise _damaged(path, f"{name} holds numbers that are none, or of another type than {config.dtype}")
        array[...] = ops.array(stored)
    splitter = make_splitter(text.level, text.split, lowercase=text.lowercase)  # type: ignore[arg-type]
    language_model = LanguageModel(model, Tokenizer(splitter, vocabulary), text, train, history)
    if is_model:
        return Checkpoint(language_model)
    return Checkpoint(language_model, TrainingState(dict(header["training"]), values), str(header["corpus"]))


def _header(language_model: LanguageModel, kind: str) -> dict[str, Any]:
    return {
        "format": "charlm",
        "version": FORMAT_VERSION,
        "charlm": __version__,
        "kind": kind,
        "task": "lm",
        "text": language_model.text.to_dict(),
        "model": language_model.model.config.to_dict(),
        "train": language_model.train.to_dict(),
        "vocabulary": list(language_model.tokenizer.vocabulary.tokens),
        "history": language_model.history,
    }


def _write(path: Path, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save as to_bytes

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}  # else its bytes are wrong
    metadata = {"charlm": json.dumps(header, ensure_ascii=False, allow_nan=False)}
    write_atomically(path, to_bytes(contiguous, metadata=metadata))


def _open(path: Path) -> tuple[dict[str, Any], dict[str, Shape], Any]:
    """Read the header; give it, the arrays' shapes, and a function that reads the arrays."""
    from safetensors import SafetensorError, safe_open

    if path.is_dir():
        raise ModelFileError(f"is a directory, {path}", hint="name the .safetensors file in it")
    try:
        with open(path, "rb") as file:
            start = file.read(32)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise ModelFileError(f"no such file, {path}", hint="check the name, or train it: charlm train") from None
    except OSError as error:
        raise ModelFileError(f"cannot read ({error.strerror}), {path}", hint="check its mode with ls -l") from error
    if size < 10 or start[8:9] != b"{":
        what = next((name for mark, name in _FOREIGN_STARTS.items() if start.startswith(mark)), "no safetensors file")
        raise ModelFileError(f"not a model, {path} is {what}", hint="charlm train makes one")
    try:
        with safe_open(path, framework="np") as opened:
            metadata = opened.metadata() or {}
            shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    try:
        header = json.loads(metadata["charlm"])
        ours = header["format"] == "charlm" and isinstance(header["version"], int)
    except (KeyError, TypeError, ValueError):
        ours = False
    if not ours:
        raise ModelFileError(f"not a charlm model, {path}", hint="charlm train makes one")
    if header["version"] > FORMAT_VERSION:
        raise ModelFileError(
            f"format version {header['version']} is newer than this charlm, {path}", hint="upgrade charlm-rnn"
        )

    def arrays() -> dict[str, np.ndarray]:
        with safe_open(path, framework="np") as opened:
            return {name: opened.get_tensor(name) for name in shapes}

    return header, shapes, arrays


def _check_shapes(path: Path, found: dict[str, Shape], implied: dict[str, Shape], *, exact: bool) -> None:
    for name, shape in implied.items():
        if found.get(name) != shape:
            raise _damaged(path, f"array {name} is {found.get(name, 'missing')}, its configuration implies {shape}")
    if exact and (strange := sorted(set(found) - set(implied))):
        raise _damaged(path, f"array {strange[0]!r} is none of its configuration's")


def _damaged(path: Path, reason: str) -> ModelFileError:
    return ModelFileError(f"damaged model file, {path}: {reason}", hint="restore it from a copy, or train it again")

"""Models: train, save and load them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from charlm import checkpoint
from charlm.api.lines import plain_lines
from charlm.backends import get_backend
from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.language_model import LanguageModel
from charlm.session import SIZES, prepare_from
from charlm.task import task_named, task_of
from charlm.text import read_lines
from charlm.training.pretrained import size_of_vectors, start_from_vectors


def train(
    lines: Iterable[str], *, condition: bool = False, vectors: str | Path | None = None, **options: Any
) -> LanguageModel:
    """Train a model on lines and return it with the weights of its best evaluation.

    condition: whether each line begins with a label and a tab; the label is then x<1>
    vectors: a file of word vectors that the embedding starts from, in word2vec's, GloVe's or fastText's text form
    options: fields of `TextConfig`, `ModelConfig` and `TrainConfig`; those not given follow from the corpus
    Raises UsageError for an invalid option, TypeError for an unknown one, CorpusError for an empty or malformed corpus.
    Raises DivergenceError if the loss becomes NaN or infinite and cannot be recovered.
    """
    names = {field.name for kind in (TextConfig, ModelConfig, TrainConfig) for field in fields(kind)}
    if strange := sorted(set(options) - (names - {*SIZES, "valid"})):
        raise TypeError(f"train() has no option {strange[0]!r}")
    if vectors is not None:
        task = task_of(task_named(options.get("task", "lm"), bidirectional=options.get("bidirectional")))
        options["embedding_size"] = size_of_vectors(read_lines([str(vectors)]), task, options)
    session = prepare_from(plain_lines(lines), options, conditioned=condition)
    if vectors is not None:
        start_from_vectors(session.language_model, read_lines([str(vectors)]))
    for _ in session.trainer.run():
        pass
    session.trainer.take_best()
    return replace(session.language_model, outcome=session.trainer.outcome())


def save(model: LanguageModel, path: str | Path) -> None:
    """Write a model file, atomically; raise ResourceError if that fails."""
    checkpoint.save(Path(path), model)


def load(path: str | Path, *, device: str = "auto") -> LanguageModel:
    """Read a model file; raise ModelFileError if it is missing, damaged or not a model.

    path: with or without the suffix `.safetensors`
    """
    return checkpoint.load(Path(path), get_backend(device)).language_model

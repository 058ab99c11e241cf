"""Settings that follow from the corpus: whatever a training is not given.

Each table has a row for a size of the training part, in targets (tokens, labels or steps). The rows were found by
measuring: `python -m tests.benchmarks.settings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from charlm.config import TextConfig
from charlm.task import Task


@dataclass(frozen=True)
class CorpusSize:
    """What the settings follow from.

    tokens: number of steps of the training part
    sequences: lines, sentences, pairs or pieces of the training part
    types: number of tokens in the vocabulary
    """

    tokens: int
    sequences: int
    types: int


@dataclass(frozen=True)
class Row:
    """The settings of corpora of up to `tokens` tokens; `epochs` is an upper limit, see `within`."""

    tokens: float
    hidden_size: int
    num_layers: int
    dropout: float
    batch_size: int
    epochs: int
    learning_rate: float
    embedding_size: int = 0


TABLES: dict[str, tuple[Row, ...]] = {
    "lm char": (
        Row(3_000, 64, 1, 0.3, 8, 60, 0.005),
        Row(20_000, 128, 1, 0.4, 8, 40, 0.004),
        Row(100_000, 128, 2, 0.4, 16, 30, 0.004),
        Row(500_000, 192, 2, 0.2, 32, 20, 0.004),
        Row(inf, 256, 2, 0.15, 32, 12, 0.005),
    ),
    "lm word": (
        Row(20_000, 64, 1, 0.4, 8, 20, 0.004, 64),
        Row(200_000, 128, 1, 0.4, 16, 12, 0.004, 64),
        Row(inf, 256, 1, 0.3, 32, 6, 0.004, 128),
    ),
}


def before_reading(task: Task, text: TextConfig, records: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those settings that decide which tokens are learned and what is held out, if they are not given.

    records: lines, sentences, pairs or pieces of the corpus
    """
    settings = {
        "valid_fraction": 0.1 if records < 5_000 else 0.05,
        "min_count": 2 if text.level == "word" and task.needs_labels and records >= 2_000 else 1,
    }
    return {name: value for name, value in settings.items() if name not in given}


def chosen(task: Task, text: TextConfig, corpus: CorpusSize, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of network and training that are not given: fields of `ModelConfig` and `TrainConfig`.

    given: fields of both, and `bidirectional`
    """
    table = TABLES[f"lm {text.level}"]
    row = next(row for row in table if corpus.tokens <= row.tokens)
    limits = {"epochs", "max_steps", "minutes"} & given.keys()
    settings = {
        "hidden_size": row.hidden_size,
        "num_layers": row.num_layers,
        "embedding_size": row.embedding_size if task.inputs == "tokens" else 0,
        "dropout": row.dropout,
        "batch_size": row.batch_size,
        "seq_length": 64,
        "learning_rate": row.learning_rate,
        **({} if limits else {"epochs": row.epochs}),
    }
    settings = {name: value for name, value in settings.items() if name not in given}
    return {**settings, **_tied(settings, given)} if given.get("tie_weights") else settings


def _tied(settings: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, int]:
    """Return the size, if there is a free one, that makes the embedding as wide as the output layer's input."""
    ways = 2 if given.get("bidirectional") else 1
    dense = given.get("dense")
    if "embedding_size" in settings:
        return {"embedding_size": dense[-1] if dense else ways * {**settings, **given}["hidden_size"]}
    if "hidden_size" in settings and not dense:
        return {"hidden_size": max(1, given["embedding_size"] // ways)}
    return {}

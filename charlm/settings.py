"""Settings that follow from the corpus: whatever a training is not given.

`TABLES` has a table for each task and level, with a row for each size of corpus. A task without one has that of the
language model. The rows were found by measuring what
validates best in a given time. `python -m tests.benchmarks.settings` compares them with a search.

If the time does not suffice for the passes over the corpus that a row is worth, the training takes fewer steps. A row
of large corpora also has a `least` number of steps: with fewer, the row before it is better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from charlm.config import TextConfig
from charlm.config.cutoffs import all_clusters, default_cutoffs, work_of
from charlm.task import Task

# The work of a training without a limit, and of a minute: multiply-adds of its forward passes. Two cores of an AMD EPYC
# (Zen 4) take about two minutes for the first.
_WORK, _WORK_PER_MINUTE = 2.0e12, 0.9e12
# What a step costs besides its products, in the same unit: in all, and for each weight that the optimizer moves.
_STEP_WORK, _STEP_WORK_PER_WEIGHT = 6e7, 60.0
_FEW_RECORDS = 5_000  # a twentieth of fewer is too small to judge by
_RARE_FROM = 2_000  # records; from here on words that occur once become <UNK>, so that it is learned
_GATES = {"rnn": 1, "gru-simple": 2, "gru": 3, "lstm": 4, "lstm-peephole": 4}


@dataclass(frozen=True)
class CorpusSize:
    """What the settings follow from.

    tokens: time steps of the training part
    outputs: units of the output layer: tokens, labels or keys
    """

    tokens: int
    outputs: int


@dataclass(frozen=True)
class Row:
    """The settings of corpora of up to `tokens` time steps.

    least: the fewest steps of a training for which the row is better than the one before it
    """

    tokens: float
    least: int
    hidden_size: int
    num_layers: int
    embedding_size: int
    dropout: float
    batch_size: int
    seq_length: int
    learning_rate: float
    epochs: int


TABLES: dict[str, tuple[Row, ...]] = {
    "lm char": (
        Row(4_000, 0, 96, 1, 0, 0.6, 8, 32, 0.015, 22),
        Row(12_000, 0, 128, 1, 0, 0.7, 8, 32, 0.018, 20),
        Row(50_000, 0, 256, 1, 0, 0.7, 8, 32, 0.01, 10),
        Row(120_000, 0, 256, 1, 0, 0.5, 16, 32, 0.01, 12),
        Row(500_000, 0, 192, 1, 0, 0.3, 16, 32, 0.01, 12),
        Row(inf, 0, 160, 1, 0, 0.05, 16, 32, 0.011, 12),
        Row(inf, 2_000, 256, 2, 0, 0.15, 32, 32, 0.005, 12),
    ),
    "lm word": (
        Row(100_000, 0, 64, 1, 64, 0.5, 8, 32, 0.01, 8),
        Row(inf, 0, 80, 1, 72, 0.0, 8, 32, 0.018, 8),
        Row(inf, 6_000, 128, 1, 128, 0.1, 16, 32, 0.008, 8),
    ),
    "cloze char": (
        Row(50_000, 0, 96, 1, 0, 0.5, 8, 32, 0.01, 16),
        Row(inf, 0, 128, 1, 0, 0.2, 16, 32, 0.01, 10),
    ),
    "cloze word": (
        Row(100_000, 0, 64, 1, 64, 0.4, 8, 32, 0.01, 8),
        Row(inf, 0, 64, 1, 64, 0.1, 8, 32, 0.01, 8),
    ),
    "tag word": (
        Row(40_000, 0, 96, 1, 96, 0.2, 8, 32, 0.01, 8),
        Row(inf, 0, 160, 1, 192, 0.4, 32, 64, 0.015, 6),
    ),
    "classify char": (
        Row(30_000, 0, 64, 1, 0, 0.4, 8, 32, 0.01, 10),
        Row(inf, 0, 96, 1, 0, 0.5, 32, 32, 0.01, 7),
    ),
    "classify word": (
        Row(30_000, 0, 48, 1, 48, 0.2, 8, 32, 0.01, 8),
        Row(inf, 0, 128, 1, 56, 0.1, 32, 32, 0.009, 2),
    ),
    "translate word": (
        Row(30_000, 0, 128, 1, 64, 0.1, 16, 32, 0.01, 14),
        Row(inf, 0, 96, 1, 64, 0.0, 8, 32, 0.01, 8),
        Row(inf, 5_000, 128, 1, 96, 0.1, 16, 32, 0.008, 8),
    ),
    "translate char": (
        Row(30_000, 0, 96, 1, 0, 0.3, 16, 32, 0.01, 20),
        Row(inf, 0, 128, 1, 0, 0.1, 16, 32, 0.01, 10),
    ),
    "music word": (
        Row(5_000, 0, 96, 1, 0, 0.4, 8, 64, 0.01, 40),
        Row(inf, 0, 192, 1, 0, 0.45, 8, 64, 0.01, 40),
    ),
}
# Bytes are learned as characters are, pieces as words.
TABLES |= {
    f"{task} {level}": TABLES[f"{task} {like}"]
    for task in ("lm", "cloze", "classify")
    for level, like in (("byte", "char"), ("subword", "word"))
}


def before_reading(task: Task, text: TextConfig, records: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those settings that decide which tokens are learned and what is held out, if they are not given.

    records: lines, sentences, pairs or pieces of the corpus
    """
    settings = {
        "valid_fraction": 0.1 if records < _FEW_RECORDS else 0.05,
        "min_count": 2 if text.level == "word" and task.needs_labels and records >= _RARE_FROM else 1,
    }
    return {name: value for name, value in settings.items() if name not in given}


def chosen(task: Task, text: TextConfig, corpus: CorpusSize, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of network and training that are not given: fields of `ModelConfig` and `TrainConfig`.

    given: fields of both, and `bidirectional`

    Without epochs and steps, a training ends after the passes of its row, or when its work is done. The work is that of
    the minutes that are given, or else a fixed one.
    """
    work = _WORK if given.get("minutes") is None else _WORK_PER_MINUTE * given["minutes"]
    table = TABLES.get(f"{task.name} {text.level}", TABLES[f"lm {text.level}"])
    rows = [row for row in table if corpus.tokens <= row.tokens]
    settings = _settings(rows[0], task, given)
    for row in rows[1:]:
        larger = _settings(row, task, given)
        if row.tokens == rows[0].tokens and work >= row.least * _work_of_step(task, corpus, {**larger, **given}):
            settings = larger
    if given.get("softmax") == "adaptive":
        settings["cutoffs"] = default_cutoffs(corpus.outputs, tied=bool(given.get("tie_weights")))
    limited = {"epochs", "max_steps"} & given.keys()
    settings |= {"epochs": None} if limited else _limits(task, corpus, {**settings, **given}, work)
    return {name: value for name, value in settings.items() if name not in given and value is not None}


def _settings(row: Row, task: Task, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a row, as they fit the task and what is given."""
    settings = {name: value for name, value in asdict(row).items() if name not in ("tokens", "least")}
    if task.inputs != "tokens":
        settings["embedding_size"] = 0
    if not given.get("tie_weights"):
        return settings
    # The embedding is as wide as the input of the output layer.
    ways, dense = (2 if given.get("bidirectional") else 1), given.get("dense")
    if "embedding_size" not in given:
        settings["embedding_size"] = dense[-1] if dense else ways * {**settings, **given}["hidden_size"]
    elif not dense:
        settings["hidden_size"] = max(1, given["embedding_size"] // ways)
    return settings


def _limits(task: Task, corpus: CorpusSize, settings: Mapping[str, Any], work: float) -> dict[str, Any]:
    """Return where a training ends: after the epochs of its row, or after the steps that its work suffices for."""
    of_step = _work_of_step(task, corpus, settings)
    steps = settings["epochs"] * corpus.tokens / (settings["batch_size"] * settings["seq_length"])
    if steps * of_step > work:
        return {"epochs": None, **({} if settings.get("minutes") else {"max_steps": max(1, int(work / of_step))})}
    return {}


def _work_of_step(task: Task, corpus: CorpusSize, settings: Mapping[str, Any]) -> float:
    """Return the multiply-adds of a step's forward pass, and what else it costs."""
    hidden, layers, embedding = settings["hidden_size"], settings["num_layers"], settings["embedding_size"]
    ways = 2 if settings.get("bidirectional") else 1
    inputs = embedding + (layers - 1) * (1 if task.is_cloze else ways) * hidden
    recurrent = ways * _GATES.get(settings.get("cell", "lstm"), 4) * hidden * (layers * hidden + inputs)
    stacks = 2 if task.translates else 1
    output: float = ways * hidden * corpus.outputs
    output_weights = output
    # Of a corpus that was not read yet, the number of outputs is not known.
    tied = bool(settings.get("tie_weights"))
    cutoffs = settings.get("cutoffs") or default_cutoffs(corpus.outputs, tied=tied)
    if settings.get("softmax") == "adaptive" and cutoffs[-1] < corpus.outputs:
        clusters = all_clusters(cutoffs, tied=tied)
        output, output_weights = work_of(clusters, corpus.outputs, ways * hidden, tied=tied)
    of_token = stacks * recurrent + (0 if task.body == "last step" else output)
    weights = stacks * recurrent + output_weights + embedding * corpus.outputs
    tokens = settings["batch_size"] * settings["seq_length"]
    return float(tokens * of_token + _STEP_WORK_PER_WEIGHT * weights + _STEP_WORK)

"""Batches of every task, laid out by hand: which sequence lies where, what it reads and what it is asked for."""

from dataclasses import replace
from itertools import chain
from typing import NamedTuple

import numpy as np

from charlm.text.batches.lanes import NO_TARGET, Batch
from charlm.text.tokens.vocabulary import NOTHING

BODIES = {  # fields of `ModelConfig`, for every body and head that `build` knows
    "cloze": {"task": "cloze", "bidirectional": True},
    "tag": {"task": "tag", "labels": 3, "bidirectional": True},
    "tag-causal": {"task": "tag", "labels": 3},
    "yes-no": {"task": "tag", "labels": 1, "bidirectional": True},
    "classify": {"task": "classify", "labels": 3, "bidirectional": True},
    "classify-causal": {"task": "classify", "labels": 3},
    "translate": {"task": "translate", "target_size": 4},
    "music": {"task": "music"},
    "genre": {"task": "music", "labels": 2},
    "conditioned": {"task": "lm", "labels": 2},
    "adaptive": {"task": "lm", "softmax": "adaptive", "cutoffs": (1, 3)},
    "spelled": {
        **{"task": "tag", "labels": 3, "bidirectional": True, "embedding_size": 2},
        **{"char_features": 2, "characters": 3},
    },
}
LONGEST = 4  # characters of a word
SPECIAL = 2  # names in the vocabulary of music that are no keys


class Sequence(NamedTuple):
    """tokens [n], of music [n, keys]; answers [n]: tags, or the class n times; label: of the conditioned tasks.

    With characters, tokens are [n, 1 + LONGEST].
    """

    tokens: np.ndarray
    answers: np.ndarray
    label: int
    source: np.ndarray


class Span(NamedTuple):
    """Where a sequence lies in a batch: `[first:stop, ..., lane]`."""

    lane: int
    first: int
    stop: int


def random_sequence(config, length, rng, *, source_length=None):
    """Draw a sequence for the task; each has a source and a label, asked for or not."""
    labels = max(2, config.labels)
    if config.task == "music":
        tokens = rng.integers(0, 2, (length, config.vocabulary_size - SPECIAL))
    else:
        tokens = rng.integers(0, config.target_size or config.vocabulary_size, length)
    if config.char_features:
        spelled = rng.integers(0, config.characters + 1, (length, LONGEST))
        spelled[np.arange(LONGEST) >= rng.integers(1, LONGEST + 1, length)[:, None]] = NOTHING
        tokens = np.concatenate([tokens[:, None], spelled], axis=1)
    source = rng.integers(0, config.vocabulary_size, source_length or length + 1)
    return Sequence(tokens, rng.integers(0, labels, length), int(rng.integers(labels)), source)


def read_and_asked(config, sequence):
    """Return what a network reads of a sequence and what it is asked for, step by step."""
    tokens, answers, label, _ = sequence
    if config.task == "cloze":
        return tokens, tokens
    if config.task == "tag":
        return tokens, answers
    if config.task == "classify":
        return tokens, np.where(np.arange(len(tokens)) == len(tokens) - 1, answers, NO_TARGET)
    if config.task == "music":
        units = np.zeros((len(tokens), config.labels), int)
        if config.labels:
            units[0, label] = 1
        before = np.concatenate([np.zeros_like(tokens[:1]), tokens[:-1]])
        return np.concatenate([before, units], axis=1), tokens
    first = config.vocabulary_size + label if config.task == "lm" and config.labels else NOTHING
    return np.concatenate([[first], tokens[:-1]])[: len(tokens)], tokens


def lay(config, lanes, *, padding=NOTHING):
    """Lay sequences end to end in lanes; of translation each has a lane of its own.

    padding: what the unused steps hold. Gives the batch and the spans of its sequences in order.
    """
    T = max(sum(len(sequence.tokens) for sequence in lane) for lane in lanes)
    inputs, targets, starts, spans = [], [], np.zeros((T, len(lanes)), bool), []
    for number, lane in enumerate(lanes):
        parts = [read_and_asked(config, sequence) for sequence in lane]
        at = 0
        for sequence in lane:
            starts[at, number] = True
            spans.append(Span(number, at, at + len(sequence.tokens)))
            at += len(sequence.tokens)
        starts[at : at + 1, number] = True
        filler = max(padding, 0) if config.task == "music" else padding
        for columns, part, value in ((inputs, 0, filler), (targets, 1, NO_TARGET)):
            column = np.concatenate([one[part] for one in parts])
            columns.append(np.pad(column, [(0, T - at), *[(0, 0)] * (column.ndim - 1)], constant_values=value))
    types = (np.uint8, np.int8) if config.task == "music" else (np.int32, np.int32)
    x, y = (np.stack(columns, axis=-1).astype(kind) for columns, kind in zip((inputs, targets), types, strict=True))
    if config.task != "translate":
        return Batch(x, y, starts), spans
    sources, source_starts = lay_sources([lane[0].source for lane in lanes], padding)
    return Batch(x, y, None, sources, source_starts), spans


def lay_sources(sources, padding=NOTHING):
    """Lay sources side by side."""
    S = max(map(len, sources))
    columns, starts = np.full((S, len(sources)), padding, np.int32), np.zeros((S, len(sources)), bool)
    starts[0] = True
    for number, source in enumerate(sources):
        columns[: len(source), number] = source
        starts[len(source) : len(source) + 1, number] = True
    return columns, starts


def random_task_batch(config, rng, *, lengths=((2, 2), (3,)), missing=True):
    """Return a batch of random sequences, several in a lane where the task has that, one of them without an answer."""
    if config.task == "translate":
        lengths = [(length,) for length in chain(*lengths)]
    sources = iter((3, 1, 2, 4) * 9)
    lanes = [[random_sequence(config, n, rng, source_length=next(sources)) for n in lane] for lane in lengths]
    batch, spans = lay(config, lanes)
    if missing and config.task != "classify":
        lane, first, _ = spans[-1]
        batch.targets[first, ..., lane] = NO_TARGET
    return replace(batch)  # with the number of its targets

"""Models of every kind that other programs can compute, what charlm finds for their lines, and what runtimes find."""

from __future__ import annotations

from typing import NamedTuple
from unittest import mock

import numpy as np

from charlm.inference.prediction.base import log_probs_at
from charlm.inference.scoring import Scorer
from charlm.text import EOS_ID, NOTHING
from charlm.text.dataset import joined
from tests import task_models
from tests.task_models import WORD, random_lines, task_model

MANY = tuple(f"w{number}" for number in range(600))  # too many for one-hot input
_LARGE = {
    "large": (MANY, (), (), WORD, {"task": "lm"}),
    "large-cloze": (MANY, (), (), WORD, {"task": "cloze", "bidirectional": True}),
    "large-tag": (MANY, ("N", "V"), (), task_models.APART, {"task": "tag", "bidirectional": True}),
}
_GRU = {"cell": "gru"}
CASES = {  # a kind of `task_models`, fields of the text, fields of the network
    "lstm": ("lm", {}, {}),
    "rnn": ("lm", {}, {"cell": "rnn"}),
    "relu": ("lm", {}, {"cell": "rnn", "activation": "relu", "num_layers": 1}),
    "gru-simple": ("lm", {}, {"cell": "gru-simple"}),
    "gru": ("lm", {}, _GRU),
    "before": ("lm", {}, {**_GRU, "reset": "before"}),
    "deep, tied": ("lm", {}, {"num_layers": 4, "embedding_size": 5, "tie_weights": True}),
    "dense": ("lm", {}, {"dense": (6, 4), "embedding_size": 3}),
    "relu on top": ("lm", {}, {**_GRU, "dense": (6,), "activation": "relu", "num_layers": 1}),
    "stream": ("lm", {"unit": "stream"}, _GRU),
    "conditioned": ("conditioned", {}, {"embedding_size": 3}),
    "large": ("large", {}, {}),
    "cloze": ("cloze", {}, {"dense": (6,)}),
    "cloze, one-hot": ("cloze-char", {}, _GRU),
    "cloze, tied": ("cloze", {}, {"embedding_size": 10, "tie_weights": True, "num_layers": 1}),
    "cloze, large": ("large-cloze", {}, {"cell": "gru-simple"}),
    "tag": ("tag", {}, {}),
    "tag, causal": ("tag", {}, {**_GRU, "bidirectional": False}),
    "tag, large": ("large-tag", {}, {"cell": "rnn"}),
    "yes-no": ("yes-no", {}, {**_GRU, "embedding_size": 4}),
    "classify": ("classify", {}, {}),
    "classify, causal": ("classify", {}, {"cell": "rnn", "bidirectional": False, "dense": (4,), "num_layers": 1}),
}


class Sequence(NamedTuple):
    """What a network reads for a line, and what charlm finds.

    inputs [T]: ids; targets: of each place asked for, the step and the choice
    log_probs: ln P of each, as the commands compute it
    """

    inputs: np.ndarray
    targets: np.ndarray
    log_probs: np.ndarray


def model_of(case: str, **network):
    """Draw the model of a case."""
    kind, text, fields = CASES[case]
    with mock.patch.dict(task_models.KINDS, _LARGE):
        own = {"dtype": "float32", "spread": 0.8, **fields, **network}
        return task_model(kind, text=text, **own)


def sequences_of(language_model, count: int) -> list[Sequence]:
    """Draw lines, and return what the network reads for them with what charlm finds."""
    tokens = (*language_model.tokenizer.vocabulary.tokens[2:20], "q")
    between = "" if language_model.tokenizer.level == "char" else " "
    lines = [line or tokens[0] for line in random_lines(tokens, count, 9, between=between)]
    if language_model.facts.needs_labels:
        return _labelled(language_model, lines)
    labels = [language_model.labels[number % 3] if language_model.labels else "" for number in range(count)]
    scored = [f"{label}\t{line}" if label else line for label, line in zip(labels, lines, strict=True)]
    found = []
    scores = Scorer(language_model, per_token=True).score(scored)
    for label, score in zip(labels, scores, strict=True):
        ids = np.array([token.token_id for token in score.token_scores])
        inputs = ids
        if not language_model.facts.is_cloze:
            first = EOS_ID if language_model.is_stream else NOTHING
            if label:
                first = language_model.codec.first_inputs([label])[0]
            inputs = np.concatenate([[first], ids[:-1]])
        places = np.stack([np.arange(len(ids)), ids], axis=1)
        found.append(Sequence(inputs, places, -np.array([token.nats for token in score.token_scores])))
    return found


def _labelled(language_model, lines: list[str]) -> list[Sequence]:
    """Return the sequences of a tagger or a classifier: every label at every place that has one."""
    tokenizer, is_tagger = language_model.tokenizer, language_model.facts.name == "tag"
    encode = tokenizer.encode_tokens if is_tagger else tokenizer.encode
    ids = [encode(tokenizer.split(line) if is_tagger else line) for line in lines]
    inputs = ids if is_tagger else [np.append(one, EOS_ID) for one in ids]
    places = [np.arange(len(one)) if is_tagger else np.array([len(one) - 1]) for one in inputs]
    model = language_model.model
    columns = log_probs_at(model, joined(inputs), places, model.workspace(), batch_size=8)
    if model.config.labels == 1:
        columns = [np.concatenate([np.log1p(-np.exp(one)), one]) for one in columns]
    found = []
    for one, at, column in zip(inputs, places, columns, strict=True):
        at = at if is_tagger else np.zeros(1, np.int64)  # a classifier has one answer
        step, label = np.meshgrid(at, np.arange(len(column)), indexing="ij")
        found.append(Sequence(one, np.stack([step.ravel(), label.ravel()], axis=1), column.T.ravel()))
    return found


def padded(inputs: list[np.ndarray], padding: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sequences side by side, [B, T], and their lengths [B]."""
    lengths = np.array([len(one) for one in inputs])
    ids = np.full((len(inputs), lengths.max()), padding, np.int64)
    for row, one in zip(ids, inputs, strict=True):
        row[: len(one)] = one
    return ids, lengths


def check(sequences: list[Sequence], log_probs, *, batch: int, within: float = 1e-5) -> float:
    """Hold a runtime to what charlm found; return the largest difference.

    log_probs: function of some sequences' inputs that returns [B, T, choices], or [B, choices] of a classifier
    """
    worst = 0.0
    for start in range(0, len(sequences), batch):
        group = sequences[start : start + batch]
        found = log_probs([one.inputs for one in group])
        for of_line, one in zip(found, group, strict=True):
            step, choice = one.targets.T
            of_line = of_line if of_line.ndim == 2 else of_line[None]
            worst = max(worst, float(np.abs(of_line[step, choice] - one.log_probs).max(initial=0.0)))
    assert worst < within
    return worst

"""The likeliest labels of sequences, of which some may not follow others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charlm.nn.heads.base import Transitions
from charlm.nn.heads.crf import Chain, likeliest
from charlm.text.batches.whole import groups_of_like_length
from charlm.text.iob import are_entities, follows

_SIDE_BY_SIDE = 64  # sequences
# Of each label in a sequence: its number, and its probability.
Labelled = tuple[np.ndarray, np.ndarray]


def possible(labels: Sequence[str], scheme: str) -> Transitions | None:
    """Return 0 for what the scheme of tags allows and -inf for the rest; None if it allows everything."""
    if scheme != "iob2" or not are_entities(labels):
        return None
    may, first = follows(labels)
    return Transitions(np.where(may, 0.0, -np.inf), np.where(first, 0.0, -np.inf), np.zeros(len(labels)))


def independent(log_probs: np.ndarray, possible: Transitions | None) -> Labelled:
    """Return the likeliest possible labels under independent probabilities, and the probability of each.

    log_probs [L, n]: ln P of each label; or [1, n], that of the second of two
    """
    probs = np.exp(log_probs)
    if len(probs) == 1:
        probs = np.concatenate([1.0 - probs, probs])
    best = probs.argmax(axis=0) if probs.size else np.empty(0, np.intp)
    if possible is not None and not _is_possible(best, possible):
        begins = np.arange(best.size)[:, None] == 0
        best = likeliest(log_probs.T[:, :, None], begins, possible)[:, 0]
    return best, probs[best, np.arange(best.size)]


def _is_possible(labels: np.ndarray, possible: Transitions) -> bool:
    if not labels.size:
        return True
    return possible.first[labels[0]] == 0 and not possible.A[labels[:-1], labels[1:]].any()


def chained(scores: Sequence[np.ndarray], transitions: Transitions, possible: Transitions | None) -> list[Labelled]:
    """Return for each sequence its likeliest possible labels under a chain, and their marginal probabilities.

    scores: of each sequence [L, n]
    """
    found: list[Labelled] = [(np.empty(0, np.intp), np.empty(0))] * len(scores)
    allowed = transitions
    if possible is not None:
        allowed = Transitions(transitions.A + possible.A, transitions.first + possible.first, transitions.last)
    lengths = [one.shape[1] for one in scores]
    for group in groups_of_like_length(lengths, _SIDE_BY_SIDE):
        longest = max(lengths[i] for i in group)
        columns = np.zeros((longest, transitions.first.size, len(group)))
        begins = np.zeros((longest, len(group)), bool)
        begins[:1] = True
        for lane, i in enumerate(group):
            columns[: lengths[i], :, lane] = scores[i].T
            # What is left of the lane is another sequence.
            begins[lengths[i] : lengths[i] + 1, lane] = True
        labels, marginals = likeliest(columns, begins, allowed), Chain(columns, begins, transitions).marginals
        for lane, i in enumerate(group):
            best = labels[: lengths[i], lane]
            found[i] = best, marginals[np.arange(lengths[i]), best, lane]
    return found

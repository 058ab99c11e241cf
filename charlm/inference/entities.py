"""Precision, recall and F1 of whole entities, as CoNLL's evaluation script computes them.

Tjong Kim Sang and De Meulder 2003. An entity begins at a tag `B-X`, and at a tag `I-X` that does not continue an entity
of type X. A predicted entity is right if its type, its first token and its last token are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charlm.text.iob import BEGIN, OUTSIDE


class Entities:
    """Counts of the entities of a corpus by their types.

    types: those of the labels, sorted
    counts [types, 3]: the right, the predicted and the annotated entities of each type, int64

    labels: the tags: `O`, `B-X` and `I-X`
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.types = sorted({label[2:] for label in labels if label != OUTSIDE})
        self.counts = np.zeros((len(self.types), 3), np.int64)
        self._type_of = np.array([-1 if label == OUTSIDE else self.types.index(label[2:]) for label in labels])
        self._is_begin = np.array([label.startswith(BEGIN) for label in labels])

    def add(self, predicted: np.ndarray, truth: np.ndarray, first: np.ndarray) -> None:
        """Count sentences, end to end.

        predicted, truth [N]: ids of tags; first [N]: whether a sentence begins at the token
        """
        true, ends = self._entities(truth, first)
        found, found_ends = self._entities(predicted, first)
        is_right = (true == found) & (ends == found_ends)
        for column, types in enumerate((true[is_right], found, true)):
            self.counts[:, column] += np.bincount(types[types >= 0], minlength=len(self.types))

    def _entities(self, tags: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return for each token the type of the entity that begins there, or -1, and the token after its end."""
        types = self._type_of[tags]
        before = np.concatenate([[-1], types[:-1]])
        begins = (types >= 0) & (self._is_begin[tags] | first | (types != before))
        stops = np.append(np.flatnonzero(begins | first | (types < 0)), len(tags))
        ends = stops[np.searchsorted(stops, np.arange(len(tags)), side="right").clip(max=len(stops) - 1)]
        return np.where(begins, types, -1), ends


def precision_recall_f1(right: int, found: int, true: int) -> dict[str, float]:
    """Return right / found, right / true, and their harmonic mean; 0 for an empty denominator."""
    return {
        "precision": right / found if found else 0.0,
        "recall": right / true if true else 0.0,
        "f1": 2 * right / (found + true) if found + true else 0.0,
    }

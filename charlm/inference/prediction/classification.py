"""Predicting the class of a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np

from charlm.inference.prediction.base import Prediction, log_probs_at
from charlm.language_model import LanguageModel
from charlm.text.dataset import joined
from charlm.text.lines.reading import windows

_WINDOW = 32  # batches of lines read ahead


def classify(
    language_model: LanguageModel, lines: Iterable[str], *, batch_size: int = 64, window: int | None = None
) -> Iterator[Prediction]:
    """Yield the likeliest class of each line, with the probabilities of all; at most `window` lines are read ahead."""
    model, labels = language_model.model, language_model.labels
    ws = model.workspace()
    for texts in windows(lines, window or _WINDOW * batch_size, size=len):
        ids, offsets = language_model.tokenizer.encode_lines(texts)
        encoded = [ids[start:end] for start, end in pairwise(offsets)]
        places = [np.array([len(one) - 1]) for one in encoded]
        columns = log_probs_at(model, joined(encoded), places, ws, batch_size=batch_size)
        for text, column in zip(texts, columns, strict=True):
            probs = np.exp(column[:, 0].astype(np.float64))
            best = int(probs.argmax())
            every = dict(zip(labels, probs.tolist(), strict=True))
            yield Prediction(text, labels[best], float(probs[best]), {"probs": every})

"""A tag for each token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from charlm.language_model import LanguageModel
from charlm.prediction.base import Prediction, log_probs_at
from charlm.text.corpus import windows
from charlm.text.dataset import joined

_WINDOW = 32  # batches of lines that are read ahead


def tag(
    language_model: LanguageModel, lines: Iterable[str], *, batch_size: int = 64, window: int | None = None
) -> Iterator[Prediction]:
    """Yield the tags of each line, one for each of its tokens; window: lines read ahead at most."""
    split = language_model.tokenizer.split
    for texts in windows(lines, window or _WINDOW * batch_size, size=len):
        sentences = [split(line) for line in texts]
        for text, tokens, (tags, probs) in zip(
            texts, sentences, tag_tokens(language_model, sentences, batch_size=batch_size), strict=True
        ):
            yield Prediction(text, tags, probs, {"tokens": tokens})


def tag_tokens(
    language_model: LanguageModel, sentences: Sequence[Sequence[str]], *, batch_size: int = 64
) -> Iterator[tuple[list[str], list[float]]]:
    """Yield the tags of each sentence, whose tokens are apart already, and the probability of each tag."""
    model, labels = language_model.model, language_model.labels
    encoded = [language_model.tokenizer.encode_tokens(tokens) for tokens in sentences]
    places = [np.arange(len(one)) for one in encoded]
    for log_probs in log_probs_at(model, joined(encoded), places, model.workspace(), batch_size=batch_size):
        probs = np.exp(log_probs.astype(np.float64))
        if model.config.labels == 1:  # the one unit says how probable the tag 1 is
            probs = np.concatenate([1.0 - probs, probs])
        best = probs.argmax(axis=0) if probs.size else np.empty(0, np.int64)
        yield [labels[i] for i in best.tolist()], probs[best, np.arange(best.size)].tolist()


def tag_columns(
    language_model: LanguageModel, lines: Iterable[str], *, batch_size: int = 64, window: int | None = None
) -> Iterator[tuple[str, str, float] | None]:
    """Yield token, tag and probability for each line that begins with a token, and None for each blank one.

    lines: as in a corpus of tags; what follows a token's tab is not read. A blank line ends a sentence.
    window: sentences read ahead at most
    """
    for group in windows(_sentences(lines), window or _WINDOW * batch_size, size=len):
        sentences = [[line for line in sentence if line is not None] for sentence in group]
        for sentence, (tags, probs) in zip(
            group, tag_tokens(language_model, sentences, batch_size=batch_size), strict=True
        ):
            found = zip(tags, probs, strict=True)
            yield from (None if token is None else (token, *next(found)) for token in sentence)


def _sentences(lines: Iterable[str]) -> Iterator[list[str | None]]:
    """Yield the tokens of each sentence, with None for the blank line that ends it, and for any further one."""
    sentence: list[str | None] = []
    for line in lines:
        token = line.split("\t", 1)[0]
        sentence.append(token or None)
        if not token:
            yield sentence
            sentence = []
    if sentence:
        yield sentence

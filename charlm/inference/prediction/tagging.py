"""Predicting a tag for each token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat

import numpy as np

from charlm.errors import CorpusError
from charlm.inference.prediction.base import Prediction, log_probs_at
from charlm.inference.prediction.sequences import chained, independent, possible
from charlm.language_model import LanguageModel
from charlm.nn.workspace import Workspace
from charlm.text.dataset import Sequences, offsets_of
from charlm.text.lines.reading import numbered, windows
from charlm.text.tag_lines import TagLines, tag_lines

_WINDOW = 32  # batches of lines read ahead

Row = tuple[str, str, float] | str  # a token, its tag and the tag's probability; or a line without a token


def tag(
    language_model: LanguageModel, lines: Iterable[str], *, batch_size: int = 64, window: int | None = None
) -> Iterator[Prediction]:
    """Yield the tags of each line, one for each token; at most `window` lines are read ahead."""
    split = language_model.tokenizer.split
    ws = language_model.model.workspace()
    for texts in windows(lines, window or _WINDOW * batch_size, size=len):
        sentences = [split(line) for line in texts]
        found = tag_tokens(language_model, sentences, batch_size=batch_size, ws=ws)
        for text, tokens, (tags, probs) in zip(texts, sentences, found, strict=True):
            yield Prediction(text, tags, probs, {"tokens": tokens})


def tag_tokens(
    language_model: LanguageModel,
    sentences: Sequence[Sequence[str]],
    *,
    batch_size: int = 64,
    ws: Workspace | None = None,
) -> Iterator[tuple[list[str], list[float]]]:
    """Yield the tags of each sentence, a sequence of tokens, and the probability of each tag.

    They are the likeliest sequence that the scheme of the tags allows. With a CRF, the probability of a tag is its
    marginal one: the sum over all sequences that have it.

    ws: a workspace to share between calls
    """
    model, labels = language_model.model, language_model.labels
    ids, table = language_model.codec.read_words(chain.from_iterable(sentences))
    encoded = Sequences(ids, ids, offsets_of(map(len, sentences)), table)
    places = [np.arange(len(one)) for one in sentences]
    columns = log_probs_at(model, encoded, places, ws or model.workspace(), batch_size=batch_size)
    allowed, transitions = possible(labels, language_model.text.tag_scheme), model.head.transitions()
    found = (
        map(independent, (one.astype(np.float64) for one in columns), repeat(allowed))
        if transitions is None
        else chained(columns, transitions, allowed)
    )
    for best, probs in found:
        yield [labels[i] for i in best.tolist()], probs.tolist()


def tag_columns(
    language_model: LanguageModel, lines: Iterable[str], *, batch_size: int = 64, window: int | None = None
) -> Iterator[Row]:
    """Yield token, tag and probability for each line with a token, and the text of each other line.

    A line of white space ends a sentence and yields an empty text. Comments and document markers are yielded unchanged.

    lines: in the format of a corpus of tags; the tags are ignored
    window: sentences read ahead at most
    Raises CorpusError with the place of a malformed line.
    """
    ws = language_model.model.workspace()
    for group in windows(_sentences(lines, tag_lines(language_model.text)), window or _WINDOW * batch_size, size=len):
        sentences = [[text for text, is_token in sentence if is_token] for sentence in group]
        for sentence, (tags, probs) in zip(
            group, tag_tokens(language_model, sentences, batch_size=batch_size, ws=ws), strict=True
        ):
            found = zip(tags, probs, strict=True)
            yield from ((text, *next(found)) if is_token else text for text, is_token in sentence)


def _sentences(lines: Iterable[str], form: TagLines) -> Iterator[list[tuple[str, bool]]]:
    """Yield each sentence as its lines, including the one that ends it, each with whether it is a token."""
    sentence: list[tuple[str, bool]] = []
    try:
        for line, place in numbered(lines):
            if form.ends_sentence(line):
                yield [*sentence, ("", False)]
                sentence = []
            elif form.is_comment(line):
                sentence.append((line, False))
            else:
                sentence.append((form.token(line, place), True))
    except CorpusError:
        if sentence:
            yield sentence  # lines before an error are answered
        raise
    if sentence:
        yield sentence

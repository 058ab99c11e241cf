"""Minimal pairs: how often a model finds the good sentence of two likelier than the bad one."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from charlm.errors import CorpusError, UsageError
from charlm.inference.scoring import Score, Scorer
from charlm.language_model import LanguageModel
from charlm.text.lines.reading import numbered
from charlm.text.records import columns

_SETS = ("UID", "linguistics_term", "field")  # keys of BLiMP that name a set, from the finest to the coarsest
_HINT = 'give {"sentence_good": ..., "sentence_bad": ...} on each line, or good TAB bad'


@dataclass(frozen=True)
class Pair:
    """Two sentences of which one is good.

    set: the name of the set that it belongs to; empty if it has none
    """

    good: str
    bad: str
    set: str = ""


@dataclass(frozen=True)
class ScoredPair:
    """A pair and the scores of its sentences.

    credit: 1 if the good sentence is likelier, 1/2 if both are equally likely, 0 if the bad one is
    """

    pair: Pair
    good: Score
    bad: Score
    credit: float


@dataclass(frozen=True)
class PairAccuracy:
    """The accuracy over a set of pairs.

    pairs, ties: number of all pairs and of those with equally likely sentences
    accuracy: the mean credit
    standard_error: sqrt(sum (credit - accuracy)^2 / (n (n - 1))) of that mean; None for a single pair
    """

    set: str
    pairs: int
    ties: int
    accuracy: float
    standard_error: float | None


def read_pairs(lines: Iterable[str]) -> Iterator[Pair]:
    """Yield the pairs of a file: JSON Lines as those of BLiMP (Warstadt et al. 2020), or lines `good TAB bad`.

    The first line decides on the format. The set of a record is its `UID`, `linguistics_term` or `field`, the first
    that it has.
    Raises CorpusError with the place of a malformed line.
    """
    is_json: bool | None = None
    for line, place in numbered(lines):
        if is_json is None:
            is_json = line.startswith("{") and _object(line) is not None
        if is_json:
            yield _pair_of(_object(line), place)
        else:
            yield Pair(*columns(line, "good TAB bad", place))


def _object(line: str) -> dict[str, Any] | None:
    """Return the JSON object on a line, None if it is something else."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _pair_of(record: dict[str, Any] | None, place: str) -> Pair:
    if record is None:
        raise CorpusError(f"not a JSON object, {place}", hint=_HINT)
    sentences = [record.get(key) for key in ("sentence_good", "sentence_bad")]
    for key, sentence in zip(("sentence_good", "sentence_bad"), sentences, strict=True):
        if not isinstance(sentence, str):
            raise CorpusError(f"{key} is missing or not a string, {place}", hint=_HINT)
        if "\n" in sentence:
            raise CorpusError(f"{key} contains a newline, {place}", hint="give each sentence on one line")
    good, bad = map(str, sentences)
    return Pair(good, bad, str(next((record[key] for key in _SETS if record.get(key)), "")))


def score_pairs(language_model: LanguageModel, pairs: Iterable[Pair], *, batch_size: int = 64) -> Iterator[ScoredPair]:
    """Yield each pair with the scores of its sentences, in order; memory does not grow with their number.

    The likelihood of a sentence is P(line) as `Scorer` computes it, for a cloze model the pseudo-probability. Sentences
    with the same tokens are equally likely.
    Raises UsageError for a model that scores no text, or whose lines need a label.
    """
    language_model.require("score")
    if language_model.is_conditioned:
        raise UsageError("--pairs with a model trained with --condition", hint="use a model without labels")
    waiting: deque[Pair] = deque()

    def sentences() -> Iterator[str]:
        for pair in pairs:
            waiting.append(pair)
            yield pair.good
            yield pair.bad

    scores = Scorer(language_model, batch_size=batch_size).score(sentences())
    encode = language_model.tokenizer.encode
    for good in scores:
        bad, pair = next(scores), waiting.popleft()
        is_tie = good.nats == bad.nats or encode(pair.good).tolist() == encode(pair.bad).tolist()
        yield ScoredPair(pair, good, bad, 0.5 if is_tie else float(good.nats < bad.nats))


def pair_accuracies(scored: Iterable[ScoredPair]) -> list[PairAccuracy]:
    """Return the accuracy of each set, in the order of the first pairs, and at the end that of all pairs, named `all`.

    Raises CorpusError if there are no pairs.
    """
    credits: dict[str, list[int]] = {}
    for one in scored:
        # Wrong, tied and right pairs of a set.
        credits.setdefault(one.pair.set, [0, 0, 0])[round(2 * one.credit)] += 1
    if not credits:
        raise CorpusError("nothing to evaluate: there are no pairs", hint="name a file with at least one pair")
    in_all = [sum(counts) for counts in zip(*credits.values(), strict=True)]
    named = [item for item in credits.items() if item[0] or len(credits) > 1]
    return [_accuracy(name, *counts) for name, counts in chain(named, [("all", in_all)])]


def _accuracy(name: str, wrong: int, ties: int, right: int) -> PairAccuracy:
    count = wrong + ties + right
    mean = (right + 0.5 * ties) / count
    squares = wrong * mean**2 + ties * (0.5 - mean) ** 2 + right * (1.0 - mean) ** 2
    return PairAccuracy(name, count, ties, mean, math.sqrt(squares / (count * (count - 1))) if count > 1 else None)

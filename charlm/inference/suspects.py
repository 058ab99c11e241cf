"""Tokens that a model which reads both sides finds unlikely, each with one that it would rather have there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial
from itertools import pairwise

import numpy as np

from charlm.inference.cloze import Candidate
from charlm.inference.prediction.base import STEPS
from charlm.inference.scoring import Score, Scorer
from charlm.language_model import LanguageModel
from charlm.nn.model import Choices
from charlm.text import EOS_ID, UNK_ID, Vocabulary
from charlm.text.dataset import joined
from charlm.text.lines.reading import windows

_LIKENESS_NATS = 5.0
_LOOKED_AT = 200  # tokens that might be suggested
_NUMBERS = 1 << 19  # probabilities that are looked at together
_WEIGHT = 8  # of a character beside one that only its score is asked of: the scores of its tokens are kept
_BUCKETS = 64  # kinds of characters that spellings are compared by


@dataclass(frozen=True)
class Suspect:
    """A token that both sides find unlikely: its position from 1, its nats, and what they would rather have there."""

    position: int
    token: str
    nats: float
    suggestion: Candidate


def suspects(
    language_model: LanguageModel,
    lines: Iterable[str],
    *,
    factor: float = 100.0,
    batch_size: int = 64,
    window: int | None = None,
) -> Iterator[tuple[Score, list[Suspect]]]:
    """Yield the score of each line, and its tokens than which another is `factor` times as likely, by both sides.

    Of those that are, the one suggested has the largest P(token | all others) e^(5 s), s being the likeness of its
    spelling to that of the token, between 0 and 1: slips of the pen and of the ear look like what was meant.
    """
    scorer = Scorer(language_model, batch_size=batch_size, per_token=True, window=window)
    finder, model = _Suspicion(language_model, factor), language_model.model
    for texts in windows(lines, scorer.window, size=lambda text: _WEIGHT * len(text)):
        ids, offsets = language_model.tokenizer.encode_lines(texts)
        encoded = [ids[start : end - 1] for start, end in pairwise(offsets)]
        found: dict[int, tuple[Score, list[Suspect]]] = {}
        for batch, numbers, begins, lanes in joined(encoded).batches(batch_size, STEPS).placed():
            y, choices = model.choices(batch, finder.workspace)
            nats = model.nats_of(y, batch.targets, finder.workspace)
            for i, begin, lane in zip(numbers.tolist(), begins.tolist(), lanes.tolist(), strict=True):
                of_line = nats[begin : begin + len(encoded[i]), lane]
                score = scorer.scored("", texts[i], encoded[i], of_line)
                found[i] = score, list(finder.suspects(score, partial(_at, choices, begin, lane)))
        yield from (found[i] for i in range(len(texts)))


def _at(choices: Choices, begin: int, lane: int, places: np.ndarray) -> np.ndarray:
    """Return ln P of every token, `[V, n]`, at n places of the line that begins at a step of a lane."""
    return choices(begin + places, np.full_like(places, lane))


class _Suspicion:
    """Finds the suspects of lines of which the network has told the probabilities.

    Only where a token is less likely than 1 / factor can another be `factor` times as likely: nowhere else are the
    probabilities of all tokens looked at. They are looked at in parts, so that a long line takes no more memory.
    """

    def __init__(self, language_model: LanguageModel, factor: float) -> None:
        self.vocabulary, self.factor = language_model.tokenizer.vocabulary, factor
        self.workspace = language_model.model.workspace()
        self._spelling = _Spelling(self.vocabulary)
        self._together = max(1, _NUMBERS // len(self.vocabulary))

    def suspects(self, score: Score, log_probs_at: Callable[[np.ndarray], np.ndarray]) -> Iterator[Suspect]:
        """Yield the suspects of a line; log_probs_at: gives ln P of every token, `[V, n]`, at n of its places."""
        tokens = score.token_scores
        # A little less, as both sides of the comparison below are rounded.
        least = math.log(self.factor) - 1e-6
        doubtful = np.array([place for place, token in enumerate(tokens) if token.nats >= least], np.int64)
        for start in range(0, doubtful.size, self._together):
            places = doubtful[start : start + self._together]
            probs = np.exp(log_probs_at(places).astype(np.float64))
            probs[[EOS_ID, UNK_ID]] = 0.0
            for column, place in zip(probs.T, places.tolist(), strict=True):
                token = tokens[place]
                likelier = np.flatnonzero(column >= self.factor * math.exp(-token.nats))
                likelier = likelier[(likelier != token.token_id) & (column[likelier] > 0.0)]
                if likelier.size:
                    chosen = self._spelling.likeliest(token.token, likelier, column[likelier])
                    suggestion = Candidate(self.vocabulary.token_of(chosen), float(column[chosen]))
                    yield Suspect(place + 1, token.token, token.nats, suggestion)


class _Spelling:
    """Compares how tokens of a vocabulary are spelled with others, the likeness itself for as few as will do.

    Two spellings share at most as many characters as they have in common in any order. Characters are counted by the
    remainder of their code points, which can only make that number larger.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._counts = np.zeros((len(vocabulary), _BUCKETS), np.uint16)
        self._lengths = np.zeros(len(vocabulary), np.int64)  # 0: not counted yet

    def likeliest(self, token: str, ids: np.ndarray, probs: np.ndarray) -> int:
        """Return the id with the largest P e^(5 s), see `suspects`; only the likeliest of the ids are looked at."""
        if ids.size > _LOOKED_AT:
            least = np.partition(probs, -_LOOKED_AT)[-_LOOKED_AT]
            ids, probs = ids[probs >= least], probs[probs >= least]
        order = np.argsort(-probs, kind="stable")[:_LOOKED_AT]
        ids, log_probs = ids[order], np.log(probs[order])
        for token_id in ids[self._lengths[ids] == 0].tolist():
            self._counts[token_id], self._lengths[token_id] = _counted(self._vocabulary.token_of(token_id))
        counts, length = _counted(token)
        in_common = np.minimum(self._counts[ids], counts).sum(axis=1, dtype=np.int64)
        at_most = log_probs + _LIKENESS_NATS * (2.0 * in_common / (self._lengths[ids] + length))
        matcher = SequenceMatcher(b=token, autojunk=False)
        best, best_at = -math.inf, 0
        for at in np.argsort(-at_most, kind="stable").tolist():
            if at_most[at] < best:
                break
            matcher.set_seq1(self._vocabulary.token_of(int(ids[at])))
            fitness = float(log_probs[at]) + _LIKENESS_NATS * matcher.ratio()
            if fitness > best or (fitness == best and at < best_at):
                best, best_at = fitness, at
        return int(ids[best_at])


def _counted(token: str) -> tuple[np.ndarray, int]:
    """Return how often a token has characters of each remainder, and its length."""
    points = np.frombuffer(token.encode("utf-32-le", "surrogatepass"), "<u4")
    return np.bincount(points % _BUCKETS, minlength=_BUCKETS).clip(max=0xFFFF).astype(np.uint16), len(token)

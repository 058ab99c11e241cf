"""Suspects: tokens that a cloze model finds unlikely, each with a likelier one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
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

_SIMILARITY_NATS = 5.0  # nats that an equal spelling is worth
_MOST_CANDIDATES = 200  # likeliest tokens whose spelling is compared
_PROBABILITIES = 1 << 19  # in memory at a time
_WEIGHT = 8  # memory of a character beside that in plain scoring, because token scores are kept
_BUCKETS = 64  # hash buckets of characters


@dataclass(frozen=True)
class Suspect:
    """A token that is unlikely given both sides.

    position: in the line, from 1
    nats: -ln P(token | all others)
    suggestion: a likelier token
    """

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
    """Yield the score and the suspects of each line.

    A token is a suspect if another token is at least `factor` times as likely there, given both sides. Among such
    tokens, the suggestion has the largest P(token | all others) e^(5 s). s, from 0 to 1, is the similarity of the two
    spellings, because a misspelling resembles the intended word.

    window: lines read ahead at most, None for 32 batches
    """
    scorer = Scorer(language_model, batch_size=batch_size, per_token=True, window=window)
    finder = _Finder(language_model, factor)
    for _, found in scorer.shared(partial(_of_window, scorer, finder), suspect_windows(lines, scorer.window)):
        yield from found


def suspect_windows(lines: Iterable[str], window: int) -> Iterator[list[str]]:
    """Yield the lines that are read ahead and batched together; window: lines at most."""
    return windows(lines, window, size=lambda text: _WEIGHT * len(text))


def _of_window(scorer: Scorer, finder: _Finder, texts: Sequence[str]) -> list[tuple[Score, list[Suspect]]]:
    """Return the score and the suspects of each line of a window."""
    language_model, ws = scorer.language_model, finder.workspace
    model = language_model.model
    ids, offsets = language_model.tokenizer.encode_lines(texts)
    encoded = [ids[start : end - 1] for start, end in pairwise(offsets)]
    found: dict[int, tuple[Score, list[Suspect]]] = {}
    for batch, numbers, begins, lanes in joined(encoded).batches(scorer.batch_size, STEPS).placed():
        y, choices = model.choices(batch, ws)
        nats = model.nats_of(y, batch.targets, ws)
        for i, begin, lane in zip(numbers.tolist(), begins.tolist(), lanes.tolist(), strict=True):
            of_line = nats[begin : begin + len(encoded[i]), lane]
            score = scorer.scored("", texts[i], encoded[i], of_line)
            found[i] = score, list(finder.suspects(score, partial(_at, choices, begin, lane)))
    return [found[i] for i in range(len(texts))]


def _at(choices: Choices, begin: int, lane: int, places: np.ndarray) -> np.ndarray:
    """Return ln P of every token, `[V, n]`, at n positions of the line that begins at step `begin` of a lane."""
    return choices(begin + places, np.full_like(places, lane))


class _Finder:
    """Finds the suspects of a line from its score and the model's probabilities.

    Another token can be `factor` times as likely only where P(token) is at most 1 / factor. Only there are the
    probabilities of all tokens computed, in parts, so that memory does not grow with the line.
    """

    def __init__(self, language_model: LanguageModel, factor: float) -> None:
        self._language_model = language_model
        self.vocabulary, self.factor = language_model.tokenizer.vocabulary, factor
        self.workspace = language_model.model.workspace()
        self._spelling = _Spelling(self.vocabulary)
        self._together = max(1, _PROBABILITIES // len(self.vocabulary))

    def __reduce__(self) -> tuple[type[_Finder], tuple[LanguageModel, float]]:
        """Return how another process makes such a finder: with buffers of its own."""
        return type(self), (self._language_model, self.factor)

    def suspects(self, score: Score, log_probs_at: Callable[[np.ndarray], np.ndarray]) -> Iterator[Suspect]:
        """Yield the suspects of a line.

        log_probs_at: returns ln P of every token, `[V, n]`, at n positions of the line
        """
        tokens = score.token_scores
        # A little less than ln(factor), because both sides of the comparison below are rounded.
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
    """Compares spellings of tokens, with the exact similarity of as few tokens as possible.

    An upper bound of the similarity comes from the number of common characters in any order. Characters are counted in
    buckets by the remainder of their code points, which can only raise the bound.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._counts = np.zeros((len(vocabulary), _BUCKETS), np.uint16)
        self._lengths = np.zeros(len(vocabulary), np.int64)  # 0: not counted yet

    def likeliest(self, token: str, ids: np.ndarray, probs: np.ndarray) -> int:
        """Return the id with the largest P e^(5 s), as in `suspects`, among the 200 likeliest of some ids."""
        if ids.size > _MOST_CANDIDATES:
            least = np.partition(probs, -_MOST_CANDIDATES)[-_MOST_CANDIDATES]
            ids, probs = ids[probs >= least], probs[probs >= least]
        order = np.argsort(-probs, kind="stable")[:_MOST_CANDIDATES]
        ids, log_probs = ids[order], np.log(probs[order])
        for token_id in ids[self._lengths[ids] == 0].tolist():
            self._counts[token_id], self._lengths[token_id] = _counted(self._vocabulary.token_of(token_id))
        counts, length = _counted(token)
        in_common = np.minimum(self._counts[ids], counts).sum(axis=1, dtype=np.int64)
        at_most = log_probs + _SIMILARITY_NATS * (2.0 * in_common / (self._lengths[ids] + length))
        matcher = SequenceMatcher(b=token, autojunk=False)
        best, best_at = -math.inf, 0
        for at in np.argsort(-at_most, kind="stable").tolist():
            if at_most[at] < best:
                break
            matcher.set_seq1(self._vocabulary.token_of(int(ids[at])))
            fitness = float(log_probs[at]) + _SIMILARITY_NATS * matcher.ratio()
            if fitness > best or (fitness == best and at < best_at):
                best, best_at = fitness, at
        return int(ids[best_at])


def _counted(token: str) -> tuple[np.ndarray, int]:
    """Return the number of a token's characters in each bucket, and its length."""
    points = np.frombuffer(token.encode("utf-32-le", "surrogatepass"), "<u4")
    return np.bincount(points % _BUCKETS, minlength=_BUCKETS).clip(max=0xFFFF).astype(np.uint16), len(token)

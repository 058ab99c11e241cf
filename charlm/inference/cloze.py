"""Filling gaps with a cloze model, which reads both sides of a token."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

import numpy as np

from charlm.inference.prediction.base import STEPS
from charlm.language_model import LanguageModel
from charlm.text import EOS_ID, UNK_ID
from charlm.text.batches.lanes import Batch
from charlm.text.dataset import joined
from charlm.text.lines.reading import windows
from charlm.text.tokens.gaps import find_gaps

_PASSES = 16  # of the network over a line, at most
_PROBABILITIES = 1 << 22  # in memory at a time
_WINDOW = 8  # batches of lines read ahead


@dataclass(frozen=True)
class Candidate:
    """A token for a gap, with its probability given all other tokens, among the tokens of the vocabulary."""

    token: str
    prob: float


@dataclass(frozen=True)
class Filled:
    """A line with its gaps filled: the original text, the filled text, and the best candidates for each gap."""

    text: str
    filled: str
    gaps: list[list[Candidate]]


class Filler:
    """Fills each gap of a line with the likeliest token given both sides; `find_gaps` defines a gap.

    The network passes over a line at most 16 times. Up to 16 gaps are filled one after the other, the surest first;
    the network reads `<UNK>` for the gaps that are still open. With more gaps, each pass fills several, and these do
    not see each other.

    candidates: number of the likeliest tokens listed for each gap
    window: lines read ahead at most, None for eight batches
    """

    def __init__(
        self, language_model: LanguageModel, *, candidates: int = 1, batch_size: int = 64, window: int | None = None
    ) -> None:
        self.language_model, self.batch_size = language_model, batch_size
        self.candidates = min(candidates, len(language_model.tokenizer.vocabulary) - 2)
        self.window = window or _WINDOW * batch_size
        self._workspace = language_model.model.workspace()

    def fill(self, lines: Iterable[str]) -> Iterator[Filled]:
        """Yield each line filled, in order; a line without a gap is unchanged."""
        for texts in windows(lines, self.window, size=len):
            opened = [self._opened(text) for text in texts]
            for passes_left in range(_PASSES, 0, -1):
                unfinished = [line for line in opened if line.open.size]
                if not unfinished:
                    break
                self._fill_surest(unfinished, passes_left)
            yield from map(_Opened.filled, opened)

    def _opened(self, text: str) -> _Opened:
        """Encode a line, with `<UNK>` for each gap."""
        tokenizer = self.language_model.tokenizer
        spans = find_gaps(text, tokenizer.level)
        edges = [0, *chain.from_iterable(spans), len(text)]
        parts = [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]
        ids, offsets = tokenizer.encode_lines(parts)
        ids[offsets[1:] - 1] = UNK_ID  # a gap is at the end of each part but the last
        return _Opened(text, parts, ids[:-1], offsets[1:-1] - 1)

    def _fill_surest(self, lines: list[_Opened], passes_left: int) -> None:
        """Run the network once over some lines, and fill the surest gaps of each: its open gaps / passes left."""
        vocabulary = self.language_model.tokenizer.vocabulary
        sequences = joined([line.ids for line in lines])
        for batch, numbers, begins, lanes in sequences.batches(self.batch_size, STEPS).placed():
            group = [lines[i] for i in numbers.tolist()]
            counts = [line.open.size for line in group]
            steps = np.concatenate([begin + line.open for begin, line in zip(begins, group, strict=True)])
            likeliest = iter(self._likeliest(batch, steps, np.repeat(lanes, counts)))
            for line, count in zip(group, counts, strict=True):
                of_line = list(islice(likeliest, count))
                surest = np.argsort([-probs[0] for _, probs in of_line], kind="stable")[: -(-count // passes_left)]
                for at in surest.tolist():
                    place, (ids, probs) = int(line.open[at]), of_line[at]
                    named = map(vocabulary.token_of, ids.tolist())
                    line.found[place] = [Candidate(*one) for one in zip(named, probs.tolist(), strict=True)]
                    line.ids[place] = ids[0]
                line.open = np.delete(line.open, surest)

    def _likeliest(self, batch: Batch, steps: np.ndarray, lanes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the ids and probabilities of the likeliest tokens at some places of a batch: steps [n], lanes [n]."""
        model = self.language_model.model
        _, choices = model.choices(batch, self._workspace)
        together = max(1, _PROBABILITIES // model.config.vocabulary_size)
        for start in range(0, len(steps), together):
            probs = known_probs(choices(steps[start : start + together], lanes[start : start + together]))
            for column in np.ascontiguousarray(probs.T):
                yield _largest(column, self.candidates)


@dataclass
class _Opened:
    """A line while its gaps are being filled.

    parts: the text before, between and after the gaps
    ids [N]: of the line's tokens, with `<UNK>` for each open gap
    open: the positions of the open gaps in ids, ascending
    found: the candidates for the filled gaps, by position
    """

    text: str
    parts: list[str]
    ids: np.ndarray
    open: np.ndarray
    found: dict[int, list[Candidate]] = field(default_factory=dict)

    def filled(self) -> Filled:
        """Return the line with the first candidate in each gap."""
        gaps = [self.found[place] for place in sorted(self.found)]
        tokens = [*(gap[0].token for gap in gaps), ""]
        return Filled(self.text, "".join(chain(*zip(self.parts, tokens, strict=True))), gaps)


def _largest(probs: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids and the values of the `count` largest of probs [V], largest first, ties by id."""
    ids = np.flatnonzero(probs >= np.partition(probs, -count)[-count])
    ids = ids[np.argsort(-probs[ids], kind="stable")][:count]
    return ids, probs[ids]


def known_probs(log_probs: np.ndarray) -> np.ndarray:
    """Return probabilities `[V, n]` from log-probabilities `[V, n]`, with `<UNK>` and `<EOS>` masked, renormalised."""
    known = log_probs.astype(np.float64)
    known[[EOS_ID, UNK_ID]] = -math.inf
    known -= known.max(axis=0)
    probs: np.ndarray = np.exp(known)
    probs /= probs.sum(axis=0)
    return probs

"""What a model that reads both sides is for: filling gaps."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from charlm.language_model import LanguageModel
from charlm.prediction.base import log_probs_at
from charlm.text import EOS_ID, UNK_ID
from charlm.text.corpus import windows
from charlm.text.dataset import joined

GAP = "___"
_WORD_GAP = re.compile(rf"(?<!\w){GAP}(?!\w)")
_WINDOW = 8  # batches of lines that are read ahead


@dataclass(frozen=True)
class Candidate:
    """A token for a place, and its probability there, given all others; for a gap, also that it is a known token."""

    token: str
    prob: float


@dataclass(frozen=True)
class Filled:
    """A line with its gaps filled: the text as it came, the filled text, and the best candidates for each gap."""

    text: str
    filled: str
    gaps: list[list[Candidate]]


class Filler:
    """Fills each `___` of a line with the likeliest token given both sides.

    Several gaps of a line are filled one after the other, the surest first: to the gaps that are still open, the model
    sees `<UNK>` in place of the others. At word level a gap stands apart from letters and digits; at character level
    it is one character.
    """

    def __init__(
        self, language_model: LanguageModel, *, candidates: int = 1, batch_size: int = 64, window: int | None = None
    ) -> None:
        self.language_model, self.candidates, self.batch_size = language_model, candidates, batch_size
        self.window = window or _WINDOW * batch_size
        self._workspace = language_model.model.workspace()
        self._pattern = re.compile(GAP) if language_model.tokenizer.level == "char" else _WORD_GAP

    def fill(self, lines: Iterable[str]) -> Iterator[Filled]:
        """Yield each line filled, in order; one without a gap as it is."""
        for texts in windows(lines, self.window, size=len):
            sequences, gaps = zip(*map(self._with_gaps, texts), strict=True)
            chosen: list[dict[int, list[Candidate]]] = [{} for _ in texts]
            while open_lines := [i for i, places in enumerate(gaps) if len(chosen[i]) < len(places)]:
                self._fill_one_each(open_lines, sequences, gaps, chosen)
            for text, places, found in zip(texts, gaps, chosen, strict=True):
                best = iter([found[place][0].token for place in places])
                filled = self._pattern.sub(lambda _, best=best: next(best), text)  # type: ignore[misc]
                yield Filled(text, filled, [found[place] for place in places])

    def _with_gaps(self, text: str) -> tuple[np.ndarray, list[int]]:
        """Give the ids of a line, `<UNK>` for each gap, and where the gaps are."""
        ids, offsets = self.language_model.tokenizer.encode_lines(self._pattern.split(text))
        ids[offsets[1:] - 1] = UNK_ID  # the ends of the parts are where the gaps are
        return ids[:-1], (offsets[1:-1] - 1).tolist()

    def _fill_one_each(
        self,
        numbers: list[int],
        sequences: tuple[np.ndarray, ...],
        gaps: tuple[list[int], ...],
        chosen: list[dict[int, list[Candidate]]],
    ) -> None:
        """Fill in each of some lines the gap that the model is surest of."""
        vocabulary = self.language_model.tokenizer.vocabulary
        open_gaps = [np.array([place for place in gaps[i] if place not in chosen[i]], np.int64) for i in numbers]
        columns = log_probs_at(
            self.language_model.model,
            joined([sequences[i] for i in numbers]),
            open_gaps,
            self._workspace,
            batch_size=self.batch_size,
        )
        for i, places, log_probs in zip(numbers, open_gaps, columns, strict=True):
            probs = known_probs(log_probs)
            at = int(probs.max(axis=0).argmax())
            order = np.argsort(-probs[:, at], kind="stable")[: min(self.candidates, len(probs) - 2)]
            place = int(places[at])
            chosen[i][place] = [Candidate(vocabulary.token_of(int(t)), float(probs[t, at])) for t in order]
            sequences[i][place] = order[0]


def known_probs(log_probs: np.ndarray) -> np.ndarray:
    """Give the probabilities `[V, n]` of the known tokens: neither `<UNK>` nor `<EOS>`, the others renormalised."""
    known = log_probs.astype(np.float64)
    known[[EOS_ID, UNK_ID]] = -math.inf
    known -= known.max(axis=0)
    probs: np.ndarray = np.exp(known)
    probs /= probs.sum(axis=0)
    return probs

"""Surprisal, entropy and entropy reduction, word by word: how hard each is to read by what came before it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from charlm.errors import UsageError
from charlm.inference.adaptation import Adapter
from charlm.inference.cache import Cache
from charlm.inference.regions import Regions, split_at_marks
from charlm.inference.scoring import Scorer
from charlm.inference.words import written_words
from charlm.language_model import LanguageModel
from charlm.nn.layer import State
from charlm.nn.workspace import Workspace
from charlm.text import EOS, UNK_ID
from charlm.text.batches.lanes import NO_TARGET, Batch

Per = Literal["word", "token", "region"]

_BIT = math.log(2.0)  # nats
_PROBABILITIES = 1 << 19  # in memory at a time
_NATS, _ENTROPY, _RANK = range(3)  # columns of the figures of a token


@dataclass(frozen=True, slots=True)
class Surprisal:
    """How hard a word, a token or a region is, in bits.

    H(w) is the entropy of the next token before the first token of w, and H'(w) the one after its last token. After
    `<EOS>`, the end of the line, H' is 0.

    line, position: from 1; the position in the line
    text: as it is written in the line; `<EOS>` for the end of the line
    surprisal: -log2 P, summed over its tokens
    entropy: H(w) = -sum_v P(v) log2 P(v)
    entropy_reduction: max(0, H(w) - H'(w)), what w itself tells about the next token (Hale 2006)
    reduction_before: that of the word before, 0 for the first; the column `entred` of neural-complexity
    rank: of its first token among all next tokens, 1 for the likeliest; 0 without tokens
    tokens, oov: number of its tokens, and of those out of vocabulary
    region: number of the region in which it begins, from 1; 0 without regions
    label: the first input of a conditioned model
    """

    line: int
    position: int
    text: str
    surprisal: float
    entropy: float
    entropy_reduction: float
    reduction_before: float
    rank: int
    tokens: int
    oov: int
    region: int = 0
    label: str = ""


def surprisals(
    language_model: LanguageModel,
    lines: Iterable[str],
    *,
    per: Per | None = None,
    region: str | None = None,
    has_eos: bool = True,
    carry_state: bool = False,
    with_entropy: bool = True,
    batch_size: int = 64,
    window: int | None = None,
    watch: Callable[[Regions], None] | None = None,
    adapter: Adapter | None = None,
) -> Iterator[Surprisal]:
    """Yield a record for each word, token or region of each line, in order.

    With `<EOS>`, those of a line sum to its score by a `Scorer`. Words are those of `written_words`.

    per: what a record is of; without it, regions if `region` is given, else words
    region: the mark between regions, which is not part of the text, see `split_at_marks`
    has_eos: yield a record for `<EOS>`, the end of each line
    carry_state, batch_size, window: as for `Scorer`
    with_entropy: compute entropies and ranks; without it, they are 0, and the answer comes sooner
    watch: called with the regions of each line
    adapter: of this model, if it is to adapt; the figures of a token are those before it is learned
    Raises UsageError for regions without a mark, and for an empty mark.
    """
    if region == "" or (per == "region" and region is None):
        raise UsageError("regions without a mark", hint="name the mark between regions: --region '|'")
    reader = _Reader(language_model, per or ("word" if region is None else "region"), region, watch, has_eos=has_eos)
    if adapter is None:
        measure = _Measure(language_model) if with_entropy else None
        scorer = Scorer(
            language_model,
            batch_size=batch_size,
            carry_state=carry_state,
            window=window,
            prepare=reader.without_marks,
            measure=measure,
        )
    else:
        measure = _Measure(adapter.language_model, adapter.cache) if with_entropy else None
        scorer = adapter.scorer(measure=measure, carry_state=carry_state, window=window, prepare=reader.without_marks)
    for number, (label, text, ids, figures) in enumerate(scorer.measured(lines), start=1):
        yield from reader.records(number, label, text, ids, figures)


class _Measure:
    """Computes -ln P of each target, the entropy in bits of the distribution it is drawn from, and its rank there.

    cache: mixed into the distribution, if given; batches then have one lane
    """

    def __init__(self, language_model: LanguageModel, cache: Cache | None = None) -> None:
        self._model, self._cache = language_model.model, cache
        self._together = max(1, _PROBABILITIES // len(language_model.tokenizer.vocabulary))

    def __call__(self, batch: Batch, state: State, ws: Workspace) -> tuple[np.ndarray, State]:
        """Return the figures [T, B, 3], 0 where there is no target, and the state after."""
        model, targets = self._model, batch.targets
        figures = np.zeros((*targets.shape, 3))
        with model.ops.workers.single_threaded_blas():
            y, choices, state = model.read(batch, state, ws)
            nats = model.nats_of(y, targets, ws)
            cached = None if self._cache is None else self._cache.read(y, targets)
            figures[..., _NATS] = nats if cached is None else cached.nats(nats[:, 0], targets[:, 0])[:, None]
            steps, lanes = np.nonzero(targets != NO_TARGET)
            for start in range(0, len(steps), self._together):
                at = steps[start : start + self._together], lanes[start : start + self._together]
                log_probs = choices(*at) if cached is None else cached.log_probs(choices(*at), at[0])
                of_target = log_probs[targets[at], np.arange(log_probs.shape[1])]
                figures[(*at, _RANK)] = 1 + (log_probs > of_target).sum(axis=0)
                figures[(*at, _ENTROPY)] = _entropies(log_probs)
        return figures, state


def _entropies(log_probs: np.ndarray) -> np.ndarray:
    """Return the entropy in bits, float64 [n], of distributions given as ln P [V, n]."""
    exact = log_probs.astype(np.float64)
    entropies: np.ndarray = np.einsum("vn,vn->n", np.exp(exact), exact) / -_BIT
    return entropies + 0.0


class _Reader:
    """Makes the records of a line from the figures of its tokens."""

    def __init__(
        self,
        language_model: LanguageModel,
        per: Per,
        mark: str | None,
        watch: Callable[[Regions], None] | None,
        *,
        has_eos: bool,
    ) -> None:
        self._splitter, self._per, self._mark, self._watch = language_model.tokenizer.splitter, per, mark, watch
        self._has_eos = has_eos
        self._waiting: deque[Regions] = deque()  # those of lines that are not scored yet

    def without_marks(self, line: str) -> str:
        """Return the text of a line without its marks, and remember its regions."""
        if self._mark is None:
            return line
        found = split_at_marks(line, self._mark)
        if self._watch is not None:
            self._watch(found)
        self._waiting.append(found)
        return found.text

    def records(self, number: int, label: str, text: str, ids: np.ndarray, figures: np.ndarray) -> Iterator[Surprisal]:
        """Yield the records of the next line.

        ids [n]: of its tokens and `<EOS>`
        figures [n, 3], or -ln P [n]: of each
        """
        regions = self._waiting.popleft() if self._mark is not None else None
        first_tokens = regions.first_tokens(self._splitter) if regions is not None else []
        nats = figures.reshape(len(ids), -1)[:, _NATS]
        entropies, ranks = figures.T[1:] if figures.ndim == 2 else np.zeros((2, len(ids)))
        unknown = ids == UNK_ID
        reduction = 0.0
        for position, (part, start, end) in enumerate(self._parts(text, regions, first_tokens, len(ids)), start=1):
            # A part without tokens begins where the next one does, which is at <EOS> or before.
            before = float(entropies[start])
            after = float(entropies[end]) if end < len(ids) else 0.0
            reduction_before, reduction = reduction, max(0.0, before - after)
            if self._per == "region" or not first_tokens:
                region = position if first_tokens else 0
            else:
                region = bisect_right(first_tokens, start) + (end == len(ids))
            yield Surprisal(
                number,
                position,
                part,
                math.fsum(nats[start:end]) / _BIT + 0.0,
                before,
                reduction,
                reduction_before,
                int(ranks[start]) if end > start else 0,
                end - start,
                int(np.count_nonzero(unknown[start:end])),
                region,
                label,
            )

    def _parts(
        self, text: str, regions: Regions | None, first_tokens: list[int], count: int
    ) -> Iterator[tuple[str, int, int]]:
        """Yield each part of a line: its text, and its first token and the one after its last.

        count: number of the line's tokens with `<EOS>`
        """
        if self._per == "word":
            for one in written_words(text, self._splitter, has_eos=self._has_eos):
                yield one.word, one.start, one.end
            return
        if self._per == "token":
            yield from zip(self._splitter.split(text), range(count - 1), range(1, count), strict=True)
        else:
            assert regions is not None
            # White space in front of the first region belongs to it.
            starts = [0, *first_tokens[1:], count - 1]
            yield from zip(regions.regions, starts[:-1], starts[1:], strict=True)
        if self._has_eos:
            yield EOS, count - 1, count

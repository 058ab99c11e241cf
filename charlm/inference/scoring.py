"""Probabilities of lines, in batches: P(line) = P(y<1>) P(y<2> | y<1>) ... P(<EOS> | ...)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from charlm.inference.evaluation import perplexity
from charlm.language_model import LanguageModel
from charlm.nn.layer import State
from charlm.nn.model import Model
from charlm.nn.outputs import total
from charlm.nn.workspace import Workspace
from charlm.processes import mapped
from charlm.text import EOS, EOS_ID, NOTHING, UNK_ID
from charlm.text.batches.lanes import NO_TARGET, Batch
from charlm.text.batches.whole import groups_of_like_length
from charlm.text.dataset import joined
from charlm.text.lines.reading import windows
from charlm.text.records import pairs

# A function of a batch, the state before it and a workspace. It returns -ln P of each target [T, B], or -ln P and other
# figures [T, B, k], and the state after.
Measure = Callable[[Batch, State, Workspace], tuple[np.ndarray, State]]

Item = TypeVar("Item")
Result = TypeVar("Result")

_STEPS = 128  # tokens of a line that one call of the network reads
_WINDOW = 32  # batches of lines read ahead, to batch lines of similar length


@dataclass(frozen=True)
class TokenScore:
    """One token of a line.

    token: its spelling in the line
    nats: -ln P
    oov: whether it is out of vocabulary
    """

    token: str
    nats: float
    oov: bool
    token_id: int


@dataclass(frozen=True)
class Score:
    """The probability of one line.

    For a cloze model it is a pseudo-probability: nats is the sum of -ln P(token | all others).

    text: the line, without its label
    nats: -ln P(line)
    tokens: number of predicted tokens, including `<EOS>`
    oov, oov_nats: number of tokens out of vocabulary, and their part of nats
    token_scores: one for each token, on request
    label: the first input of a conditioned model
    """

    text: str
    nats: float
    tokens: int
    oov: int
    oov_nats: float
    has_eos: bool = True
    token_scores: list[TokenScore] = field(default_factory=list)
    label: str = ""

    @property
    def log10p(self) -> float:
        """log10 P(line)."""
        return -self.nats / math.log(10.0) + 0.0

    @property
    def prob(self) -> float:
        """P(line); 0 if it underflows."""
        return math.exp(-self.nats)

    @property
    def perplexity(self) -> float:
        """P(line) ** (-1 / tokens); NaN without tokens."""
        return perplexity(self.nats, self.tokens)

    @property
    def bits_per_char(self) -> float:
        """-log2 P(line) over its characters, the end of the line counted as one; NaN without characters."""
        characters = len(self.text) + self.has_eos
        return self.nats / math.log(2.0) / characters if characters else math.nan


class Scorer:
    """Scores lines with a language model.

    A model of lines reads each line from state 0 and input 0, a stream model as if it followed an `<EOS>`. The lines
    of a conditioned model are label TAB text, and the label is the first input. A cloze model does not predict `<EOS>`.

    batch_size: lines side by side
    has_eos: predict `<EOS>` at the end of each line
    per_token: fill `token_scores`
    carry_state: read the lines as one text: each begins with the last state of the line before
    in_order: read one line after the other, in order, as `carry_state` does too: for a measure that learns from them
    window: lines read ahead at most, None for 32 batches
    prepare: applied to the text of each line before it is scored
    measure: what `measured` yields of each token; without it, -ln P
    label: of a conditioned model: the label of all lines, which then have none of their own
    """

    def __init__(
        self,
        language_model: LanguageModel,
        *,
        batch_size: int = 64,
        has_eos: bool = True,
        per_token: bool = False,
        carry_state: bool = False,
        in_order: bool = False,
        window: int | None = None,
        prepare: Callable[[str], str] = str,
        measure: Measure | None = None,
        label: str | None = None,
    ) -> None:
        self.language_model, self._prepare, self._label = language_model, prepare, label
        self._in_order = carry_state or in_order
        self.batch_size = 1 if self._in_order else batch_size
        self.is_cloze = language_model.facts.is_cloze
        self.has_eos = has_eos and not self.is_cloze
        self.per_token, self.carry_state = per_token, carry_state
        self.window = window if window is not None else _WINDOW * batch_size
        model = language_model.model
        self._workspace = model.workspace()
        self._measure = measure
        self._carried = model.zero_state(1)
        self._before = NOTHING if carry_state or not language_model.is_stream else EOS_ID

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs to compute figures of lines that are prepared already."""
        return {**vars(self), "_prepare": str, "_workspace": None, "_carried": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._workspace = self.language_model.model.workspace()

    def score(self, lines: Iterable[str]) -> Iterator[Score]:
        """Yield a score for each line, in order; memory does not grow with their number."""
        for label, line, tokens, nats in self.measured(lines):
            scored = len(tokens) if self.has_eos else len(tokens) - 1
            yield self.scored(label, line, tokens[:scored], nats[:scored])

    def measured(self, lines: Iterable[str]) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
        """Yield the label and the text of each line, the ids [n] of its tokens and `<EOS>`, and the figures of each.

        The figures are -ln P [n], or what `measure` returns, [n, k]. A cloze model has -ln P [n - 1] of its tokens.
        """
        for window, (ids, offsets, figures) in self.shared(self._of_window, self.windows(lines)):
            labels, texts = zip(*window, strict=True)
            of_lines = offsets - np.arange(len(offsets)) if self.is_cloze else offsets
            yield from zip(labels, texts, _pieces(ids, offsets), _pieces(figures, of_lines), strict=True)

    def windows(self, lines: Iterable[str]) -> Iterator[list[tuple[str, str]]]:
        """Yield the labels and the texts of the lines that are read ahead and batched together."""
        return windows(self._records(lines), self.window, size=lambda record: len(record[1]))

    def shared(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        """Yield each item with `work(item)`, in order. The processes of the run share them, see `processes.mapped`.

        They do not if a line waits for the one before: if lines are read in order, or in windows of one line.
        """
        if self._in_order or self.window == 1:
            return ((item, work(item)) for item in items)
        model = self.language_model.model
        return mapped(_WithThreads(model, model.ops.workers.count, work), items)

    def _of_window(self, window: list[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the ids of the tokens of a window, the offsets of the lines in them, and the figures of all tokens.

        They are three arrays, which are sent to another process in less time than arrays of each line.
        """
        labels, texts = zip(*window, strict=True)
        ids, offsets = self.language_model.tokenizer.encode_lines(texts)
        tokens = _pieces(ids, offsets)
        figures = self._pseudo_nats(tokens) if self.is_cloze else self._in_groups(tokens, labels)
        return ids, offsets, figures[0] if len(figures) == 1 else np.concatenate(figures)

    def _records(self, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Return an iterator over the label and the text of each line; a model without labels has the label ""."""
        if self.language_model.is_conditioned and self._label is None:
            labelled = pairs(lines, "label TAB text", set(self.language_model.labels))
            return ((label, self._prepare(text)) for label, text in labelled)
        return ((self._label or "", self._prepare(line)) for line in lines)

    def _in_groups(self, tokens: list[np.ndarray], labels: Sequence[str]) -> list[np.ndarray]:
        """Return the figures of each token of each line; lines of similar length are batched together."""
        first = np.full(len(tokens), self._before, np.int32)
        if self.language_model.is_conditioned:
            first[:] = self.language_model.codec.first_inputs(labels)
        nats: list[np.ndarray] = [np.empty(0)] * len(tokens)
        lengths = [len(line) for line in tokens]
        groups = (
            ([i] for i in range(len(tokens))) if self._in_order else groups_of_like_length(lengths, self.batch_size)
        )
        for chosen in groups:
            if self.carry_state:
                first[chosen] = self._before
            for i, of_line in zip(chosen, self._nats([tokens[i] for i in chosen], first[chosen]), strict=True):
                nats[i] = of_line
        return nats

    def _pseudo_nats(self, tokens: list[np.ndarray]) -> list[np.ndarray]:
        """Return -ln P(token | all others) of each token of each line, without `<EOS>`."""
        model = self.language_model.model
        sequences = joined([line[:-1] for line in tokens])
        nats: list[np.ndarray] = [np.empty(0)] * len(tokens)
        for batch, numbers, begins, lanes in sequences.batches(self.batch_size, _STEPS).placed():
            of_each, _ = model.nats(batch, model.zero_state(batch.lanes), self._workspace)
            for i, begin, lane in zip(numbers.tolist(), begins.tolist(), lanes.tolist(), strict=True):
                nats[i] = of_each[begin : begin + len(tokens[i]) - 1, lane]
        return nats

    def _nats(self, lines: list[np.ndarray], first: np.ndarray) -> list[np.ndarray]:
        """Return the figures of each token of some lines, shorter ones padded at the end; first [lines]: their x<1>."""
        model = self.language_model.model
        measure: Measure = self._measure or model.nats
        longest = max(len(line) for line in lines)
        state = self._carried if self.carry_state else model.zero_state(len(lines))
        figures: np.ndarray | None = None
        before = first
        for start in range(0, longest, _STEPS):  # memory for a long line is only its ids and nats
            steps = min(_STEPS, longest - start)
            targets = np.full((steps, len(lines)), NO_TARGET, np.int32)
            for column, line in enumerate(lines):
                part = line[start : start + steps]
                targets[: len(part), column] = part
            inputs = np.concatenate([before[None], targets[:-1]])  # NO_TARGET equals NOTHING
            measured, state = measure(Batch(inputs, targets), state, self._workspace)
            if figures is None:
                figures = np.empty((longest, *measured.shape[1:]))
            figures[start : start + steps] = measured
            before = targets[-1]
        if self.carry_state:
            self._carried = state
            self._before = EOS_ID
        assert figures is not None
        return [figures[: len(line), column] for column, line in enumerate(lines)]

    def scored(self, label: str, line: str, ids: np.ndarray, nats: np.ndarray) -> Score:
        """Return the score of a line; ids [N] of its tokens, nats [N]: -ln P of each."""
        unknown = ids == UNK_ID
        vocabulary = self.language_model.tokenizer.vocabulary
        each = []
        if self.per_token:
            surface = [*self.language_model.tokenizer.split(line), EOS]
            each = [
                TokenScore(surface[at] if at < len(surface) else vocabulary.token_of(int(i)), float(n), bool(u), int(i))
                for at, (i, n, u) in enumerate(zip(ids, nats, unknown, strict=True))
            ]
        of_unknown = float(nats[unknown].sum())
        return Score(line, total(nats), ids.size, int(unknown.sum()), of_unknown, self.has_eos, each, label)


def _pieces(flat: np.ndarray, offsets: np.ndarray) -> list[np.ndarray]:
    """Return the part of each line: views of an array of all lines."""
    return [flat[start:end] for start, end in pairwise(offsets)]


@dataclass(frozen=True)
class _WithThreads:
    """A function of an item that computes with so many threads, also in another process."""

    model: Model
    threads: int
    work: Callable[[Any], Any]

    def __call__(self, item: Any) -> Any:
        with self.model.ops.workers.limit(self.threads):
            return self.work(item)

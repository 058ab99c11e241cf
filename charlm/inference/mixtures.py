"""Mixtures of language models: their probabilities averaged token by token."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from charlm.errors import CorpusError, UsageError
from charlm.inference.evaluation import Evaluation, perplexity
from charlm.inference.mixture_weights import best_weights, checked_weights, mixed, readable
from charlm.inference.ngrams import NGramModel
from charlm.inference.scoring import Score, Scorer
from charlm.language_model import LanguageModel
from charlm.nn.layer import State
from charlm.nn.outputs import total
from charlm.nn.workspace import Workspace
from charlm.text import UNK_ID
from charlm.text.batches.lanes import NO_TARGET, Batch
from charlm.text.lines.reading import windows

_PROBABILITIES = 1 << 19  # in memory at a time

Measured = tuple[str, str, np.ndarray, np.ndarray]


class Reader(Protocol):
    """What computes the figures of the tokens of lines, as `Scorer.measured` does."""

    def measured(self, lines: Iterable[str]) -> Iterator[Measured]:
        """Yield the label and the text of each line, the ids [n] of its tokens and `<EOS>`, and the figures of each."""


@dataclass(frozen=True)
class Member:
    """A model of a mixture besides the first one, which reads lines with its own vocabulary.

    new_reader: returns a reader at the start of a text; its figures are -ln P, [n], or [n, 2], of which the second is
        -ln P of the first model's `<UNK>` where that is the token
    unseen: ln of the number of the first model's tokens, `<UNK>` included, that are `<UNK>` for this one
    reads_labels: whether its lines are label TAB text
    """

    new_reader: Callable[[], Reader]
    unseen: float
    reads_labels: bool = False

    def nats(self, first_ids: np.ndarray, ids: np.ndarray, figures: np.ndarray) -> np.ndarray:
        """Return -ln P [n] of the tokens of the first model; ids, figures: those of the reader."""
        columns = figures.reshape(len(ids), -1)
        nats = np.where(ids == UNK_ID, columns[:, 0] + self.unseen, columns[:, 0])
        if columns.shape[1] == 1:
            return nats
        return np.where(first_ids == UNK_ID, columns[:, 1], nats)


class Mixture:
    """Scores lines with several models, P(token) = sum_i w_i P_i(token), given the same tokens before it.

    The tokens are those of the first model, and its `<UNK>` is a token like any other. The others split lines alike,
    but their vocabularies may differ. What one of them gives its own `<UNK>` is divided equally among those tokens of
    the first model, `<UNK>` included, that it does not know. It gives the `<UNK>` of the first model also what it gives
    all tokens that the first model does not know. So each is a distribution over the tokens of the first model.

    first: of the first model; others: from `member_of`
    weights: w_i of all models, the first included; None for equal ones
    Raises UsageError as `checked_weights` does.
    """

    def __init__(self, first: Scorer, others: Sequence[Member], weights: Sequence[float] | None = None) -> None:
        self._first, self._others = first, [(one, one.new_reader()) for one in others]
        count = 1 + len(others)
        self.weights = checked_weights([1.0 / count] * count if weights is None else weights)

    @property
    def has_eos(self) -> bool:
        """Whether the scores have `<EOS>`."""
        return self._first.has_eos

    def score(self, lines: Iterable[str]) -> Iterator[Score]:
        """Yield a score for each line, in order, as `Scorer.score` does."""
        for label, line, ids, nats in self.measured(lines):
            scored = len(ids) if self.has_eos else len(ids) - 1
            yield self._first.scored(label, line, ids[:scored], nats[:scored])

    def measured(self, lines: Iterable[str]) -> Iterator[Measured]:
        """Yield what `Scorer.measured` does; the figures are -ln P of the mixture [n]."""
        for label, line, ids, nats in self.parts(lines):
            yield label, line, ids, mixed(nats, self.weights)

    def parts(self, lines: Iterable[str]) -> Iterator[Measured]:
        """Yield what `Scorer.measured` does; the figures are -ln P of each model, [models, n]."""
        for window in windows(self._first.measured(lines), self._first.window, size=lambda one: len(one[1])):
            plain = [line for _, line, _, _ in window]
            labelled = [f"{label}\t{line}" for label, line, _, _ in window]
            found = [reader.measured(labelled if member.reads_labels else plain) for member, reader in self._others]
            for (label, line, ids, nats), *others in zip(window, *found, strict=True):
                of_others = [
                    member.nats(ids, own, figures)
                    for (member, _), (_, _, own, figures) in zip(self._others, others, strict=True)
                ]
                yield label, line, ids, np.stack([nats, *of_others])


def member_of(
    first: LanguageModel,
    other: LanguageModel | NGramModel,
    name: str,
    *,
    batch_size: int = 64,
    carry_state: bool = False,
) -> Member:
    """Return a model as a member of a mixture.

    first: the first model of the mixture
    name: of the other one, for messages
    batch_size, carry_state: as for `Scorer`; a model of lines has no state to carry
    Raises UsageError if they cannot be mixed: other tasks than lm, text that is split in two ways, or unknown labels.
    """
    _check(first, other, name)
    known, own = first.tokenizer.vocabulary, other.tokenizer.vocabulary
    unseen = 1 + sum(token not in own.ids for token in known.tokens)
    classed: np.ndarray | None = None
    if any(token not in known.ids for token in own.tokens):
        # The tokens that the first model calls <UNK>, and the part of the own <UNK> that belongs to it.
        classed = np.array([float(token not in known.ids) for token in own.tokens])
        classed[UNK_ID] = 1.0 / unseen
    if isinstance(other, NGramModel):
        ngrams = other if classed is None else other.with_class(classed)
        return Member(lambda: ngrams, math.log(unseen))
    measure = None if classed is None else _ClassMeasure(other, classed)
    carries = carry_state and other.is_stream
    new_reader = partial(Scorer, other, batch_size=batch_size, carry_state=carries, measure=measure)
    return Member(new_reader, math.log(unseen), other.is_conditioned)


def _check(first: LanguageModel, other: LanguageModel | NGramModel, name: str) -> None:
    """Raise UsageError for models that cannot be mixed."""
    check_first(first)
    if other.tokenizer.splitter.rule != first.tokenizer.splitter.rule:
        raise UsageError(
            f"{name} splits text into other tokens than the first model",
            hint="mix models with the same --level, --split, --lowercase, --normalize and subword pieces",
        )
    if isinstance(other, NGramModel):
        return
    if not _predicts_text(other):
        raise UsageError(f"{name} is a --task {other.task} model", hint="mix models of --task lm")
    if other.is_conditioned and not set(first.labels) <= set(other.labels):
        raise UsageError(
            f"{name} was trained with --condition on other labels than the first model",
            hint="mix models with the same labels, or without labels",
        )
    if other.is_conditioned and not first.is_conditioned:
        raise UsageError(f"{name} was trained with --condition, the first model was not", hint="name it first")


def _predicts_text(model: LanguageModel) -> bool:
    """Return whether a model computes the probability of a text from left to right."""
    return model.facts.answers == "text" and not model.facts.is_cloze


def check_first(model: LanguageModel) -> None:
    """Raise UsageError for a model that cannot be the first one of a mixture."""
    if not _predicts_text(model):
        raise UsageError(f"--mix with a --task {model.task} model", hint="mix models of --task lm")


class _ClassMeasure:
    """Computes -ln P of each target, and -ln of a weighted sum of P over some tokens where the target is one of them.

    weights [V]: of the tokens in the sum
    """

    def __init__(self, language_model: LanguageModel, weights: np.ndarray) -> None:
        self._model, self._weights = language_model.model, weights
        self._together = max(1, _PROBABILITIES // len(weights))

    def __call__(self, batch: Batch, state: State, ws: Workspace) -> tuple[np.ndarray, State]:
        """Return both figures [T, B, 2], and the state after; the second is the first for all other targets."""
        model, targets = self._model, batch.targets
        with model.ops.workers.single_threaded_blas():
            y, choices, state = model.read(batch, state, ws)
            nats = model.nats_of(y, targets, ws)
            figures = np.stack([nats, nats], axis=2)
            steps, lanes = np.nonzero((targets != NO_TARGET) & (self._weights[targets] > 0.0))
            for start in range(0, len(steps), self._together):
                at = steps[start : start + self._together], lanes[start : start + self._together]
                sums = self._weights @ np.exp(choices(*at).astype(np.float64))
                figures[(*at, 1)] = -np.log(np.maximum(sums, np.finfo(np.float64).tiny))
        return figures, state


@dataclass(frozen=True)
class TunedMixture:
    """The weights with which a mixture predicts a text best.

    weights: of all models, with six decimals
    tokens: of the text
    alone: the perplexity of each model
    perplexity: of the mixture
    """

    weights: list[float]
    tokens: int
    alone: list[float]
    perplexity: float


def tune(mixture: Mixture, lines: Iterable[str]) -> TunedMixture:
    """Return the weights with which the models of a mixture predict a text best; memory grows with its tokens.

    Raises CorpusError for a text without lines.
    """
    of_lines = [nats for _, _, _, nats in mixture.parts(lines)]
    if not of_lines:
        raise CorpusError("--tune-mix: the text is empty", hint="name a file with at least one line")
    nats = np.concatenate(of_lines, axis=1)
    tokens = nats.shape[1]
    weights = readable(best_weights(nats))
    return TunedMixture(
        weights,
        tokens,
        [perplexity(float(of_model.sum()), tokens) for of_model in nats],
        perplexity(float(mixed(nats, weights).sum()), tokens),
    )


def evaluate_mixture(
    mixture: Mixture, lines: Iterable[str], *, watch: Callable[[int], None] | None = None
) -> Evaluation:
    """Return the loss over lines that are read in order; the likeliest tokens are not counted.

    watch: called with the number of targets of each line
    """
    tokens = oov = 0
    nats = oov_nats = 0.0
    for _, _, ids, of_each in mixture.measured(lines):
        unknown = ids == UNK_ID
        tokens += len(ids)
        oov += int(np.count_nonzero(unknown))
        nats = total(of_each, nats)
        oov_nats += float(of_each[unknown].sum())
        if watch is not None:
            watch(len(ids))
    return Evaluation(tokens, oov, nats, oov_nats)

"""Adaptation: a model that follows the text it reads, by dynamic evaluation, by a cache, or by both."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from charlm.backends import Array, Number
from charlm.config.record import number, whole
from charlm.errors import DivergenceError, NonFiniteOutputError, UsageError
from charlm.inference.cache import FLATNESS, WEIGHT, Cache
from charlm.inference.evaluation import Evaluation
from charlm.inference.scoring import Measure, Scorer
from charlm.language_model import LanguageModel
from charlm.nn.build import build
from charlm.nn.layer import State
from charlm.nn.model import Model
from charlm.nn.outputs import EXPLODED, total
from charlm.nn.workspace import Workspace
from charlm.text import EOS_ID, UNK_ID
from charlm.text.batches.lanes import Batch

LENGTH = 20  # tokens of a piece


class DynamicEvaluation:
    """Learns each piece of a text, after it has been scored.

    A text is cut into pieces. With the weights w that the pieces before have left, a piece is scored. Then

        w = w - rate * sum over the piece's tokens t of dL<t>/dw,    L<t> = -ln P(y<t> | the tokens before it)

    The gradient is truncated at the first token of the piece. The state goes on as it was computed for the scores. If
    the norm of the mean gradient exceeds `clip`, the step is scaled down, as in training. Sources: Mikolov et al. 2010;
    Krause et al. 2018, with stochastic gradient descent.

    model: its weights are changed
    rate: at least 0; 0 learns nothing
    length: tokens of a piece, at least 1
    clip: 0 for no limit
    """

    def __init__(self, model: Model, *, rate: float, length: int, clip: float) -> None:
        self._model, self._rate, self._length, self._clip = model, rate, length, clip
        self._workspace = model.workspace()
        self._parts: list[Batch] = []  # of the piece, scored and not learned yet
        self._first: State = ()  # the state before them
        self._pieces = 0  # learned so far

    def measured(
        self, measure: Measure, carries: bool, batch: Batch, state: State, ws: Workspace
    ) -> tuple[np.ndarray, State]:
        """Return what `measure` does, and learn from the batch.

        carries: whether the next batch goes on with the piece; otherwise the piece ends with the batch
        batch: of one lane
        Raises DivergenceError if the loss, the gradient or the weights explode.
        """
        figures = []
        for part in self._cut(batch):
            if not self._parts:
                self._first = state
            try:
                of_part, state = measure(part, state, ws)
            except NonFiniteOutputError as error:
                if not self._pieces:
                    raise
                raise self._diverged("the model outputs NaN or infinity") from error
            figures.append(of_part)
            self._parts.append(part)
            if self._tokens == self._length:
                self._learn()
        if not carries:
            self._learn()
        return np.concatenate(figures), state

    def finish(self) -> None:
        """Learn what has been scored and not learned yet; raise DivergenceError if the weights have exploded."""
        self._learn()
        if self._pieces and not math.isfinite(self._model.ops.norm(self._model.parameters.values)):
            raise self._diverged("the weights contain NaN or infinity")

    @property
    def _tokens(self) -> int:
        return sum(len(part.targets) for part in self._parts)

    def _cut(self, batch: Batch) -> Iterator[Batch]:
        """Yield the parts of a batch that belong to one piece each."""
        at, steps = 0, len(batch.targets)
        while at < steps:
            end = min(steps, at + self._length - self._tokens)
            yield Batch(batch.inputs[at:end], batch.targets[at:end])
            at = end

    @np.errstate(all="ignore")  # an explosion raises an error, without NumPy's warnings
    def _learn(self) -> None:
        """Take the step of the piece."""
        if not self._parts:
            return
        inputs = np.concatenate([part.inputs for part in self._parts])
        batch = Batch(inputs, np.concatenate([part.targets for part in self._parts]))
        self._parts = []
        model, ops, parameters = self._model, self._model.ops, self._model.parameters
        with ops.workers.single_threaded_blas():
            loss, _ = model.loss_and_grads(batch, self._first, self._workspace)
            norm = ops.norm(parameters.grads)
            scale = ops.clipping(norm, self._clip, parameters.grads.dtype) if self._clip else None
            self._descend(self._rate * batch.count, scale)
        self._pieces += 1
        if not (math.isfinite(norm) and float(loss) <= EXPLODED * batch.count):
            raise self._diverged(f"loss {float(loss):g}, gradient norm {float(norm):g}")

    def _descend(self, rate: float, scale: Number | None) -> None:
        """Subtract the mean gradient times `rate` and `scale` from the weights; it is overwritten."""
        values, grads = self._model.parameters.values, self._model.parameters.grads

        def of_block(block: slice) -> None:
            g: Array = grads[block]
            if scale is not None:
                g *= scale
            g *= rate
            values[block] -= g

        self._model.ops.workers.each(of_block, self._model.ops.blocks(values.size))

    def _diverged(self, what: str) -> DivergenceError:
        return DivergenceError(
            f"dynamic evaluation diverged after {self._pieces:,} pieces: {what}", hint="use a lower --dynamic"
        )


class Adapter:
    """A language model that adapts to the text it reads.

    The model passed in is not changed: with a rate, a copy of it learns.

    rate: of dynamic evaluation, see `DynamicEvaluation`; None for none
    length: tokens of a piece; in a line model, the end of a line also ends one, and so does every 128th token of it
    cache: entries of a neural cache, see `Cache`; 0 for none
    weight, flatness: of the cache
    language_model: the model with the weights it has come to
    Raises UsageError for a model that does not predict the next token of a text, and for an invalid number.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        *,
        rate: float | None = None,
        length: int = LENGTH,
        cache: int = 0,
        weight: float = WEIGHT,
        flatness: float = FLATNESS,
    ) -> None:
        check_adapts(language_model)
        for name, value, high in (
            ("--dynamic", 0.0 if rate is None else rate, 1e6),
            ("--cache-weight", weight, 0.999),
            ("--cache-flatness", flatness, 1000.0),
        ):
            number(name, value, 0.0, high)
        whole("--dynamic-length", length, 1)
        whole("--cache", cache, 0)
        self.language_model = language_model if rate is None else _copy(language_model)
        model = self.language_model.model
        self.cache = Cache(model, size=cache, weight=weight, flatness=flatness) if cache else None
        self.predictor: Model | Cache = self.cache or model
        clip = language_model.train.clip
        self._dynamic = None if rate is None else DynamicEvaluation(model, rate=rate, length=length, clip=clip)

    def scorer(self, *, measure: Measure | None = None, carry_state: bool = False, **options: Any) -> Scorer:
        """Return a scorer that reads one line after the other, in order, and adapts.

        measure: computes the figures of tokens with `language_model`; without it, -ln P, with the cache
        carry_state, options: as for `Scorer`
        """
        inner = measure or self.predictor.nats
        self.finish()
        measured = inner if self._dynamic is None else partial(self._dynamic.measured, inner, carry_state)
        return Scorer(self.language_model, in_order=True, measure=measured, carry_state=carry_state, **options)

    def finish(self) -> None:
        """Learn what has been scored and not learned yet; raise DivergenceError if the weights have exploded."""
        if self._dynamic is not None:
            self._dynamic.finish()


def evaluate_in_order(
    adapter: Adapter, lines: Iterable[str], *, watch: Callable[[int], None] | None = None
) -> Evaluation:
    """Score lines one after the other while the model adapts, and return the loss, with `right` counted.

    The lines of a stream model are read as one text. Those of a conditioned model are label TAB text.

    watch: called with the number of targets of each line
    """

    def judged(batch: Batch, state: State, ws: Workspace) -> tuple[np.ndarray, State]:
        best = np.empty(batch.targets.shape, np.int32)
        nats, state = adapter.predictor.nats(batch, state, ws, best=best)
        return np.stack([nats, best == batch.targets], axis=-1), state

    scorer = adapter.scorer(measure=judged, carry_state=adapter.language_model.is_stream)
    tokens = oov = words = right = 0
    nats = oov_nats = 0.0
    for _, _, ids, figures in scorer.measured(lines):
        of_each, is_right = figures.T
        unknown, is_word = ids == UNK_ID, ids > EOS_ID
        tokens += len(ids)
        oov += int(np.count_nonzero(unknown))
        nats = total(of_each, nats)
        oov_nats += float(of_each[unknown].sum())
        words += int(np.count_nonzero(is_word))
        right += int(is_right[is_word & ~unknown].sum())
        if watch is not None:
            watch(len(ids))
    return Evaluation(tokens, oov, nats, oov_nats, words, right)


def check_adapts(language_model: LanguageModel) -> None:
    """Raise UsageError for a model that does not predict the next token of a text."""
    if language_model.facts.answers != "text" or language_model.facts.is_cloze:
        raise UsageError(
            f"a --task {language_model.task} model cannot adapt to a text",
            hint="use a model of --task lm, or leave --dynamic and --cache out",
        )


def _copy(language_model: LanguageModel) -> LanguageModel:
    """Return a model with the same weights in other memory, whose loss nobody has measured."""
    source = language_model.model
    model = build(source.config, source.ops)
    model.parameters.values[...] = source.parameters.values
    return replace(language_model, model=model, outcome=None)

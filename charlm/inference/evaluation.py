"""The loss of a model over a whole corpus."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from charlm.config import ModelConfig
from charlm.inference.tallies import Tally
from charlm.nn.layer import State
from charlm.nn.outputs import total
from charlm.nn.workspace import Workspace
from charlm.text import EOS_ID, UNK_ID
from charlm.text.batches.lanes import Batch, Batches

CONTEXT = 256  # tokens that a lane of a stream reads before its own, to warm up its state


@dataclass(frozen=True)
class Evaluation:
    """The loss over a corpus.

    tokens, nats: number of targets, and the sum of their losses
    oov, oov_nats: the same for the targets that are `<UNK>`
    words, right: targets except `<EOS>`, and how many of them were the likeliest choice; counted on request
    """

    tokens: int
    oov: int
    nats: float
    oov_nats: float
    words: int = 0
    right: int = 0

    @property
    def nats_per_token(self) -> float:
        """The cross-entropy; NaN for an empty corpus."""
        return self.nats / self.tokens if self.tokens else math.nan

    @property
    def perplexity(self) -> float:
        """exp(cross-entropy), `<UNK>` counted as a token like any other."""
        return perplexity(self.nats, self.tokens)

    @property
    def perplexity_without_oov(self) -> float:
        """The perplexity over the targets that are not `<UNK>`."""
        return perplexity(self.nats - self.oov_nats, self.tokens - self.oov)


def perplexity(nats: float, tokens: int) -> float:
    """Return exp(nats / tokens): infinity if that overflows, NaN without tokens."""
    if not tokens:
        return math.nan
    try:
        return math.exp(nats / tokens)
    except OverflowError:
        return math.inf


class Judge(Protocol):
    """What `evaluate` needs of a model: see `nn.model.Model`."""

    @property
    def config(self) -> ModelConfig: ...

    def zero_state(self, batch: int) -> State: ...

    def nats(
        self, batch: Batch, state: State, ws: Workspace, *, best: np.ndarray | None = None
    ) -> tuple[np.ndarray, State]: ...


def evaluate(
    model: Judge,
    batches: Batches,
    ws: Workspace,
    tally: Tally | None = None,
    *,
    count_right: bool = False,
    watch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Run the model over one epoch of `batches` without learning, and return its loss.

    The state is carried from batch to batch if `batches.carries`.

    tally: counts the likeliest labels, of a model that predicts labels
    count_right: count the tokens that are the likeliest choice; `<UNK>` never counts as right
    watch: called with the number of targets of each batch
    """
    state = model.zero_state(batches.batch_size)
    are_tokens = model.config.facts.targets == "tokens"
    tokens = oov = words = right = 0
    nats = oov_nats = 0.0
    for batch in batches.epoch():
        best = np.empty(batch.targets.shape, np.int32) if count_right or tally is not None else None
        before = state if batches.carries else model.zero_state(batch.lanes)
        of_each, state = model.nats(batch, before, ws, best=best)
        unknown = (batch.targets == UNK_ID) if are_tokens else np.zeros(of_each.shape, bool)
        tokens += batch.count
        if watch is not None:
            watch(batch.count)
        oov += int(np.count_nonzero(unknown))
        nats = total(of_each, nats)
        oov_nats += float(of_each[unknown].sum())
        if tally is not None and best is not None:
            tally.add(batch, best)
        if count_right and best is not None:
            is_word = batch.targets > EOS_ID
            words += int(np.count_nonzero(is_word))
            right += int(np.count_nonzero(is_word & (best == batch.targets) & ~unknown))
    return Evaluation(tokens, oov, nats, oov_nats, words, right)

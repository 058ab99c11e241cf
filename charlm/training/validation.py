"""How much of the held-out part is judged: a fixed sample while the network learns, and all of it at the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from charlm.errors import NonFiniteOutputError
from charlm.inference.evaluation import Judge, evaluate
from charlm.inference.tallies import Tally
from charlm.nn.model import Model
from charlm.text.batches.lanes import Batches
from charlm.training.plan import evaluations
from charlm.training.state import LiveState

# Shares of the time of a run: all evaluations on the way together, and the last one.
_ON_THE_WAY, _AT_THE_END = 0.04, 0.03
_FORWARD = 0.5  # time to judge a token, in times to learn one; 0.4 to 0.6 measured
_TRIAL_STEPS = 2  # as many tokens are judged to measure how long that takes
_FEWEST = 1000  # tokens of a sample; the loss of fewer is noise


@dataclass(frozen=True)
class HeldOut:
    """The held-out part of a corpus. The sizes of its samples follow from counts of tokens, never from a clock.

    size: its tokens
    tokens_per_step: tokens that a step learns from
    batches: returns the batches of an even sample of about so many tokens
    """

    size: int
    tokens_per_step: float
    batches: Callable[[int], Batches]

    def on_the_way(self, steps: int, steps_per_epoch: int) -> int:
        """Return how many tokens each evaluation of a run of so many steps judges."""
        return self._affordable(_ON_THE_WAY, steps / evaluations(steps, steps_per_epoch))

    def at_the_end(self, steps: int) -> int:
        """Return how many tokens are judged after so many steps."""
        return self._affordable(_AT_THE_END, steps)

    def _affordable(self, share: float, steps: float) -> int:
        return min(self.size, max(_FEWEST, int(share / _FORWARD * steps * self.tokens_per_step)))


class Validation:
    """Judges the weights of a training on its validation set.

    batches: all of the validation set
    held_out: of what to sample; None: always judge all of it
    figure: returns an empty count of the task's figure, if it has one; figure_name: its name, "" for none
    passes: computes the losses: the model, or its shards
    before: called before each pass over a sample, which may take a while
    """

    def __init__(
        self,
        model: Model,
        batches: Batches,
        held_out: HeldOut | None = None,
        figure: Callable[[], Tally] | None = None,
        figure_name: str = "",
    ) -> None:
        self.model, self.batches, self.held_out = model, batches, held_out
        self.figure, self.figure_name = figure, figure_name
        self.passes: Judge = model
        self.before: Callable[[], object] = lambda: None
        self.workspace = model.workspace()
        self._sample: tuple[int, Batches] | None = None

    @property
    def size(self) -> int:
        """The number of held-out tokens; 0 if it is not known."""
        return 0 if self.held_out is None else self.held_out.size

    @np.errstate(all="ignore")
    def judge(self, tokens: int) -> tuple[float, Tally | None]:
        """Return the loss of the model on about so many tokens, 0 for all, NaN if it explodes, and its figure."""
        self.before()
        counts = () if self.figure is None else (self.figure(),)
        try:
            nats = evaluate(self.passes, self._judged(tokens), self.workspace, *counts).nats_per_token
        except NonFiniteOutputError:
            nats = math.nan
        return nats, counts[0] if counts else None

    def _judged(self, tokens: int) -> Batches:
        if self.held_out is None or not 0 < tokens < self.size:
            return self.batches
        if self._sample is None or self._sample[0] != tokens:
            self._sample = tokens, self.held_out.batches(tokens)
        return self._sample[1]

    def plan(self, steps: int, steps_per_epoch: int) -> int:
        """Return how many tokens each evaluation of a run of so many steps judges, 0 for all."""
        return 0 if self.held_out is None else self.held_out.on_the_way(steps, steps_per_epoch)

    def trial(self, steps_per_epoch: int) -> tuple[int, Callable[[int], float]]:
        """Return tokens whose judging is to be measured, and how many such times a run of so many steps takes."""
        if (held_out := self.held_out) is None:
            return 0, lambda steps: evaluations(steps, steps_per_epoch)
        tokens = max(1, min(held_out.size, int(_TRIAL_STEPS * held_out.tokens_per_step)))

        def judged(steps: int) -> float:
            sample, last = held_out.on_the_way(steps, steps_per_epoch), held_out.at_the_end(steps)
            again = last if last > sample else 0
            return (evaluations(steps, steps_per_epoch) * sample + again) / tokens

        return tokens, judged

    def conclude(self, live: LiveState) -> None:
        """Judge the kept weights on all of the validation set, or on a larger sample if that would take too long."""
        numbers = live.numbers
        if live.best is None:
            return
        sample = numbers.sample or self.size
        tokens = sample if self.held_out is None else max(sample, self.held_out.at_the_end(numbers.step))
        numbers.end_nats, numbers.end_figure, numbers.end_tokens = (
            numbers.kept_nats,
            numbers.kept_figure,
            max(1, sample),
        )
        if tokens > sample:
            last = live.weights()
            live.set_weights(live.best)
            nats, tally = self.judge(tokens)
            live.set_weights(last)
            if math.isfinite(nats):
                numbers.end_nats, numbers.end_tokens = nats, tokens
                numbers.end_figure = None if tally is None else tally.value

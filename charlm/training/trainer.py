"""The training loop: a generator that reports each step; it prints nothing and writes nothing."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TypeVar

import numpy as np

from charlm.config import TrainConfig
from charlm.errors import DivergenceError, ModelFileError
from charlm.language_model import Outcome
from charlm.nn.model import Model
from charlm.nn.outputs import EXPLODED
from charlm.processes import World
from charlm.randomness import DROPOUT, key
from charlm.text.batches.lanes import Batch, Batches
from charlm.training.advice import Advice, advice
from charlm.training.baseline import baseline_nats
from charlm.training.plan import evaluation_follows, measured_steps, planned_steps
from charlm.training.progress import Progress
from charlm.training.schedules import learning_rate
from charlm.training.setbacks import go_back, keep_first, keep_if_better
from charlm.training.shards import Shards
from charlm.training.state import HISTORY_FIELDS, OTHER_CORPUS, LiveState, TrainingState
from charlm.training.update import Update
from charlm.training.validation import Validation
from charlm.training.verdict import Verdict, diverged

Result = TypeVar("Result")


class Trainer:
    """Truncated backpropagation through time over a corpus; the best validated weights are kept.

    If a loss exceeds `EXPLODED` nats a target, or if the loss, the gradient or the weights become NaN or infinite, the
    step is dropped and training goes back: see `setbacks`.

    train: batches to learn from
    valid: batches to validate on, or how to; None: no validation, and the last weights are the best
    clock: returns the time in seconds by which minutes are measured
    is_whole: false in the middle of a step, when weights, hidden state and numbers do not belong together, and
        while lanes of the hidden state are missing, see `gather`
    """

    def __init__(self, model: Model, config: TrainConfig, train: Batches, valid: Batches | Validation | None) -> None:
        self.model, self.config, self.train = model, config, train
        self.validation = Validation(model, valid) if isinstance(valid, Batches) else valid
        self.update = Update(model, config)
        self._is_noisy = model.config.is_regularised
        self.optimizer = self.update.optimizer
        self._live = LiveState(model, self.update.memory, model.zero_state(train.batch_size) if train.carries else ())
        self.numbers = self._live.numbers
        self.is_whole = True
        self._workspace = model.workspace()
        self.clock: Callable[[], float] = time.perf_counter
        self._passes: Model | Shards = model
        self._processes = World()
        if config.shards > 1:
            self.share(World())
        self.verdict = Verdict(self._live, train, self._workspace, is_validated=valid is not None)

    def share(self, processes: World) -> None:
        """Share the shards of each mini-batch with processes that train the same model, in step with this one.

        Every process calls this, and `plan` and `run` after it. Raises what `Shards` raises.
        """
        self._processes = processes
        self._passes = Shards(self.model, self.config.shards, processes, carries=self.train.carries)
        if self.validation is not None:
            self.validation.passes = self._passes
        self.clock = lambda: processes.broadcast(time.perf_counter())

    def gather(self) -> None:
        """Collect the hidden state of the lanes that other processes learn, before a state is stored.

        Every process calls this after the same step.
        """
        if isinstance(self._passes, Shards):
            self._passes.gather(self._live.carried)
        self.is_whole = True

    @property
    def valid(self) -> Batches | None:
        """All batches of the validation set, if there is one."""
        return None if self.validation is None else self.validation.batches

    @cached_property
    def baseline_nats(self) -> float:
        """The loss of the frequencies of the targets, see `baseline`."""
        return baseline_nats(self.model.head, self.train, self.valid)

    @property
    def step(self) -> int:
        """The number of steps done."""
        return self.numbers.step

    def plan(self) -> int:
        """Return the number of steps; the first call fixes it."""
        if not self.numbers.total_steps:
            total = planned_steps(self.config, self.train, lambda s: self.step + self._steps_in(s))
            self.numbers.total_steps = total
            # A resumed training keeps its sample, so that losses can be compared.
            if self.validation is not None and not self.step:
                self.numbers.sample = self.validation.plan(total, self.train.steps(0))
        return self.numbers.total_steps

    def run(self) -> Iterator[Progress]:
        """Learn until the planned steps are done or patience runs out; the run may be broken off at any yield.

        Raises DivergenceError after `MOST_SETBACKS` explosions without a lower loss, and if the result is useless.
        The model then has the good weights, and the best ones are kept.
        """
        self.plan()
        self.is_whole = True
        keep_first(self._live)
        while not self.is_done:
            self.numbers.end_tokens = 0
            for batch in self.train.epoch(self.numbers.epoch, skip=self.numbers.index):
                progress = self._advance(batch)
                self.is_whole = self._processes.size == 1
                if self.is_done and self.validation is not None:
                    self.validation.conclude(self._live)
                yield progress
                if self.is_done:
                    break
        self.verdict.check()

    @property
    def is_done(self) -> bool:
        """Whether the planned steps are done, or patience has run out."""
        numbers, patience = self.numbers, self.config.patience
        return numbers.step >= numbers.total_steps or (patience is not None and numbers.waiting >= patience)

    def _advance(self, batch: Batch) -> Progress:
        """Take one step, evaluate if it is due, and go back if either explodes."""
        live, numbers = self._live, self.numbers
        rate, setback, is_best = learning_rate(self.config, numbers), "", False
        valid_nats: float | None = None
        figures: dict[str, float] = {}
        try:
            self._step(batch, rate)
        except DivergenceError as divergence:
            go_back(live, divergence)
            rate, setback = learning_rate(self.config, numbers), divergence.message
        numbers.index += 1
        if numbers.index == self.train.steps(numbers.epoch):
            numbers.epoch, numbers.index = numbers.epoch + 1, 0
        epoch = numbers.epoch + numbers.index / self.train.steps(numbers.epoch)
        train_nats = numbers.sum_nats / max(1, numbers.sum_tokens)
        is_evaluation = not setback and evaluation_follows(self.step, numbers.total_steps, self.train.steps(0))
        if is_evaluation:
            try:
                valid_nats, figures, is_best = self._validate()
                keep_if_better(live, train_nats if valid_nats is None else valid_nats, live.best if is_best else None)
                row = (self.step, epoch, train_nats, valid_nats, rate)
                numbers.history.append({**dict(zip(HISTORY_FIELDS, row, strict=True)), **figures})
                numbers.clear_sums()
            except DivergenceError as divergence:
                go_back(live, divergence)
                is_evaluation, rate, setback = False, learning_rate(self.config, numbers), divergence.message
        report = (epoch, train_nats, valid_nats, is_evaluation, is_best, rate, batch.count)
        return Progress(self.step, numbers.total_steps, *report, figures, setback)

    @np.errstate(all="ignore")  # an explosion raises an error, without NumPy's warnings
    def _step(self, batch: Batch, rate: float) -> None:
        """Learn from one batch; raise DivergenceError if it explodes."""
        model, config, numbers = self.model, self.config, self.numbers
        noise = key(config.seed, DROPOUT, numbers.step) if self._is_noisy else None
        before = self._live.carried if self.train.carries else model.zero_state(batch.lanes)
        self.verdict.last = batch
        with self.update.noisy(numbers.step):
            loss, after = self._passes.loss_and_grads(batch, before, self._workspace, noise=noise)
        self.is_whole = False
        norm = self.update.apply(numbers, rate)
        size = model.ops.norm(model.parameters.values)
        # By now a device has all of the step to do, and float() waits for it.
        nats = float(loss)
        if not (math.isfinite(norm) and nats <= EXPLODED * batch.count):
            raise diverged(numbers.step + 1, f"loss {nats:g}, gradient norm {float(norm):g}")
        if not math.isfinite(size):
            raise diverged(numbers.step + 1, f"norm of the weights {float(size):g}")
        if self.validation is None and numbers.step + 1 == numbers.total_steps:
            # While training can still go back.
            self.verdict.check()
        if numbers.step == 0:
            numbers.first_nats = nats / max(1, batch.count)
        if numbers.good_nats is None:
            # The loss is of the first weights, which this step has changed.
            numbers.good_nats = nats / max(1, batch.count)
        if self.train.carries:
            self._live.carried = after
        numbers.step += 1
        numbers.sum_nats += nats
        numbers.sum_tokens += batch.count

    def _validate(self) -> tuple[float | None, dict[str, float], bool]:
        """Return the loss and the figure of the sample, and whether the weights are kept as the best so far.

        If the weights are averaged, all of this is about their average.
        """
        live, validation = self._live, self.validation
        with self.update.with_average(self.numbers):
            if validation is None:
                live.best = live.weights() if self.update.has_average(self.numbers) else None
                return None, {}, True
            nats, tally = validation.judge(self.numbers.sample)
            if not nats <= EXPLODED:
                raise diverged(self.step, f"validation loss {nats:g}")
            is_best = self.numbers.add_validation(nats, tally, self.config.keep or "loss")
            if is_best:
                live.best = live.weights()
        return nats, {} if tally is None else {validation.figure_name: tally.value}, is_best

    def advice(self) -> list[Advice]:
        """Return what looks wrong with the finished training."""
        return list(advice(self.numbers, self.baseline_nats, self.config, self.model.config))

    def outcome(self) -> Outcome:
        """Return what the training has come to so far."""
        numbers, size = self.numbers, 0 if self.validation is None else self.validation.size
        is_ended = numbers.end_tokens > 0
        nats, figure = (numbers.end_nats, numbers.end_figure) if is_ended else (numbers.kept_nats, numbers.kept_figure)
        name = "" if self.validation is None or figure is None else self.validation.figure_name
        judged = (numbers.end_tokens if is_ended else numbers.sample) or size
        return Outcome(self.baseline_nats, numbers.step, numbers.kept_step, nats, name, figure, judged, size)

    def _steps_in(self, seconds: float) -> int:
        """Return how many steps the time holds, measured; what the measurement learns is undone."""
        before = self.state()
        validation = self.validation
        tokens, judged = (0, lambda _: 0.0) if validation is None else validation.trial(self.train.steps(0))
        batches = itertools.chain.from_iterable(map(self.train.epoch, itertools.count()))
        steps = measured_steps(
            seconds,
            lambda: self._step(next(batches), learning_rate(self.config, self.numbers)),
            None if validation is None else lambda: validation.judge(tokens),
            judged,
            self.clock,
        )
        self.restore(before)
        return steps

    def rehearse(
        self,
        work: Callable[[Callable[[Batch], object], Callable[[], object] | None, Callable[[int], float]], Result],
    ) -> Result:
        """Return the result of `work`, which measures steps and validations; what they learn is undone.

        work: called with a step on a batch, a validation or None, and how many such validations a run of so many
            steps takes
        """
        before, validation = self.state(), self.validation
        tokens, judged = (0, lambda _: 0.0) if validation is None else validation.trial(self.train.steps(0))
        result = work(
            lambda batch: self._step(batch, learning_rate(self.config, self.numbers)),
            None if validation is None else lambda: validation.judge(tokens),
            judged,
        )
        self.restore(before)
        return result

    def state(self) -> TrainingState:
        """Return a host copy of all that `restore` needs to go on as if nothing had happened."""
        return self._live.snapshot()

    def restore(self, state: TrainingState) -> None:
        """Go back to where `state` was taken; model, configuration and corpus must be the same.

        Raises ModelFileError for a state that does not fit the corpus.
        """
        if state.numbers.index >= max(1, self.train.steps(state.numbers.epoch)):
            raise ModelFileError("the checkpoint lies beyond the end of its epoch", hint=OTHER_CORPUS)
        self._live.restore(state)

    def best_weights(self) -> dict[str, np.ndarray]:
        """Return a host copy of the best validated weights, by name; of the last ones if none were validated."""
        best = self._live.best
        return self.model.parameters.named(self._live.weights() if best is None else best.copy())

    def take_best(self) -> None:
        """Load the best validated weights, if there are any, into the model."""
        if self._live.best is not None:
            self._live.set_weights(self._live.best)

    @property
    def buffers(self) -> int:
        """The bytes of the buffers of the passes so far."""
        return self._workspace.nbytes + (0 if self.validation is None else self.validation.workspace.nbytes)

    def free_buffers(self) -> None:
        """Free the buffers of the passes; the next pass allocates new ones."""
        self._workspace.free()
        if self.validation is not None:
            self.validation.workspace.free()

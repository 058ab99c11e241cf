"""From the gradient of a batch to new weights: noise, sums over batches, clipping, decay, optimizer, averages."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from charlm.backends import Array, Number
from charlm.config import TrainConfig
from charlm.nn.model import Model
from charlm.training.accumulation import add_gradient, take_mean
from charlm.training.averaging import add, averaged, swapped
from charlm.training.clipping import clip_elements
from charlm.training.optimizers import optimizer_class
from charlm.training.state import TrainingNumbers
from charlm.training.weight_decay import decay
from charlm.training.weight_noise import noisy


def slots_of(config: TrainConfig) -> tuple[str, ...]:
    """Return the names of the vectors that a training keeps from step to step, each as long as the weights.

    m, v: the memory of the optimizer; sum: of the gradients of some batches; mean: of the weights
    """
    own = {"sum": config.accumulate > 1, "mean": config.average > 0.0}
    return (*optimizer_class(config).slots, *(slot for slot, is_kept in own.items() if is_kept))


class Update:
    """What a training does with the gradient of each batch.

    memory: the vectors of `slots_of`
    clean: a vector for the weights while they have noise, None without noise
    noisy: returns a block, given the number of a step, in which the weights have the noise of this step, if any
    """

    def __init__(self, model: Model, config: TrainConfig) -> None:
        self.parameters, self.ops, self.config = model.parameters, model.ops, config
        self.optimizer = optimizer_class(config)(model.parameters, model.ops, config)
        values, own = model.parameters.values, slots_of(config)[len(self.optimizer.slots) :]
        self.memory: dict[str, Array] = dict(self.optimizer.memory)
        self.memory |= {slot: model.ops.zeros(values.shape, values.dtype) for slot in own}
        self.clean: Array | None = None
        self.noisy: Callable[[int], AbstractContextManager[object]] = nullcontext
        if config.weight_noise:
            self.clean = model.ops.zeros(values.shape, values.dtype)
            self.noisy = partial(noisy, model.parameters, model.ops, self.clean, config.weight_noise, config.seed)

    def apply(self, numbers: TrainingNumbers, rate: float) -> Number:
        """Learn from the gradient of one batch, which is overwritten; return its norm.

        numbers: of the training, before this step
        """
        p, ops, config = self.parameters, self.ops, self.config
        norm, done = ops.norm(p.grads), numbers.step + 1 - numbers.restarted
        if done % config.accumulate and numbers.step + 1 != numbers.total_steps:
            add_gradient(self.memory["sum"], p, ops)
        else:
            self._move(norm, -(-done // config.accumulate), rate)
        if config.average and (count := averaged(config.average, numbers, numbers.step + 1)):
            add(self.memory["mean"], p, ops, count)
        return norm

    def _move(self, norm: Number, count: int, rate: float) -> None:
        """Take step number `count` of the optimizer; norm: of the gradient of the last batch."""
        p, ops, config = self.parameters, self.ops, self.config
        if config.accumulate > 1:
            take_mean(self.memory["sum"], p, ops, config.accumulate)
        if config.clip_value:
            clip_elements(p, ops, config.clip_value)
        if config.accumulate > 1 or config.clip_value:
            norm = ops.norm(p.grads)
        scale = ops.clipping(norm, config.clip, p.grads.dtype) if config.clip else None
        if config.weight_decay:
            decay(p, ops, rate * config.weight_decay)
        self.optimizer.step(count, rate, scale)

    def has_average(self, numbers: TrainingNumbers) -> bool:
        """Return whether the weights are averaged over at least one step."""
        return averaged(self.config.average, numbers, numbers.step) > 0

    def with_average(self, numbers: TrainingNumbers) -> AbstractContextManager[None]:
        """Use the average as the weights inside the block, if there is one yet."""
        return swapped(self.memory["mean"] if self.has_average(numbers) else None, self.parameters, self.ops)

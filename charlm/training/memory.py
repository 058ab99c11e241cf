"""An estimate of the memory that a training needs."""

from __future__ import annotations

from collections.abc import Callable

from charlm.nn.workspace import Workspace
from charlm.text.batches.lanes import Batch, Batches
from charlm.training.trainer import Trainer


def memory_needed(trainer: Trainer) -> int:
    """Return the most bytes that the arrays of a training take at one time, without the corpus.

    Part of it depends on the weights: the gradients, the optimizer's memory, and copies of the weights.
    The other part are the buffers of a pass over the largest batch.
    Every lane of a batch needs the same, so passes over one and over two lanes give their size. Words that are read by
    their characters take memory once in a batch, so a pass over all lanes does.
    The gradients are overwritten.
    """
    model = trainer.model
    weights = int(model.parameters.values.nbytes)
    kept = 1 + len(trainer.update.memory) + 2
    clean = int(trainer.update.clean is not None)

    def learn(batch: Batch, ws: Workspace) -> None:
        noise = 0 if model.config.is_regularised else None
        model.loss_and_grads(batch, model.zero_state(batch.lanes), ws, noise=noise)

    def judge(batch: Batch, ws: Workspace) -> None:
        model.nats(batch, model.zero_state(batch.lanes), ws)

    buffers = _buffers(trainer, trainer.train, learn)
    if trainer.valid is not None:
        buffers += _buffers(trainer, trainer.valid, judge)
    return weights * (kept + 1 + 2 * kept + clean) + buffers


def _buffers(trainer: Trainer, batches: Batches, work: Callable[[Batch, Workspace], None]) -> int:
    """Return the bytes of the buffers of a pass over the largest batch."""
    batch = largest(batches)

    def of_lanes(count: int) -> int:
        ws = trainer.model.workspace()
        work(batch.of_lanes(slice(count)), ws)
        return ws.nbytes

    if trainer.model.config.char_features:
        return of_lanes(batch.lanes)
    one = of_lanes(1)
    lane = of_lanes(2) - one if batch.lanes > 1 else one
    return one + (batch.lanes - 1) * lane


def largest(batches: Batches) -> Batch:
    """Return the batch of an epoch that takes most memory."""
    if batches.carries:  # all have the same length, give or take a step
        return next(batches.epoch(0))
    return max(batches.epoch(0), key=_size)


def _steps(batch: Batch) -> int:
    return len(batch.inputs) + (0 if batch.sources is None else len(batch.sources))


def _size(batch: Batch) -> int:
    return _steps(batch) * batch.lanes

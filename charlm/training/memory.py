"""How much memory a training takes, before it does."""

from __future__ import annotations

from collections.abc import Callable

from charlm.nn.lanes import lanes_of_batch, shares_of
from charlm.nn.workspace import SHAPES_REMEMBERED, Workspace
from charlm.text.batches.lanes import Batch, Batches
from charlm.training.trainer import Trainer


def memory_needed(trainer: Trainer) -> int:
    """Return the bytes of the arrays that a training has at the same time at most, the corpus left out.

    They are the weights, their gradients for each process, the optimizer's memory, the best and the last good weights,
    what saving makes of all that, and the buffers of a pass over the largest batch, with the views into them. A pass
    over one lane and one over two tell how large these are, as every lane adds the same. The gradients are overwritten.
    """
    model = trainer.model
    weights = int(model.parameters.values.nbytes)
    kept = 1 + len(trainer.optimizer.memory) + 2

    def learn(batch: Batch, ws: Workspace) -> None:
        noise = 0 if model.config.dropout else None
        model.loss_and_grads(batch, model.zero_state(batch.lanes), ws, noise=noise)

    def judge(batch: Batch, ws: Workspace) -> None:
        model.nats(batch, model.zero_state(batch.lanes), ws)

    processes, buffers = _buffers(trainer, trainer.train, learn)
    if trainer.valid is not None:
        buffers += _buffers(trainer, trainer.valid, judge)[1]
    return weights * (kept + processes + 2 * kept) + buffers


def _buffers(trainer: Trainer, batches: Batches, work: Callable[[Batch, Workspace], None]) -> tuple[int, int]:
    """Return how many processes share the largest batch, and the bytes of the buffers of all of them."""
    model = trainer.model
    batch, shapes = _largest(batches)
    views = 0

    def of_lanes(count: int) -> int:
        nonlocal views
        ws = model.workspace()
        work(lanes_of_batch(batch, slice(0, count)), ws)
        views = ws.nbytes_of_views
        return ws.nbytes

    processes = len(shares_of(batch.lanes, model.ops.workers.processes, model.config.hidden_size))
    one = of_lanes(1)
    lane = of_lanes(2) - one if batch.lanes > 1 else one
    remembered = sum(sorted(shapes)[-SHAPES_REMEMBERED:]) / _steps(batch)
    return processes, processes * (one - lane + round(views * remembered)) + batch.lanes * lane


def _largest(batches: Batches) -> tuple[Batch, list[int]]:
    """Return the batch of an epoch that takes most, and how many steps the batches have of each shape."""
    if batches.carries:  # all are as long, give or take a step
        batch = next(batches.epoch(0))
        return batch, [_steps(batch)] * min(2, batches.steps(0))
    largest, shapes = next(batches.epoch(0)), {}
    for batch in batches.epoch(0):
        shapes[batch.inputs.shape, None if batch.sources is None else batch.sources.shape] = _steps(batch)
        if _size(batch) > _size(largest):
            largest = batch
    return largest, list(shapes.values())


def _steps(batch: Batch) -> int:
    return len(batch.inputs) + (0 if batch.sources is None else len(batch.sources))


def _size(batch: Batch) -> int:
    return _steps(batch) * batch.lanes

"""A body of layers and a head: the whole network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from charlm.backends import Array, Backend, Number
from charlm.config import ModelConfig
from charlm.nn.directions import Reversed
from charlm.nn.grads import Grads
from charlm.nn.heads import Head
from charlm.nn.lanes import lanes_of_batch, lanes_of_state, shares_of, side_by_side
from charlm.nn.layer import Stack, State
from charlm.nn.outputs import checked
from charlm.nn.parameters import Parameters
from charlm.nn.stepping import Stepper
from charlm.nn.twin import Twin
from charlm.nn.workspace import Workspace
from charlm.text.batches.lanes import Batch

_PLACES = 1 << 16  # steps of all lanes whose probabilities are computed at once

# Returns ln P of every choice, [V, n] on the host and the workspace's, for n steps and their lanes.
Choices = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Model:
    """The network: its configuration, its parameters, and what can be asked of it.

    What it says of a text, `nats` and log-probabilities, is finite: where it would not be, NonFiniteOutputError is
    raised.

    The state of the sequences goes in and comes out; whatever a call needs in between lies in the workspace that it is
    handed, so that calls on two workspaces do not know of each other. Where a batch has sources, an encoder reads them
    first, and its last state is the one that the body begins with, whatever state is handed in.

    Sequences side by side do not know of each other either: a wide batch is worked on by several processes, each with
    some of its lanes, a workspace and, in training, gradients of its own, which are then summed.

    twin: makes the same network over the same values, with gradients of its own
    """

    def __init__(
        self,
        config: ModelConfig,
        ops: Backend,
        body: Stack,
        head: Head,
        parameters: Parameters,
        grads: Grads,
        *,
        encoder: Reversed | None = None,
        twin: Callable[[], Model] | None = None,
    ) -> None:
        self.config, self.ops = config, ops
        self.body, self.head, self.encoder = body, head, encoder
        self.parameters, self.grads = parameters, grads
        self._make_twin = twin
        self._twins: list[Twin] = []

    def workspace(self) -> Workspace:
        """Make the buffers for one pass at a time."""
        return Workspace(self.ops, self.config.dtype)

    def zero_state(self, batch: int) -> State:
        """Give a<0> = 0 for `batch` sequences."""
        return self.body.zero_state(batch)

    def loss_and_grads(
        self, batch: Batch, state: State, ws: Workspace, *, noise: int | None = None
    ) -> tuple[Number, State]:
        """Run a batch forward and backward through time, cut off at its first step, and at that of its sources.

        Overwrites the gradients with those of the mean loss over the batch's targets. Returns the loss summed over
        them, in nats, a number of the device, and the state after the last step.
        """
        scale = 1.0 / max(1, batch.count)
        losses, states = self._by_shares(Model._loss_and_grads, batch, state, ws, scale, noise)
        self._sum_grads(len(losses))
        return losses[0] if len(losses) == 1 else sum(losses), side_by_side(states)

    def _loss_and_grads(
        self, batch: Batch, state: State, ws: Workspace, scale: float, noise: int | None
    ) -> tuple[Number, State]:
        self.parameters.clear_gaps()
        self.grads.begin()
        y, state = self._forward(batch, state, ws, noise)
        loss, dy = self.head.loss_and_grad(y, batch.targets, scale, ws.scope("head"))
        _, d_state = self.body.backward(dy, (), ws)
        if self.encoder is not None:
            self._encoder_backward(d_state, ws)
        return loss, state

    def _sum_grads(self, shares: int) -> None:
        """Add the gradients of the twins to those of the model."""
        own, others = self.parameters.grads, [twin.grads for twin in self._twins[: shares - 1]]

        def of_part(part: slice) -> None:
            for other in others:
                own[part] += other[part]

        if others:
            self.ops.each(of_part, self.ops.blocks(own.size))

    @np.errstate(all="ignore")  # of weights that have exploded, `checked` tells
    def nats(
        self, batch: Batch, state: State, ws: Workspace, *, best: np.ndarray | None = None
    ) -> tuple[np.ndarray, State]:
        """Give -ln P(target) at each step, float64 [T, B], 0 where there is no target, and the state after.

        best [T, B]: overwritten with the likeliest choice at each step, where given
        """
        found, states = self._by_shares(Model._nats, batch, state, ws, best is not None)
        nats, likeliest = zip(*found, strict=True)
        if best is not None:
            best[...] = np.concatenate(likeliest, axis=-1)
        return np.concatenate(nats, axis=-1), side_by_side(states)

    def _nats(
        self, batch: Batch, state: State, ws: Workspace, wants_best: bool
    ) -> tuple[tuple[np.ndarray, np.ndarray | None], State]:
        y, state = self._outputs(batch, state, ws)
        best = np.empty(batch.targets.shape, np.int32) if wants_best else None
        return (self.nats_of(y, batch.targets, ws, best=best), best), state

    def _by_shares(
        self, work: Callable[..., tuple[Any, State]], batch: Batch, state: State, ws: Workspace, *more: Any
    ) -> tuple[list[Any], list[State]]:
        """Call a method for the shares of a batch, one on this model and the others on twins at the same time.

        Returns of each share what it gives, and the state after.
        """
        workers = self.ops.processes if self._make_twin is not None else 1
        shares = shares_of(batch.lanes, workers, self.config.hidden_size)
        if len(shares) == 1:
            with self.ops.sharing():
                result, after = work(self, batch, state, ws.share(0, batch.lanes), *more)
            return [result], [after]
        while len(self._twins) < len(shares) - 1:
            assert self._make_twin is not None
            self._twins.append(Twin(self._make_twin()))
        own, *others = (
            (lanes_of_batch(batch, lanes), lanes_of_state(state, lanes), lanes.start, batch.lanes) for lanes in shares
        )
        try:
            for twin, share in zip(self._twins, others, strict=False):
                twin.ask(work, *share, *more)
            with self.ops.alone():
                answers = [work(self, *own[:2], ws.share(*own[2:]), *more)]
            answers += [twin.answer() for twin, _ in zip(self._twins, others, strict=False)]
        except BaseException:
            self._twins.clear()  # their answers would be taken for those to other questions
            raise
        results, states = zip(*answers, strict=True)
        return list(results), list(states)

    @property
    def lost_processes(self) -> int:
        """How many processes were killed or stopped while they shared the work, which was then done here."""
        return sum(twin.lost for twin in self._twins)

    @np.errstate(all="ignore")
    def next_log_probs(self, inputs: np.ndarray, state: State, ws: Workspace) -> tuple[np.ndarray, State]:
        """Read `inputs [T, B]` and give ln P of every next token, `[V, B]` on the host, and the state after."""
        y, state = self.body.forward(inputs, state, ws)
        return checked(self.ops.numpy(self.head.log_probs(y[-1:], ws.scope("head")))), state

    @np.errstate(all="ignore")
    def stepper(self) -> Stepper:
        """Give the network fed one token at a time, from state 0."""
        return Stepper(self.body, self.head, self.workspace())

    def log_probs_at(self, batch: Batch, steps: np.ndarray, lanes: np.ndarray, ws: Workspace) -> np.ndarray:
        """Give ln P of every choice at some places of a batch, `[V, n]` on the host, for n steps and their lanes."""
        _, choices = self.choices(batch, ws)
        if len(steps) <= _PLACES:
            return choices(steps, lanes)
        parts = (slice(first, first + _PLACES) for first in range(0, len(steps), _PLACES))
        return np.concatenate([choices(steps[part], lanes[part]).copy() for part in parts], axis=1)

    @np.errstate(all="ignore")
    def choices(self, batch: Batch, ws: Workspace) -> tuple[Array, Choices]:
        """Run a batch once, and return its outputs y and what computes the probabilities of all choices from them.

        y [T, n, B]: what the head reads; both hold until the workspace is used for another batch. Where the
        probabilities at all places would be too much, they are asked for in parts.
        """
        y, _ = self._outputs(batch, self.zero_state(batch.lanes), ws)
        return y, partial(self._choices, y, ws)

    @np.errstate(all="ignore")
    def _choices(self, y: Array, ws: Workspace, steps: np.ndarray, lanes: np.ndarray) -> np.ndarray:
        columns = ws.array("columns", (len(steps), y.shape[1], 1))
        each = np.arange(len(steps))
        self.ops.move_columns(y, (steps, lanes), out=columns, to=(each, np.zeros_like(each)))
        return checked(self.ops.numpy(self.head.log_probs(columns[:, :, 0].T[None], ws.scope("head"))))

    @np.errstate(all="ignore")
    def nats_of(self, y: Array, targets: np.ndarray, ws: Workspace, *, best: np.ndarray | None = None) -> np.ndarray:
        """Return -ln P(target) at each step, float64 [T, B], from the outputs y [T, n, B] of a batch.

        best [T, B]: overwritten with the likeliest choice at each step, where given
        """
        size = max(1, _PLACES // targets.shape[-1])
        of_each = [
            self.head.nats(y[part], targets[part], ws.scope("head"), best=None if best is None else best[part])
            for part in (slice(first, first + size) for first in range(0, len(y), size))
        ]
        return checked(of_each[0] if len(of_each) == 1 else np.concatenate(of_each))

    @np.errstate(all="ignore")
    def encode(self, sources: np.ndarray, starts: np.ndarray | None, ws: Workspace) -> State:
        """Read `sources [S, B]` and give the state that the body begins with."""
        return self._last_state(sources, starts, ws)

    def _outputs(self, batch: Batch, state: State, ws: Workspace) -> tuple[Array, State]:
        """Run a batch for its outputs alone: no more of it is kept than these take."""
        if batch.sources is not None:
            state = self._last_state(batch.sources, batch.source_starts, ws)
        return self.body.outputs(batch.inputs, state, ws, starts=batch.starts)

    def _last_state(self, sources: np.ndarray, starts: np.ndarray | None, ws: Workspace) -> State:
        assert self.encoder is not None
        zero = self.encoder.zero_state(sources.shape[1])
        return self._of_decoder(self.encoder.last_state(sources, zero, ws.scope("encoder"), starts=starts))

    def _forward(self, batch: Batch, state: State, ws: Workspace, noise: int | None) -> tuple[Array, State]:
        if batch.sources is not None:
            state = self._encoded(batch.sources, batch.source_starts, ws, noise)
        return self.body.forward(batch.inputs, state, ws, starts=batch.starts, noise=noise)

    def _encoded(self, sources: np.ndarray, starts: np.ndarray | None, ws: Workspace, noise: int | None) -> State:
        """Return the state that the body begins with, and keep what the way back needs."""
        assert self.encoder is not None
        zero, own = self.encoder.zero_state(sources.shape[1]), ws.scope("encoder")
        y, state = self.encoder.forward(sources, zero, own, starts=starts, noise=noise)
        own.keep("shape", y.shape)
        return self._of_decoder(state)

    def _of_decoder(self, state: State) -> State:
        """The decoder's layers are the encoder's, and dense ones on top, which have no state."""
        return state + ((),) * (len(self.body.zero_state(0)) - len(state))

    def _encoder_backward(self, d_state: State, ws: Workspace) -> None:
        """Go on backwards through the encoder: all that the loss knows of it came by way of its last state."""
        assert self.encoder is not None
        own = ws.scope("encoder")
        nothing = own.array("dy", own.kept("shape"))
        nothing[...] = 0
        self.encoder.backward(nothing, d_state[: len(self.encoder.zero_state(0))], own)

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
from charlm.nn.lanes import Share, divide, side_by_side
from charlm.nn.layer import Noise, Stack, State
from charlm.nn.outputs import checked
from charlm.nn.parameters import Parameters
from charlm.nn.stepping import Stepper, stepper_of
from charlm.nn.twin import Twin
from charlm.nn.workspace import Workspace
from charlm.text.batches.lanes import Batch

_PLACES = 1 << 16  # steps of all lanes whose probabilities are computed at a time

# A function of n steps and their lanes that returns ln P of every choice, [V, n] on the host.
Choices = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Model:
    """The network: its configuration, its parameters, and its forward and backward passes.

    The state of the sequences goes in and comes out. All that a call needs in between lies in its workspace, so calls
    on two workspaces are independent. If a batch has sources, an encoder reads them first, and the body begins with the
    encoder's last state instead of the given one.

    The lanes of a batch are independent too. Several processes share a wide batch, each with some of its lanes and,
    in training, with gradients of its own, which are then summed.

    Losses of targets and log-probabilities are finite; where they would not be, NonFiniteOutputError is raised. What
    `loss_and_grads` computes may be NaN or infinite.

    twin: makes the same network with the same values and gradients of its own
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
        """Return a workspace for one pass at a time."""
        return Workspace(self.ops, self.config.array_dtype)

    def zero_state(self, batch: int) -> State:
        """Return the state before the first step, a<0> = 0, of `batch` sequences."""
        return self.body.zero_state(batch)

    def loss_and_grads(
        self, batch: Batch, state: State, ws: Workspace, *, noise: int | None = None
    ) -> tuple[Number, State]:
        """Run a batch forward and backward through time, truncated at the first step of the batch and of its sources.

        Overwrites the gradients with those of the mean loss over the batch's targets.

        noise: key of this step's dropout; None for none.
        Returns the loss summed over the targets, in nats, a number of the device, and the state after the last step.
        """
        scale = 1.0 / max(1, batch.count)
        losses, states = self._in_shares(Model._loss_and_grads, batch, state, ws, scale, noise)
        if len(losses) == 1:
            return losses[0], states[0]
        for twin in self._twins[: len(losses) - 1]:
            self.parameters.grads += twin.grads
        return sum(losses), side_by_side(states)

    def _loss_and_grads(self, share: Share, ws: Workspace, scale: float, noise: int | None) -> tuple[Number, State]:
        self.grads.begin()
        own = None if noise is None else Noise(noise, (share.first, share.lanes))
        batch, state = share.batch, share.state
        if batch.sources is not None:
            state = self._encoded(batch.sources, batch.source_starts, ws, own)
        y, state = self.body.forward(batch.inputs, state, ws, starts=batch.starts, noise=own)
        loss, dy = self.head.loss_and_grad(y, batch.targets, scale, ws.scope("head"))
        _, d_state = self.body.backward(dy, (), ws)
        if self.encoder is not None:
            self._encoder_backward(d_state, ws)
        return loss, state

    @np.errstate(all="ignore")  # `checked` finds what exploded weights lead to
    def nats(
        self, batch: Batch, state: State, ws: Workspace, *, best: np.ndarray | None = None
    ) -> tuple[np.ndarray, State]:
        """Return -ln P(target) at each step, float64 [T, B], 0 where there is no target, and the state after.

        best [T, B]: if given, overwritten with the likeliest choice at each step
        """
        found, states = self._in_shares(Model._nats, batch, state, ws, best is not None)
        nats, likeliest = zip(*found, strict=True)
        if best is not None:
            best[...] = np.concatenate(likeliest, axis=-1)
        return np.concatenate(nats, axis=-1), side_by_side(states)

    def _nats(
        self, share: Share, ws: Workspace, wants_best: bool
    ) -> tuple[tuple[np.ndarray, np.ndarray | None], State]:
        y, state = self._outputs(share.batch, share.state, ws)
        targets = share.batch.targets
        best = np.empty(targets.shape, np.int32) if wants_best else None
        return (self.nats_of(y, targets, ws, best=best), best), state

    def _in_shares(
        self, method: Callable[..., tuple[Any, State]], batch: Batch, state: State, ws: Workspace, *arguments: Any
    ) -> tuple[list[Any], list[State]]:
        """Call a method with each share of a batch: the first on this model, the others on twins at the same time.

        Returns the result and the state after of each share.
        """
        workers, own, others = self.ops.workers, Share(batch, state, 0, batch.lanes), list[Share]()
        if self._make_twin is not None and workers.processes > 1:
            own, *others = divide(batch, state, workers.processes, self.config.hidden_size)
        if not others:
            with workers.single_threaded_blas():
                result, after = method(self, own, ws, *arguments)
            return [result], [after]
        while len(self._twins) < len(others):
            assert self._make_twin is not None
            self._twins.append(Twin(self._make_twin()))
        twins = self._twins[: len(others)]
        try:
            for twin, share in zip(twins, others, strict=True):
                twin.ask(method, share, *arguments)
            with workers.calling_thread_only():
                answers = [method(self, own, ws, *arguments)]
            answers += [twin.answer() for twin in twins]
        except BaseException:
            self._twins.clear()  # a later call would get the answers to this one
            raise
        results, states = zip(*answers, strict=True)
        return list(results), list(states)

    @property
    def lost_processes(self) -> int:
        """The number of processes that were killed or stopped; their work was done in this process."""
        return sum(twin.lost for twin in self._twins)

    @np.errstate(all="ignore")
    def next_log_probs(self, inputs: np.ndarray, state: State, ws: Workspace) -> tuple[np.ndarray, State]:
        """Read `inputs [T, B]`; return ln P of every next token, `[V, B]` on the host, and the state after."""
        y, state = self.body.forward(inputs, state, ws)
        return checked(self.ops.numpy(self.head.log_probs(y[-1:], ws.scope("head")))), state

    @np.errstate(all="ignore")
    def stepper(self) -> Stepper:
        """Return the network as a reader of one token at a time, from state 0."""
        return stepper_of(self.body, self.head, self.workspace())

    def log_probs_at(self, batch: Batch, steps: np.ndarray, lanes: np.ndarray, ws: Workspace) -> np.ndarray:
        """Return ln P of every choice at n steps and lanes of a batch, `[V, n]` on the host."""
        _, choices = self.choices(batch, ws)
        if len(steps) <= _PLACES:
            return choices(steps, lanes)
        parts = (slice(first, first + _PLACES) for first in range(0, len(steps), _PLACES))
        return np.concatenate([choices(steps[part], lanes[part]).copy() for part in parts], axis=1)

    @np.errstate(all="ignore")
    def choices(self, batch: Batch, ws: Workspace) -> tuple[Array, Choices]:
        """Run a batch; return its outputs y [T, n, B], which the head reads, and a function of them.

        The function computes the probabilities of all choices at some places, so that a caller may ask for them in
        parts. Both are valid until the workspace is used for another batch.
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

        best [T, B]: if given, overwritten with the likeliest choice at each step
        """
        size = max(1, _PLACES // targets.shape[-1])
        of_each = [
            self.head.nats(y[part], targets[part], ws.scope("head"), best=None if best is None else best[part])
            for part in (slice(first, first + size) for first in range(0, len(y), size))
        ]
        return checked(of_each[0] if len(of_each) == 1 else np.concatenate(of_each))

    @np.errstate(all="ignore")
    def encode(self, sources: np.ndarray, starts: np.ndarray | None, ws: Workspace) -> State:
        """Read `sources [S, B]`; return the state that the body begins with."""
        return self._last_state(sources, starts, ws)

    def _outputs(self, batch: Batch, state: State, ws: Workspace) -> tuple[Array, State]:
        """Run a batch for its outputs alone; there is no way back."""
        if batch.sources is not None:
            state = self._last_state(batch.sources, batch.source_starts, ws)
        return self.body.outputs(batch.inputs, state, ws, starts=batch.starts)

    def _last_state(self, sources: np.ndarray, starts: np.ndarray | None, ws: Workspace) -> State:
        assert self.encoder is not None
        zero = self.encoder.zero_state(sources.shape[1])
        return self._of_decoder(self.encoder.last_state(sources, zero, ws.scope("encoder"), starts=starts))

    def _encoded(self, sources: np.ndarray, starts: np.ndarray | None, ws: Workspace, noise: Noise | None) -> State:
        """Return the state that the body begins with; keep what the backward pass needs."""
        assert self.encoder is not None
        zero, own = self.encoder.zero_state(sources.shape[1]), ws.scope("encoder")
        y, state = self.encoder.forward(sources, zero, own, starts=starts, noise=noise)
        own.keep("shape", y.shape)
        return self._of_decoder(state)

    def _of_decoder(self, state: State) -> State:
        """Return an encoder's state with empty states for the decoder's dense layers on top."""
        return state + ((),) * (len(self.body.zero_state(0)) - len(state))

    def _encoder_backward(self, d_state: State, ws: Workspace) -> None:
        """Run the backward pass of the encoder; the loss depends on it through its last state alone."""
        assert self.encoder is not None
        own = ws.scope("encoder")
        dy = own.steps("dy", own.kept("shape"))
        dy[...] = 0
        self.encoder.backward(dy, d_state[: len(self.encoder.zero_state(0))], own)

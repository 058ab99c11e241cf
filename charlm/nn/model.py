"""A body of layers and a head: the whole network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from charlm.backends import Array, Backend, Number
from charlm.config import ModelConfig
from charlm.nn.directions import Reversed
from charlm.nn.grads import Grads
from charlm.nn.heads import Head
from charlm.nn.layer import Stack, State
from charlm.nn.outputs import checked
from charlm.nn.parameters import Parameters
from charlm.nn.stepping import Stepper, stepper_of
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

    Losses of targets and log-probabilities are finite; where they would not be, NonFiniteOutputError is raised. What
    `loss_and_grads` computes may be NaN or infinite.
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
    ) -> None:
        self.config, self.ops = config, ops
        self.body, self.head, self.encoder = body, head, encoder
        self.parameters, self.grads = parameters, grads

    def workspace(self) -> Workspace:
        """Return a workspace for one pass at a time."""
        return Workspace(self.ops, self.config.array_dtype)

    def zero_state(self, batch: int) -> State:
        """Return the state before the first step, a<0> = 0, of `batch` sequences."""
        return self.body.zero_state(batch)

    @np.errstate(all="ignore")  # the loss tells of exploded weights
    def loss_and_grads(
        self, batch: Batch, state: State, ws: Workspace, *, noise: int | None = None, count: int | None = None
    ) -> tuple[Number, State]:
        """Run a batch forward and backward through time, truncated at the first step of the batch and of its sources.

        Overwrites the gradients with those of the mean loss over the batch's targets.

        noise: key of this step's dropout; None for none.
        count: the number to divide the summed loss by before its gradient; None: the batch's targets.
        Returns the loss summed over the targets, in nats, a number of the device, and the state after the last step.
        """
        with self.ops.workers.single_threaded_blas():
            self.grads.begin()
            if batch.sources is not None:
                state = self._encoded(batch.sources, batch.source_starts, ws, noise)
            y, state = self.body.forward(batch.inputs, state, ws, starts=batch.starts, noise=noise)
            scale = 1.0 / max(1, batch.count if count is None else count)
            head = self.head.bounded(batch.starts)
            loss, dy = head.loss_and_grad(y, batch.targets, scale, ws.scope("head"))
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
        with self.ops.workers.single_threaded_blas():
            y, state = self._outputs(batch, state, ws)
            return self.nats_of(y, batch.targets, ws, best=best, starts=batch.starts), state

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
        y, choices, _ = self.read(batch, self.zero_state(batch.lanes), ws)
        return y, choices

    @np.errstate(all="ignore")
    def read(self, batch: Batch, state: State, ws: Workspace) -> tuple[Array, Choices, State]:
        """Run a batch from a given state; return what `choices` does, and the state after the last step."""
        y, state = self._outputs(batch, state, ws)
        return y, partial(self._choices, y, ws), state

    @np.errstate(all="ignore")
    def _choices(self, y: Array, ws: Workspace, steps: np.ndarray, lanes: np.ndarray) -> np.ndarray:
        columns = ws.array("columns", (len(steps), y.shape[1], 1))
        each = np.arange(len(steps))
        self.ops.move_columns(y, (steps, lanes), out=columns, to=(each, np.zeros_like(each)))
        return checked(self.ops.numpy(self.head.log_probs(columns[:, :, 0].T[None], ws.scope("head"))))

    @np.errstate(all="ignore")
    def nats_of(
        self,
        y: Array,
        targets: np.ndarray,
        ws: Workspace,
        *,
        best: np.ndarray | None = None,
        starts: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return -ln P(target) at each step, float64 [T, B], from the outputs y [T, n, B] of a batch.

        best [T, B]: if given, overwritten with the likeliest choice at each step
        starts [T, B]: where sequences begin, for a head whose outputs are not independent
        """
        head = self.head.bounded(starts)
        size = len(y) if head.is_chain else max(1, _PLACES // targets.shape[-1])
        of_each = [
            head.nats(y[part], targets[part], ws.scope("head"), best=None if best is None else best[part])
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

    def _encoded(self, sources: np.ndarray, starts: np.ndarray | None, ws: Workspace, noise: int | None) -> State:
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

"""A body of layers and a head: the whole network."""

from __future__ import annotations

import numpy as np

from charlm.backends import Array, Backend
from charlm.config import ModelConfig
from charlm.nn.heads import Head
from charlm.nn.layer import Stack, State
from charlm.nn.parameters import Parameters
from charlm.nn.workspace import Workspace
from charlm.text.batches import Batch


class Model:
    """The network: its configuration, its parameters, and what can be asked of it.

    The state of the sequences goes in and comes out; whatever a call needs in between lies in the workspace that it is
    handed, so that calls on two workspaces do not know of each other.
    """

    def __init__(self, config: ModelConfig, ops: Backend, body: Stack, head: Head, parameters: Parameters) -> None:
        self.config, self.ops = config, ops
        self.body, self.head = body, head
        self.parameters = parameters

    def workspace(self) -> Workspace:
        """Make the buffers for one pass at a time."""
        return Workspace(self.ops, self.config.dtype)

    def zero_state(self, batch: int) -> State:
        """Give a<0> = 0 for `batch` sequences."""
        return self.body.zero_state(batch)

    def loss_and_grads(
        self, batch: Batch, state: State, ws: Workspace, *, noise: int | None = None
    ) -> tuple[float, State]:
        """Run a batch forward and backward through time, cut off at its first step.

        Overwrites the gradients with those of the mean loss over the batch's targets. Returns the loss summed over
        them, in nats, and the state after the last step.
        """
        self.parameters.grads[...] = 0
        y, state = self._forward(batch.inputs, batch.starts, state, ws, noise)
        loss, dy = self.head.loss_and_grad(y, batch.targets, 1.0 / max(1, batch.count), ws.scope("head"))
        self.body.backward(dy, (), ws)
        return loss, state

    def nats(self, batch: Batch, state: State, ws: Workspace) -> tuple[np.ndarray, State]:
        """Give -ln P(target) at each step, float64 [T, B], 0 where there is no target, and the state after."""
        y, state = self._forward(batch.inputs, batch.starts, state, ws, None)
        return self.head.nats(y, batch.targets, ws.scope("head")), state

    def next_log_probs(self, inputs: np.ndarray, state: State, ws: Workspace) -> tuple[np.ndarray, State]:
        """Read `inputs [T, B]` and give ln P of every next token, `[V, B]` on the host, and the state after."""
        y, state = self._forward(inputs, None, state, ws, None)
        return self.ops.numpy(self.head.log_probs(y[-1:], ws.scope("head"))), state

    def _forward(
        self, inputs: np.ndarray, starts: np.ndarray | None, state: State, ws: Workspace, noise: int | None
    ) -> tuple[Array, State]:
        return self.body.forward(inputs, state, ws, starts=starts, noise=noise)

"""PyTorch's own training step: its recurrent layers, its loss, its clipping, its Adam."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.benchmarks.speed_cases import Case, Step

LAYERS = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
BATCHES = 100  # of the stream that is learned from, over and over, as charlm does


class Training:
    """A network and its optimizer.

    form: `input` of one-hot tokens (`one_hot`, or a frozen `identity` embedding), `adam` (`fused` or `foreach`), and
        `precision`: if it is `bfloat16`, the forward pass runs under autocast, which casts what products read
    """

    def __init__(self, case: Case, form: dict[str, Any]) -> None:
        self.case, self.form = case, form
        V, D, H = case.vocabulary, case.embedding or case.vocabulary, case.hidden
        self.embedding = torch.nn.Embedding(V, D)
        if not case.embedding:
            self.embedding = torch.nn.Embedding.from_pretrained(torch.eye(V), freeze=True)
        self.layers = LAYERS[case.cell](D, H, 2)
        self.output = torch.nn.Linear(H, V)
        modules = (self.embedding, self.layers, self.output)
        self.parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        self.adam = torch.optim.Adam(self.parameters, lr=0.002, **{form["adam"]: True})
        self.state: Any = None

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Learn from ids [T, B], and return the mean loss before it; the state is carried on without its history."""
        loss = self.loss(inputs, targets)
        self.adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 5.0)
        self.adam.step()
        return loss.detach()

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a token."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.form.get("precision") == "bfloat16"):
            return self._loss(inputs, targets)

    def _loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        if self.form["input"] == "one_hot":
            x = F.one_hot(inputs, self.case.vocabulary).float()
        else:
            x = self.embedding(inputs)
        y, state = self.layers(x, self.state)
        self.state = tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()
        return F.cross_entropy(self.output(y).view(-1, self.case.vocabulary), targets.reshape(-1))


def training(case: Case, form: dict[str, Any]) -> Step:
    """Return a training step over a stream of equally likely tokens."""
    torch.manual_seed(1)
    net = Training(case, form)
    stream = torch.randint(2, case.vocabulary, (case.batch, BATCHES * case.steps + 1)).t().contiguous()
    at = 0

    def step() -> int:
        nonlocal at
        net.step(stream[at : at + case.steps], stream[at + 1 : at + 1 + case.steps])
        at = (at + case.steps) % (BATCHES * case.steps)
        return case.steps * case.batch

    return step

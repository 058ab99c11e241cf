"""PyTorch's own drawing of one stream of tokens, in the forms that it offers.

Nothing but ids is made of the draws, while charlm also masks `<UNK>`, sums log-probabilities and writes the text.
Tried by hand and slower: nn.LSTMCell itself, for the checks around its function, and torch.compile.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.benchmarks.speed_cases import GENERATED, Case, Step


class Sampling(torch.nn.Module):
    """Two layers under a softmax; the embedding of one-hot tokens is the identity.

    form: `net`: nn.LSTM called for one step (`LSTM`), or the function of nn.LSTMCell (`lstm_cell`); `draw`: by
    `multinomial`, or by `sums` of the probabilities and a search in them
    """

    def __init__(self, case: Case, form: dict[str, Any]) -> None:
        super().__init__()
        self.form, D = form, case.embedding or case.vocabulary
        self.embedding = torch.nn.Embedding(case.vocabulary, D)
        if not case.embedding:
            self.embedding = torch.nn.Embedding.from_pretrained(torch.eye(case.vocabulary))
        self.layers = torch.nn.LSTM(D, case.hidden, 2)
        self.output = torch.nn.Linear(case.hidden, case.vocabulary)

    @torch.inference_mode()
    def draw(self, count: int) -> list[int]:
        """Draw so many ids, and make them Python's."""
        zero = torch.zeros(2, 1, self.layers.hidden_size)
        if self.form["net"] == "LSTM":
            read, state = self._layers, (zero, zero)
        else:
            read, state = self._cells, [(zero[0], zero[0])] * 2
        token, drawn = torch.zeros(1, dtype=torch.long), []
        for _ in range(count):
            a, state = read(self.embedding(token), state)
            token = self._pick(self.output(a))
            drawn.append(token)
        ids: list[int] = torch.cat(drawn).tolist()
        return ids

    def _layers(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, state = self.layers(x[None], state)
        return y[0], state

    def _cells(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        states = []
        for old, weights in zip(state, self.layers.all_weights, strict=True):
            states.append(torch.lstm_cell(x, old, *weights))
            x = states[-1][0]
        return x, states

    def _pick(self, logits: Tensor) -> Tensor:
        """Draw a token [1] from logits [1, V]."""
        probs = torch.softmax(logits, -1)
        if self.form["draw"] == "multinomial":
            return torch.multinomial(probs, 1)[:, 0]
        sums = probs.cumsum(-1)
        return torch.searchsorted(sums, torch.rand(1, 1) * sums[:, -1:], right=True)[:, 0].clamp(max=sums.size(1) - 1)


def sampling(case: Case, form: dict[str, Any]) -> Step:
    """Return the drawing of one text."""
    torch.manual_seed(1)
    network = Sampling(case, form)
    return lambda: len(network.draw(GENERATED))

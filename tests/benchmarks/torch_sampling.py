"""PyTorch's own sampling of one stream of tokens, in the forms that it offers.

The samples stay ids, while charlm also masks `<UNK>`, sums log-probabilities and writes the text. Tried by hand and
slower: nn.LSTMCell itself, because of the checks around its function, torch.compile, int8 weights of nn.LSTMCell, and
int8 products by oneDNN.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
from torch import Tensor

from tests.benchmarks.speed_cases import GENERATED, Case, Step


class Sampling(torch.nn.Module):
    """Two layers under a softmax; the embedding of one-hot tokens is the identity.

    form: `net`: nn.LSTM called for one step (`LSTM`), the function of nn.LSTMCell (`lstm_cell`), or that one in a loop
        that TorchScript has compiled (`script`); `draw`: by `multinomial`, or by `sums` of the probabilities and a
        search in them; `precision`: with `int8`, weights are quantised, and activations at each product; with
        `bfloat16`, all numbers but those of the draw are rounded. `network_of` does both
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
        """Return `count` sampled ids."""
        if self.form["net"] == "script":
            weights = [list(of_layer) for of_layer in self.layers.all_weights]
            ids = _script()(
                count, self.embedding.weight, weights, self.output.weight, self.output.bias, self.form["draw"] == "sums"
            )
            return list(ids.tolist())
        zero = torch.zeros(2, 1, self.layers.hidden_size, dtype=self.embedding.weight.dtype)
        if self.form["net"] == "LSTM":
            read, state = self._layers, (zero, zero)
        else:
            read, state = self._cells, [(zero[0], zero[0])] * 2
        token, drawn = torch.zeros(1, dtype=torch.long), []
        for _ in range(count):
            a, state = read(self.embedding(token), state)
            token = self._pick(self.output(a).float())
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
        return pick(logits, self.form["draw"] == "sums")


def pick(logits: Tensor, by_sums: bool) -> Tensor:
    """Return a token [1] that is sampled from logits [1, V]."""
    probs = torch.softmax(logits, -1)
    if not by_sums:
        return torch.multinomial(probs, 1)[:, 0]
    sums = probs.cumsum(-1)
    return torch.searchsorted(sums, torch.rand(1, 1) * sums[:, -1:], right=True)[:, 0].clamp(max=sums.size(1) - 1)


def loop(count: int, table: Tensor, layers: list[list[Tensor]], W: Tensor, b: Tensor, by_sums: bool) -> Tensor:
    """Return `count` sampled ids: the loop of `Sampling.draw` with lstm_cell, in what TorchScript understands."""
    zero = torch.zeros(1, layers[0][1].size(1))
    a, c = [zero for _ in layers], [zero for _ in layers]
    token, drawn = torch.zeros(1, dtype=torch.long), []
    for _ in range(count):
        x = torch.nn.functional.embedding(token, table)
        for number, weights in enumerate(layers):
            old = [a[number], c[number]]
            x, c[number] = torch.lstm_cell(x, old, weights[0], weights[1], weights[2], weights[3])
            a[number] = x
        token = pick(torch.nn.functional.linear(x, W, b), by_sums)
        drawn.append(token)
    return torch.cat(drawn)


@functools.cache
def _script() -> Any:
    with warnings.catch_warnings(action="ignore"):  # TorchScript is deprecated
        return torch.jit.script(loop)


def network_of(case: Case, form: dict[str, Any]) -> Sampling:
    """Return the network in the form's precision, with the same weights each time; draws start from the same seed."""
    torch.manual_seed(1)
    network = Sampling(case, form)
    if form.get("precision") == "bfloat16":
        return network.to(torch.bfloat16)
    if form.get("precision") == "int8":
        with warnings.catch_warnings(action="ignore"):  # PyTorch's dynamic quantisation is deprecated, with its tensors
            made: Sampling = torch.ao.quantization.quantize_dynamic(
                network, {torch.nn.LSTM, torch.nn.Linear}, dtype=torch.qint8
            )
        return made
    return network


def sampling(case: Case, form: dict[str, Any]) -> Step:
    """Return the sampling of one text."""
    network = network_of(case, form)
    return lambda: len(network.draw(GENERATED))

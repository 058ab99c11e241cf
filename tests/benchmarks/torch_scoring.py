"""PyTorch's own scoring of lines: ln P of each, with its end, in batches of lines of like length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import rnn

from tests.benchmarks.speed_cases import Case, Step, lines_of, tokens_of


class Scoring:
    """A network and the lines that it scores.

    form: `batches` is `padded`, or `packed` by pack_sequence; `rows`: of logits worked on at a time, 0 for those of a
    whole batch. Padding never reaches the output layer.
    """

    def __init__(self, case: Case, form: dict[str, Any]) -> None:
        self.case, self.form = case, form
        self.embedding = torch.nn.Embedding(case.vocabulary, case.embedding)
        self.layers = torch.nn.LSTM(case.embedding, case.hidden, 2)
        self.output = torch.nn.Linear(case.hidden, case.vocabulary)
        self.ids = {token: number for number, token in enumerate(tokens_of(case))}

    def score(self, lines: list[str]) -> list[float]:
        """Return ln P(line) of each line, in order."""
        encoded = [[self.ids.get(word, 1) for word in line.split()] for line in lines]
        order = sorted(range(len(lines)), key=lambda number: -len(encoded[number]))
        scores = torch.zeros(len(lines))
        with torch.inference_mode():
            for start in range(0, len(order), self.case.batch):
                chosen = order[start : start + self.case.batch]
                inputs = [torch.tensor([0, *encoded[number]]) for number in chosen]
                targets = [torch.tensor([*encoded[number], 0]) for number in chosen]
                scores[chosen] = self._batch(inputs, targets)
        result: list[float] = scores.tolist()
        return result

    def _batch(self, inputs: list[Tensor], targets: list[Tensor]) -> Tensor:
        """Return ln P of lines side by side, the longest first."""
        lines = [torch.full_like(line, number) for number, line in enumerate(targets)]
        if self.form["batches"] == "packed":
            packed = rnn.pack_sequence(inputs)
            y, _ = self.layers(packed._replace(data=self.embedding(packed.data)))
            a, wanted, owners = y.data, rnn.pack_sequence(targets).data, rnn.pack_sequence(lines).data
        else:
            y, _ = self.layers(self.embedding(rnn.pad_sequence(inputs)))
            wanted, owners = rnn.pad_sequence(targets, padding_value=-1), rnn.pad_sequence(lines)
            asked = wanted >= 0
            a, wanted, owners = y[asked], wanted[asked], owners[asked]
        rows = self.form["rows"] or len(a)
        parts = zip(a.split(rows), wanted.split(rows), strict=True)
        nats = [F.cross_entropy(self.output(part), of_part, reduction="none") for part, of_part in parts]
        return torch.zeros(len(inputs)).index_add_(0, owners, -torch.cat(nats))


def scoring(case: Case, form: dict[str, Any]) -> Step:
    """Return the scoring of all lines."""
    torch.manual_seed(1)
    net, lines = Scoring(case, form), lines_of(case)
    tokens = sum(len(line.split()) + 1 for line in lines)

    def step() -> int:
        net.score(lines)
        return tokens

    return step

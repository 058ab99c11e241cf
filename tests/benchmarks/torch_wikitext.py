"""PyTorch's word_language_model example, its recipe as `quality.py` has it: one epoch of WikiText-2, LSTM 2x200.

    python -m tests.benchmarks.torch_wikitext FOLDER THREADS [STEPS]     writes {"perplexity": ...}, of the valid part

From the example: weights of embedding and output layer from U(-0.1, 0.1), dropout after the embedding and after each
layer, gradients' norm cut to 0.25, SGD by hand. In place of its log_softmax and NLLLoss stands cross_entropy, which is
the same and faster.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

HIDDEN, LAYERS, BATCH, EVALUATION_BATCH, STEPS, LR, CLIP, DROPOUT, SEED = 200, 2, 20, 10, 35, 20.0, 0.25, 0.2, 1111


class Network(torch.nn.Module):
    """The example's RNNModel."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.drop = torch.nn.Dropout(DROPOUT)
        self.embedding = torch.nn.Embedding(vocabulary_size, HIDDEN)
        self.layers = torch.nn.LSTM(HIDDEN, HIDDEN, LAYERS, dropout=DROPOUT)
        self.output = torch.nn.Linear(HIDDEN, vocabulary_size)
        torch.nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        torch.nn.init.uniform_(self.output.weight, -0.1, 0.1)
        torch.nn.init.zeros_(self.output.bias)

    def loss(self, inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the mean loss of a token, and the state after the last."""
        y, state = self.layers(self.drop(self.embedding(inputs)), state)
        logits = self.output(self.drop(y))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1)), state


def read(folder: Path) -> tuple[int, Tensor, Tensor]:
    """Return the number of different words, and the ids of the parts to learn from and to be judged by."""
    ids: dict[str, int] = {}
    parts = []
    for name in ("train", "valid"):
        lines = (folder / f"{name}.txt").read_text().removesuffix("\n").split("\n")
        words = (word for line in lines for word in [*line.split(), "<eos>"])
        parts.append(torch.tensor([ids.setdefault(word, len(ids)) for word in words]))
    return len(ids), parts[0], parts[1]


def batches(ids: Tensor, lanes: int) -> Any:
    """Yield inputs and targets [T, lanes]; what is left over at the end is cut off."""
    side_by_side = ids[: len(ids) // lanes * lanes].view(lanes, -1).t().contiguous()
    for start in range(0, len(side_by_side) - 1, STEPS):
        end = min(start + STEPS, len(side_by_side) - 1)
        yield side_by_side[start:end], side_by_side[start + 1 : end + 1]


def main() -> None:
    """Train for an epoch, or for some steps of it, and evaluate."""
    torch.set_num_threads(int(sys.argv[2]))
    torch.manual_seed(SEED)
    most = int(sys.argv[3]) if len(sys.argv) > 3 else None
    vocabulary_size, train, valid = read(Path(sys.argv[1]))
    net = Network(vocabulary_size)
    parameters, state = list(net.parameters()), None
    for number, (inputs, targets) in enumerate(batches(train, BATCH)):
        if number == most:
            break
        loss, state = net.loss(inputs, targets, state)
        state = tuple(part.detach() for part in state)
        net.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        with torch.no_grad():
            for parameter in parameters:
                parameter.add_(parameter.grad, alpha=-LR)
    net.eval()
    nats = tokens = 0.0
    state = None
    with torch.inference_mode():
        for inputs, targets in batches(valid, EVALUATION_BATCH):
            loss, state = net.loss(inputs, targets, state)
            nats += loss.item() * targets.numel()
            tokens += targets.numel()
    print(json.dumps({"perplexity": math.exp(nats / tokens)}))


if __name__ == "__main__":
    main()

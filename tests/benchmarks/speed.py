"""Tokens per second beside PyTorch's on equal threads, A B A B in one run.

python -m tests.benchmarks.speed [--pairs 5] [--seconds 2]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from charlm.backends import NumpyBackend
from charlm.config import ModelConfig, SampleConfig, TextConfig, TrainConfig
from charlm.generation import Sampler
from charlm.language_model import LanguageModel
from charlm.nn.build import build
from charlm.text import Tokenizer, Vocabulary, make_splitter
from charlm.text.batches import StreamBatches
from charlm.text.codec import Codec
from charlm.training import Trainer

V, B, T = 65, 64, 64
Step = Callable[[], int]  # does some work and gives the tokens that it was


def charlm_training(cell: str, hidden: int) -> Step:
    """Give a training step of charlm."""
    ids = np.random.default_rng(1).integers(2, V, 400_000).astype(np.int32)
    model = build(ModelConfig(vocabulary_size=V, cell=cell, hidden_size=hidden), NumpyBackend(), seed=1)
    batches = StreamBatches(ids, batch_size=B, seq_length=T)
    run = Trainer(model, TrainConfig(max_steps=1 << 30), batches, None).run()
    return lambda: next(run).tokens


def torch_training(cell: str, hidden: int) -> Step:
    """Give a training step of PyTorch, with its own layers, one-hot input and fused Adam."""
    torch.manual_seed(1)
    layers = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell](V, hidden, 2)
    output = torch.nn.Linear(hidden, V)
    parameters = [*layers.parameters(), *output.parameters()]
    adam = torch.optim.Adam(parameters, lr=0.002, fused=True)
    ids = torch.randint(2, V, (T + 1, B))
    state = None

    def step() -> int:
        nonlocal state
        x = torch.nn.functional.one_hot(ids[:-1], V).float()
        y, state = layers(x, state)
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        loss = torch.nn.functional.cross_entropy(output(y).view(-1, V), ids[1:].reshape(-1))
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        adam.step()
        return T * B

    return step


def charlm_sampling(hidden: int) -> Step:
    """Give the drawing of 500 tokens by charlm."""
    vocabulary = Vocabulary(("<EOS>", "<UNK>", *map(chr, range(33, 33 + V - 2))))
    model = build(ModelConfig(vocabulary_size=V, hidden_size=hidden), NumpyBackend(), seed=1)
    tokenizer = Tokenizer(make_splitter("char", "punct", lowercase=False), vocabulary)
    language_model = LanguageModel(model, Codec(tokenizer), TextConfig(unit="stream"), TrainConfig())
    sampler = Sampler(language_model, SampleConfig(length=500))
    return lambda: len(sampler.sample(seed=1).tokens)


def torch_sampling(hidden: int) -> Step:
    """Give the drawing of 500 tokens by PyTorch, with cells stepped by hand, which is faster there than `nn.LSTM`."""
    cells = [torch.nn.LSTMCell(V, hidden), torch.nn.LSTMCell(hidden, hidden)]
    output = torch.nn.Linear(hidden, V)

    @torch.inference_mode()
    def step() -> int:
        x, states = torch.zeros(1, V), [None, None]
        for _ in range(500):
            a = x
            for i, cell in enumerate(cells):
                states[i] = cell(a, states[i])
                a = states[i][0]
            token = torch.multinomial(torch.softmax(output(a), 1), 1)
            x = torch.zeros(1, V)
            x[0, token] = 1.0
        return 500

    return step


def rate(step: Step, seconds: float) -> float:
    """Give tokens per second over some time."""
    tokens, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        tokens += step()
    return tokens / (time.perf_counter() - begin)


def cases() -> Iterator[tuple[str, Step, Step]]:
    """Yield name, charlm's step and PyTorch's."""
    for cell in ("lstm", "gru", "rnn"):
        for hidden in (128, 512):
            name = f"train {cell} 2x{hidden}, V {V}, B {B}, T {T}"
            yield name, charlm_training(cell, hidden), torch_training(cell, hidden)
    for hidden in (128, 512):
        yield f"generate, one stream, lstm 2x{hidden}", charlm_sampling(hidden), torch_sampling(hidden)


def main() -> None:
    """Print a table of both rates and of their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, PyTorch {torch.__version__}; medians of {options.pairs} pairs, least to most"
    )
    print("| case | charlm, tokens/s | PyTorch, tokens/s | ratio |\n|---|---|---|---|")
    for name, ours, theirs in cases():
        ours(), theirs()
        pairs = [(rate(ours, options.seconds), rate(theirs, options.seconds)) for _ in range(options.pairs)]
        ratios = [mine / its for mine, its in pairs]
        mine, its = (statistics.median(column) for column in zip(*pairs, strict=True))
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | {mine:,.0f} | {its:,.0f} | {spread} |", flush=True)


if __name__ == "__main__":
    main()

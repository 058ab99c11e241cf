"""What the tests that need a GPU run, each in a process of its own: in that of the tests CuPy is on the host's memory.

python -m tests.cuda.gpu_worker memory|speed|torch      prints one line of JSON
"""

import json
import sys
import time

import numpy as np

from charlm.config import ModelConfig
from charlm.nn.build import build
from charlm.text.batches.lanes import Batch
from charlm.training import OPTIMIZERS

V, H, LAYERS, T, B = 65, 512, 2, 64, 64


def learner(ops, *, cell="lstm", hidden=H, vocabulary=V, embedding=0, steps=T, lanes=B):
    """Give a function that learns from one batch."""
    sizes = {"hidden_size": hidden, "num_layers": LAYERS, "embedding_size": embedding}
    model = build(ModelConfig(vocabulary, cell=cell, dropout=0.1, **sizes), ops, seed=1)
    optimizer, ws = OPTIMIZERS["adam"](model.parameters, ops), model.workspace()
    ids = np.random.default_rng(1).integers(0, vocabulary, (steps + 1, lanes), dtype=np.int32)
    batch, state = Batch(ids[:-1], ids[1:]), model.zero_state(lanes)

    def learn(number):
        loss, _ = model.loss_and_grads(batch, state, ws, noise=number)
        norm = ops.norm(model.parameters.grads)
        optimizer.step(number, 0.002, ops.clipping(norm, 5.0, model.config.dtype))
        return float(loss) / batch.count

    return learn


def memory(ops, used, *, hidden=64, more=30):
    """Give the bytes that are in use after some steps, and after many more."""
    learn = learner(ops, hidden=hidden, steps=16, lanes=16)
    for number in range(1, 4):
        learn(number)
    few = used()
    losses = [learn(number) for number in range(4, 4 + more)]
    return {"few": few, "many": used(), "first_loss": losses[0], "last_loss": losses[-1]}


def speed(step, tokens, wait):
    """Give tokens per second, the median of ten runs of five steps."""
    rates = []
    for _ in range(11):
        begin = time.perf_counter()
        for number in range(1, 6):
            step(number)
        wait()
        rates.append(5 * tokens / (time.perf_counter() - begin))
    return {"tokens_per_second": float(np.median(rates[1:]))}


def torch_learner(*, cell="lstm", hidden=H, vocabulary=V, embedding=0, steps=T, lanes=B, reads=True):
    """Give PyTorch's, which is cuDNN's, with the same sizes, clipping and optimizer.

    reads: whether its loss is read at each step, as ours is, which has the processor wait for the GPU
    """
    import torch

    device = torch.device("cuda")
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
    net = kind(embedding or vocabulary, hidden, LAYERS, dropout=0.1).to(device)
    head = torch.nn.Linear(hidden, vocabulary).to(device)
    table = torch.nn.Embedding(vocabulary, embedding).to(device) if embedding else None
    weights = [*net.parameters(), *head.parameters(), *([] if table is None else table.parameters())]
    adam = torch.optim.Adam(weights, 0.002, fused=True)
    ids = torch.randint(vocabulary, (steps + 1, lanes), device=device)
    one_hot = torch.nn.functional.one_hot(ids[:-1], vocabulary).float() if table is None else None

    def step(_):
        adam.zero_grad()
        y, _state = net(one_hot if table is None else table(ids[:-1]))
        loss = torch.nn.functional.cross_entropy(head(y).reshape(-1, vocabulary), ids[1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 5.0)
        adam.step()
        return loss.item() if reads else loss

    return step


def of_torch():
    """Give PyTorch's tokens per second, in full single precision as ours are, with losses that nobody reads."""
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return speed(torch_learner(reads=False), T * B, torch.cuda.synchronize)


def main():
    """Print what was asked for."""
    if sys.argv[1] == "torch":
        result = of_torch()
    else:
        import cupy

        from charlm.backends import get_backend

        ops = get_backend("cuda")
        if sys.argv[1] == "memory":
            result = memory(ops, cupy.get_default_memory_pool().total_bytes)
        else:
            result = speed(learner(ops), T * B, cupy.cuda.Device().synchronize)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

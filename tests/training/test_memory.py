"""What a training says that it will take of the memory is what it takes."""

import pytest

from charlm.backends import NumpyBackend
from charlm.config import TextConfig, TrainConfig
from charlm.session import prepare
from charlm.training import memory_needed

LINES = [f"{'abcdefgh'[i % 8] * (3 + i % 9)} {'hgfedcba'[i % 8] * 4}" for i in range(400)]
TAGGED = [f"{word}\t{word[0]}" if word else "" for line in LINES for word in [*line.split(), ""]]
PAIRED = [f"{line}\t{line[::-1]}" for line in LINES]
NETWORKS = {
    "lstm": (LINES, {}),
    "gru of two layers with dropout": (LINES, {"cell": "gru", "num_layers": 2, "dropout": 0.3}),
    "embedded, with a dense layer": (LINES, {"embedding_size": 12, "dense": (20,)}),
    "cloze": (LINES, {"task": "cloze", "embedding_size": 8}),
    "tag": (TAGGED, {"task": "tag", "embedding_size": 8}),
    "translate": (PAIRED, {"task": "translate", "embedding_size": 8}),
}


def make(name, ops, **config):
    lines, network = NETWORKS[name]
    options = TrainConfig(**{"batch_size": 16, "seq_length": 24, "seed": 1, "max_steps": 40, **config})
    level = "word" if network.get("task") in ("tag", "translate") else "char"
    text = TextConfig(level=level, split="whitespace")
    return prepare(lines, text, {"hidden_size": 24, "num_layers": 1, **network}, options, ops=ops).trainer


@pytest.mark.parametrize("name", NETWORKS)
def test_the_buffers_are_as_large_as_was_said(name):
    ops = NumpyBackend()
    with ops.threads(1):
        trainer = make(name, ops)
        said = memory_needed(trainer)
        list(trainer.run())
    weights = trainer.model.parameters.values.nbytes
    kept = 3 * (1 + len(trainer.optimizer.memory) + 2) + 1
    buffers = trainer._workspace.nbytes + trainer._valid_workspace.nbytes
    assert said == pytest.approx(kept * weights + buffers, rel=0.15)
    assert buffers > weights


def test_larger_batches_take_more():
    ops = NumpyBackend()
    with ops.threads(1):
        small, large = (memory_needed(make("lstm", ops, batch_size=size)) for size in (4, 32))
    assert large > 2 * small


def test_looking_leaves_no_trace():
    ops = NumpyBackend()
    with ops.threads(1):
        looked, plain = (make("gru of two layers with dropout", ops) for _ in range(2))
        memory_needed(looked)
        of_both = [list(trainer.run()) for trainer in (looked, plain)]
    assert of_both[0] == of_both[1]

"""The estimate of a training's memory is what the training takes."""

import gc
import os
import tracemalloc
from operator import itemgetter
from pathlib import Path

import pytest

from charlm.backends import NumpyBackend
from charlm.config import TextConfig, TrainConfig
from charlm.session import prepare
from charlm.training import memory_needed
from tests.compiled import compiled_backends

LINES = [f"{'abcdefgh'[i % 8] * (3 + i % 9)} {'hgfedcba'[i % 8] * 4}" for i in range(400)]
TAGGED = [f"{word}\t{word[0]}" if word else "" for line in LINES for word in [*line.split(), ""]]
PAIRED = [f"{line}\t{line[::-1]}" for line in LINES]
NETWORKS = {
    "lstm": (LINES, {}),
    "gru of two layers with dropout": (LINES, {"cell": "gru", "num_layers": 2, "dropout": 0.3}),
    "embedded, with a dense layer": (LINES, {"embedding_size": 12, "dense": (20,)}),
    "regularised": (
        LINES,
        {
            **{"embedding_size": 12, "embedding_dropout": 0.2, "dropout": 0.2, "dropout_kind": "variational"},
            **{"weight_drop": 0.2, "activation_penalty": 1.0, "temporal_penalty": 1.0},
        },
    ),
    "an adaptive softmax": (LINES, {"softmax": "adaptive"}),
    "cloze": (LINES, {"task": "cloze", "embedding_size": 8}),
    "tag": (TAGGED, {"task": "tag", "embedding_size": 8}),
    "tag, with characters": (TAGGED, {"task": "tag", "embedding_size": 8, "char_features": 16}),
    "translate": (PAIRED, {"task": "translate", "embedding_size": 8}),
}


def make(name, ops, **config):
    lines, network = NETWORKS[name]
    options = TrainConfig(**{"batch_size": 16, "seq_length": 24, "seed": 1, "max_steps": 40, **config})
    level = "word" if network.get("task") in ("tag", "translate") else "char"
    text = TextConfig(level=level, split="whitespace")
    return prepare(lines, text, {"hidden_size": 24, "num_layers": 1, **network}, options, ops=ops).trainer


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_buffers_are_as_large_as_estimated(name):
    ops = NumpyBackend()
    with ops.workers.limit(1):
        vectors = {"average": 0.5, "accumulate": 2} if name == "regularised" else {}
        trainer = make(name, ops, **vectors)
        estimate = memory_needed(trainer)
        for _ in trainer.run():  # after the last step they are freed
            buffers = sum(ws.nbytes for ws in (trainer._workspace, trainer.validation.workspace))
    weights = trainer.model.parameters.values.nbytes
    kept = 3 * (1 + len(trainer.optimizer.memory) + len(vectors) + 2) + 1
    assert estimate == pytest.approx(kept * weights + buffers, rel=0.15)
    assert buffers > weights


LONG = " ".join("abcdefgh"[i % 8] for i in range(150))
ONE_LONG = {  # a very long sequence, alone or among short ones
    "classify": ([f"x\t{LONG}", "y\tab"], {"task": "classify"}),
    "classify, among short ones": ([f"x\t{LONG}", *["y\tab cd"] * 20], {"task": "classify", "embedding_size": 4}),
    "tag": ([f"{word}\t{word}" for word in LONG.split()], {"task": "tag", "cell": "gru"}),
    "cloze": ([LONG, "ab"], {"task": "cloze", "num_layers": 2}),
    "translate": ([f"{LONG}\t{LONG}", *["ab\tab cd"] * 9], {"task": "translate"}),
    "stream": ([LONG], {"cell": "rnn"}),
}


@pytest.mark.thinned(6)
@pytest.mark.parametrize("name", ONE_LONG)
def test_one_very_long_sequence_takes_what_was_estimated(name):
    """Measured over everything that Python allocates; in small batches most of it are the views of each step."""
    lines, network = ONE_LONG[name]
    text = TextConfig(level="word" if name == "tag" else "char", unit="stream" if name == "stream" else "line")
    config = TrainConfig(
        batch_size=1 if name == "stream" else 4, seq_length=320 if name == "stream" else 24, epochs=1, valid_fraction=0
    )
    ops = NumpyBackend()
    with ops.workers.limit(1):
        trainer = prepare(lines, text, {"hidden_size": 12, "num_layers": 1, **network}, config, ops=ops).trainer
        estimate = memory_needed(trainer)
        gc.collect()
        tracemalloc.start()
        try:
            list(trainer.run())
            taken = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    weights = trainer.model.parameters.values.nbytes
    assert estimate == pytest.approx(taken + 9 * weights, rel=0.15)


def test_larger_batches_take_more():
    ops = NumpyBackend()
    with ops.workers.limit(1):
        small, large = (memory_needed(make("lstm", ops, batch_size=size)) for size in (4, 32))
    assert large > 2 * small


def test_threads_take_no_more():
    ops, estimates = NumpyBackend(), []
    for threads in (1, 2):
        with ops.workers.limit(threads):
            estimates.append(memory_needed(make("lstm", ops, batch_size=32)))
    assert estimates[0] == estimates[1]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc on this system")
@pytest.mark.parametrize("backend", {"numpy": NumpyBackend, **compiled_backends()}.items(), ids=itemgetter(0))
def test_gradients_that_are_never_written_take_no_memory(backend):
    """As those of a model that does not learn."""
    ops = backend[1]()
    before = int(Path("/proc/self/statm").read_text().split()[1])
    zeros = ops.zeros((1 << 26,), "float32")
    taken = (int(Path("/proc/self/statm").read_text().split()[1]) - before) * os.sysconf("SC_PAGE_SIZE")
    assert taken < zeros.nbytes / 10
    assert not zeros[:: 1 << 20].any()


def test_estimating_leaves_no_trace():
    ops = NumpyBackend()
    with ops.workers.limit(1):
        estimated, plain = (make("gru of two layers with dropout", ops) for _ in range(2))
        memory_needed(estimated)
        of_both = [list(trainer.run()) for trainer in (estimated, plain)]
    assert of_both[0] == of_both[1]

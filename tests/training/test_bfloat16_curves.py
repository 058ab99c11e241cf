"""The loss curves of trainings in bfloat16 beside float32's, on two corpora."""

from pathlib import Path

import pytest

from charlm.config import TextConfig, TrainConfig
from charlm.session import prepare
from tests.bfloat16 import machine

CORPORA = Path(__file__).parents[2] / "corpora"
_LINES = 3000  # of a corpus
# Measured on a Zen 4, 2026-11: the curves are 0.05 % apart at most.
_APART = 0.005
# The text, the network and the training of each corpus.
TRAININGS = {
    "dinosaurs.txt": (
        TextConfig(lowercase=True),
        {"hidden_size": 48, "num_layers": 2},
        TrainConfig(max_steps=150, batch_size=32, seq_length=32, learning_rate=0.008, valid_fraction=0.1),
    ),
    "kitchen.txt": (
        TextConfig(level="word"),
        {"hidden_size": 48, "num_layers": 1, "embedding_size": 32, "cell": "gru"},
        TrainConfig(max_steps=150, batch_size=32, seq_length=32, learning_rate=0.008, valid_fraction=0.1),
    ),
}


def curve(corpus, kind, dtype):
    """Return the validation loss at each evaluation."""
    text, network, config = TRAININGS[corpus]
    lines = (CORPORA / corpus).read_text().splitlines()[:_LINES]
    session = prepare(lines, text, {**network, "dtype": dtype}, config, ops=machine(kind))
    with session.trainer.model.ops.workers.limit(1):
        return [progress.valid_nats for progress in session.trainer.run() if progress.is_evaluation]


@pytest.mark.slow
@pytest.mark.parametrize("corpus", TRAININGS)
@pytest.mark.parametrize("kind", ["compiled", "numpy"])
def test_bfloat16_learns_as_float32_does(kind, corpus):
    float32, bfloat16 = (curve(corpus, kind, dtype) for dtype in ("float32", "bfloat16"))
    assert len(bfloat16) == len(float32) >= 5
    assert bfloat16 != float32
    assert bfloat16[-1] < 0.8 * bfloat16[0]
    assert bfloat16 == pytest.approx(float32, rel=_APART)

"""The loss of the frequencies of the targets, against a direct computation from the records."""

import math
from collections import Counter

import numpy as np
import pytest

from charlm.config import TextConfig, TrainConfig
from charlm.session import prepare, text_defaults
from charlm.training import baseline
from tests.task_models import TASKS

LETTERS = ["abracadabra", "banana", "cab", "", "a bad bag"] * 9
LABELS = ["good", "bad", "bad", "so-so", "good", "good"]
HELD = ["abba", "zebra"]


def trained(lines, held, task="lm", **options):
    text = TextConfig(**{**text_defaults(task), **options})
    config = TrainConfig(batch_size=3, seq_length=5, max_steps=1, min_count=1)
    return prepare(lines, text, {"task": task, "hidden_size": 3, "num_layers": 1}, config, valid_lines=held).trainer


def laplace(seen, judged, choices):
    """Return the mean of -ln (n + 1) / (N + V) over the judged ones."""
    counts, total = Counter(seen), len(seen)
    return -sum(math.log((counts[one] + 1) / (total + choices)) for one in judged) / len(judged)


@pytest.mark.parametrize("unit", ["line", "stream"])
def test_letters(unit):
    trainer = trained(LETTERS, HELD, unit=unit)
    known = set("".join(LETTERS))

    def tokens(lines):
        return [c if c in known else "<UNK>" for line in lines for c in line] + ["<EOS>"] * len(lines)

    # The vocabulary has <EOS> and <UNK> too.
    expected = laplace(tokens(LETTERS), tokens(HELD), len(known) + 2)
    assert trainer.baseline_nats == pytest.approx(expected, rel=1e-12)


def test_words_and_words_from_both_sides():
    lines, held = ["the cat sees the dog", "a dog"] * 5, ["the dog runs", "a cat"]
    known = set(" ".join(lines).split())
    seen, judged = (
        [word if word in known else "<UNK>" for line in part for word in line.split()] for part in (lines, held)
    )
    trainer = trained(lines, held, "cloze", level="word")
    assert trainer.baseline_nats == pytest.approx(laplace(seen, judged, len(known) + 2), rel=1e-12)
    ends = (["<EOS>"] * len(part) for part in (lines, held))
    seen, judged = (words + end for words, end in zip((seen, judged), ends, strict=True))
    trainer = trained(lines, held, level="word")
    assert trainer.baseline_nats == pytest.approx(laplace(seen, judged, len(known) + 2), rel=1e-12)


def test_labels():
    lines = [f"{label}\tsome text {i}" for i, label in enumerate(LABELS)]
    trainer = trained(lines, ["bad\ttext", "good\tno"], "classify")
    assert trainer.baseline_nats == pytest.approx(laplace(LABELS, ["bad", "good"], 3), rel=1e-12)


def test_tags_and_binary_tags():
    lines = ["the\tD", "cat\tN", "", "sees\tV", "it\tN"]
    trainer = trained(lines, ["cat\tN", "the\tD"], "tag")
    assert trainer.baseline_nats == pytest.approx(laplace(["D", "N", "V", "N"], ["N", "D"], 3), rel=1e-12)
    lines = ["the\t0", "cat\t1", "sees\t0", "it\t0", "dog\t0"]
    trainer = trained(lines, ["cat\t1", "the\t0", "it\t0"], "tag")
    assert trainer.baseline_nats == pytest.approx(laplace("01000", "100", 2), rel=1e-12)


def test_keys_are_independent_of_each_other():
    pieces, held = ["60 60,64 - 67", "60,67 64"], ["60 -", "64"]
    seen, judged = (
        [set(step.split(",")) - {"-"} for piece in part for step in piece.split()] for part in (pieces, held)
    )
    trainer = trained(pieces, held, "music")
    keys = trainer.model.head.outputs
    expected = 0.0
    for step in judged:
        for key in ("60", "64", "67"):
            p = (sum(key in one for one in seen) + 1) / (len(seen) + 2)
            expected -= math.log(p if key in step else 1 - p)
        expected -= (keys - 3) * math.log(1 - 1 / (len(seen) + 2))
    assert trainer.baseline_nats == pytest.approx(expected / len(judged), rel=1e-12)


def test_without_held_out_text_the_training_part_is_predicted():
    trainer = prepare(
        LETTERS, TextConfig(), {"hidden_size": 3, "num_layers": 1}, TrainConfig(valid_fraction=0.0, max_steps=1)
    ).trainer
    tokens = [c for line in LETTERS for c in line] + ["<EOS>"] * len(LETTERS)
    assert trainer.baseline_nats == pytest.approx(laplace(tokens, tokens, len(set(tokens)) + 1), rel=1e-12)


def test_of_a_large_corpus_only_a_part_is_counted(monkeypatch):
    monkeypatch.setattr(baseline, "_MOST_COUNTED", 20)
    trainer = trained(LETTERS, HELD)
    asked = []
    epoch = trainer.train.epoch

    def watched(*arguments):
        for batch in epoch(*arguments):
            asked.append(batch.count)
            yield batch

    monkeypatch.setattr(trainer.train, "epoch", watched)
    assert np.isfinite(trainer.baseline_nats)
    assert 20 <= sum(asked) < 20 + max(asked)


def test_every_task_has_a_baseline():
    assert set(TASKS.values()) <= {"lm", "cloze", "tag", "classify", "translate", "music"}
    trainer = trained(["the cat\tle chat", "a dog\tle chien"], ["the dog\tle chien"], "translate")
    seen, judged = ["le", "chat", "<EOS>", "le", "chien", "<EOS>"], ["le", "chien", "<EOS>"]
    assert trainer.baseline_nats == pytest.approx(laplace(seen, judged, 5), rel=1e-12)

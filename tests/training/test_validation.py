"""Validation on a fixed sample while a network learns, and on all of the held-out part at the end."""

from collections import Counter

import numpy as np
import pytest

from charlm.config import TextConfig, TrainConfig
from charlm.inference.evaluation import evaluate
from charlm.session import prepare, text_defaults
from charlm.text import read_lines
from charlm.text.dataset import Dataset
from charlm.text.sampling import sample_batches
from charlm.training.plan import evaluations
from charlm.training.validation import HeldOut
from tests.stored import keep_on_disk
from tests.task_models import TASKS, TEXTS

KINDS = ["lm", "stream", "conditioned", "cloze", "tag", "yes-no", "classify", "translate", "music", "genre"]


def session_of(kind, *, copies=40, network=None, **config):
    task = TASKS.get(kind, "lm")
    lines = (TEXTS.get(kind, TEXTS["lm"]) * copies).removesuffix("\n").split("\n")
    text = TextConfig(**{**text_defaults(task), **({"unit": "stream"} if kind == "stream" else {})})
    options = {"batch_size": 4, "seq_length": 8, "seed": 3, "valid_fraction": 0.5, **config}
    network = {"task": task, "hidden_size": 5, "num_layers": 1, **(network or {})}
    return prepare(lines, text, network, TrainConfig(**options), conditioned=kind in ("conditioned", "genre"))


def targets_of(batches):
    return [batch.targets.tobytes() for batch in batches.epoch()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_about_as_large_as_asked_for_and_always_the_same(kind):
    valid = session_of(kind).valid
    for share in (0.1, 0.3, 0.7):
        tokens = round(share * valid.size)
        first, second = (sample_batches(valid, 8, 8, 3, tokens) for _ in range(2))
        assert targets_of(first) == targets_of(second)
        read = sum((batch.inputs if batch.inputs.ndim == 2 else batch.inputs[:, 0]).size for batch in first.epoch())
        if kind == "stream":  # which reads as many tokens before as it predicts
            assert read == pytest.approx(tokens, rel=0.35, abs=12)
        elif kind not in ("classify", "translate"):  # whose targets are not their tokens, or are padded
            counted = sum(batch.count for batch in first.epoch())
            assert counted == pytest.approx(tokens, rel=0.35, abs=12)
            assert read < 1.6 * tokens + 40
    assert targets_of(sample_batches(valid, 8, 8, 3, valid.size)) != targets_of(first)


def test_the_sample_of_lines_is_spread_over_all_of_them():
    """Each line is one token, its number: they rise by equal steps."""
    count = 1000
    corpus = Dataset.of(np.arange(count, dtype=np.int32), np.arange(count + 1), "line")
    batches = sample_batches(corpus, 5, 4, 0, 50)
    numbers = np.sort(np.concatenate([batch.targets[batch.targets >= 0] for batch in batches.epoch()]))
    assert np.array_equal(numbers, np.arange(50) * 20 + 10)


def test_the_sample_of_a_stream_is_spread_over_it_and_predicts_the_end_of_each_stretch():
    corpus = Dataset.of(np.arange(10000, dtype=np.int32), np.array([0, 10000]), "stream")
    (batch,) = sample_batches(corpus, 64, 64, 10, 32 * 40).epoch()
    assert batch.targets.shape == (40, 32)
    assert (batch.targets[:10] < 0).all() and (batch.targets[10:] >= 0).all()
    assert np.array_equal(batch.inputs[1:] + 1, np.arange(1, 40)[:, None] + batch.inputs[:1] + 1)
    begins = batch.targets[10] - 10
    assert begins[0] == 0 and batch.targets[-1, -1] == 9999
    assert np.ptp(np.diff(begins)) <= 1


def test_a_corpus_on_the_disk_has_a_sample_of_its_lines(tmp_path, monkeypatch):
    keep_on_disk(monkeypatch, tmp_path / "cache")
    rng, corpus = np.random.default_rng(1), tmp_path / "corpus"
    corpus.write_text("".join("".join(rng.choice(list("abcdef"), rng.integers(1, 9))) + "\n" for _ in range(3000)))
    config = TrainConfig(batch_size=4, seq_length=8, max_steps=1, valid_fraction=0.5)
    valid = prepare(read_lines([str(corpus)]), TextConfig(), {"hidden_size": 4}, config).valid
    assert not valid.at_hand
    sample = Counter(lines_in(sample_batches(valid, 16, 16, 0, 1500)))
    assert not sample - Counter(lines_in(valid.batches(16, 16)))
    assert sum(len(line) * count for line, count in sample.items()) == pytest.approx(1500, rel=0.1)


def lines_in(batches):
    """Yield each line that is predicted, as a tuple of ids."""
    lanes = np.concatenate([batch.targets for batch in batches.epoch()]).T
    for lane in lanes:
        ids = lane[lane >= 0]
        ends = np.flatnonzero(ids == 0) + 1
        yield from (tuple(part.tolist()) for part in np.split(ids, ends) if part.size)


@pytest.mark.parametrize("steps", [1, 10, 60, 1000, 100_000])
@pytest.mark.parametrize("steps_per_epoch", [2, 400, 5000])
def test_validation_takes_a_tenth_of_a_run_at_most(steps, steps_per_epoch):
    """In tokens, where judging one takes half as long as learning it; a sample has at least 1,000 tokens."""
    held_out = HeldOut(1 << 40, 4096, lambda tokens: None)
    sample, last = held_out.on_the_way(steps, steps_per_epoch), held_out.at_the_end(steps)
    count = evaluations(steps, steps_per_epoch)
    learned = steps * 4096
    assert 0.5 * (count * (sample - 1000) + (last - 1000)) <= 0.1 * learned
    assert (sample, last) == (
        max(1000, int(0.08 * learned / count)),
        max(1000, int(0.06 * steps * 4096)),
    )


def test_a_small_held_out_part_is_judged_whole():
    held_out = HeldOut(500, 4096, lambda tokens: None)
    assert held_out.on_the_way(60, 20) == held_out.at_the_end(1) == 500


@pytest.mark.parametrize("kind", ["lm", "stream", "tag"])
def test_on_the_way_a_sample_is_judged_and_at_the_end_the_kept_weights_on_more(kind):
    session = session_of(kind, copies=800, max_steps=120, learning_rate=0.01)
    trainer = session.trainer
    rows = [progress for progress in trainer.run() if progress.is_evaluation]
    numbers, model, ws = trainer.numbers, trainer.model, trainer.model.workspace()
    assert numbers.sample == 1000 < session.valid.size
    assert numbers.end_tokens == min(
        session.valid.size, max(1000, int(0.06 * 120 * session.train.size / trainer.train.steps(0)))
    )
    sample = sample_batches(session.valid, 64, 8, 256, numbers.sample)
    # In float32: a sum of exponentials is rounded otherwise where the likeliest class is asked for too.
    assert rows[-1].valid_nats == pytest.approx(evaluate(model, sample, ws).nats_per_token, rel=1e-7)
    last = model.parameters.values.copy()
    trainer.take_best()
    larger = sample_batches(session.valid, 64, 8, 256, numbers.end_tokens)
    assert trainer.outcome().valid_nats == pytest.approx(evaluate(model, larger, ws).nats_per_token, rel=1e-7)
    assert trainer.outcome().judged == numbers.end_tokens
    assert rows[-1].is_best == np.array_equal(last, model.parameters.values)


def test_the_last_weights_are_still_there_after_the_end():
    session = session_of("lm", copies=800, max_steps=12, learning_rate=0.3, schedule="constant", optimizer="sgd")
    trainer = session.trainer
    *_, last = trainer.run()
    weights = trainer.state().arrays
    trainer.take_best()
    assert last.is_best or not np.array_equal(weights["weights/head.b_y"], trainer.best_weights()["head.b_y"])


def test_it_is_told_before_each_validation():
    session = session_of("lm", max_steps=12)
    calls = []
    session.trainer.validation.before = lambda: calls.append(session.trainer.step)
    evaluated = [progress.step for progress in session.trainer.run() if progress.is_evaluation]
    assert calls == evaluated

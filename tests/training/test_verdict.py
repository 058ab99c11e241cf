"""Which trainings have diverged: those whose weights predict their own text worse than a uniform guess."""

import math

import pytest

from charlm.config import TextConfig, TrainConfig
from charlm.errors import DivergenceError
from charlm.session import prepare, text_defaults
from tests.task_models import TASKS, TEXTS

KINDS = ["lm", "conditioned", "cloze", "tag", "yes-no", "classify", "translate", "music"]
NOT_FINITE_OR_WORSE = {
    "a huge rate": {"learning_rate": 1e9, "clip": 0.0},
    "a huge rate, clipped": {"learning_rate": 1e4, "optimizer": "rmsprop"},
    "plain gradients": {"learning_rate": 100.0, "optimizer": "sgd", "schedule": "constant"},
    "nothing held out": {"learning_rate": 1e6, "clip": 0.0, "valid_fraction": 0.0},
}


def trainer_of(kind, **config):
    task = TASKS[kind]
    lines = (TEXTS[kind] * 24).removesuffix("\n").split("\n")
    options = {"batch_size": 4, "seq_length": 8, "seed": 3, "valid_fraction": 0.2, "max_steps": 20, **config}
    network = {"task": task, "hidden_size": 8, "num_layers": 1}
    text = TextConfig(**text_defaults(task))
    return prepare(lines, text, network, TrainConfig(**options), conditioned=kind == "conditioned").trainer


@pytest.mark.thinned(3)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", NOT_FINITE_OR_WORSE)
def test_a_training_ends_better_than_a_uniform_guess_or_has_diverged(kind, how):
    trainer = trainer_of(kind, **NOT_FINITE_OR_WORSE[how])
    try:
        for _ in trainer.run():
            pass
    except DivergenceError:
        return
    assert trainer.verdict.train_nats() <= 1.2 * max(trainer.model.head.blind_nats, trainer.numbers.first_nats) + 0.1


def test_weights_that_got_worse_without_an_explosion_have_diverged():
    """A loss of some nats more than a uniform guess, far from the limit of an explosion."""
    trainer = trainer_of("lm", keep="last")
    for progress in trainer.run():
        if progress.step == 19:
            bias = trainer.model.parameters.named(trainer.model.parameters.values)["head.b_y"]
            bias[1] += 6.0  # `<UNK>`, which never occurs
            trainer.config = TrainConfig(**{**trainer.config.to_dict(), "learning_rate": 1e-9})
            break
    with pytest.raises(DivergenceError, match="uniform guess"):
        for _ in trainer.run():
            pass
    assert trainer.verdict.train_nats() < 10 * trainer.model.head.blind_nats + 30


def test_a_few_odd_held_out_tokens_are_no_divergence():
    lines, held = ["abab", "baba", "ab"] * 20, ["zzzzzz"]
    config = TrainConfig(batch_size=4, seq_length=8, max_steps=200, learning_rate=0.02, seed=1)
    trainer = prepare(lines, TextConfig(), {"hidden_size": 8, "num_layers": 1}, config, valid_lines=held).trainer
    for _ in trainer.run():
        pass
    assert trainer.numbers.history[-1]["valid_nats"] > math.log(5) > trainer.verdict.train_nats()


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_have_learned_nothing_are_no_divergence(kind):
    for seed in range(4):
        for _ in trainer_of(kind, learning_rate=1e-7, max_steps=2, seed=seed).run():
            pass


def test_the_loss_of_the_kept_weights_is_measured_and_the_last_ones_stay():
    trainer = trainer_of("lm")
    for _ in trainer.run():
        pass
    before = trainer.model.parameters.values.copy()
    found = trainer.verdict.train_nats()
    assert (trainer.model.parameters.values == before).all()
    trainer.take_best()
    batches = list(trainer.train.epoch(0))
    model, ws = trainer.model, trainer.model.workspace()
    nats = [float(model.nats(batch, model.zero_state(batch.lanes), ws)[0].sum()) for batch in batches]
    assert found == pytest.approx(sum(nats) / sum(batch.count for batch in batches))

"""What a finished training is told: made-up bad ones are warned of, good ones are not."""

import pytest

from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.session import prepare
from charlm.training import TrainingNumbers
from charlm.training.advice import advice

NETWORK = ModelConfig(9, hidden_size=64, dropout=0.2)


def told(valid, train=None, baseline=3.0, figure=None, **config):
    rows = [{"step": i, "valid_nats": nats, "train_nats": nats} for i, nats in enumerate(valid)]
    for row, nats in zip(rows, train or [], strict=False):
        row["train_nats"] = nats
    for row, value in zip(rows, figure or [], strict=False):
        row["accuracy"] = value
    numbers = TrainingNumbers(history=rows, best_figure=max(figure) if figure else None)
    return [(one.message, one.hint) for one in advice(numbers, baseline, TrainConfig(**config), NETWORK)]


FLAT = [2.5, 2.2, 2.1, 2.05, 2.02, 2.0, 1.99, 1.985, 1.98, 1.98, 1.98, 1.98]


def test_a_good_training_is_told_nothing():
    assert told(FLAT) == []
    assert told([nats + 0.02 * i for i, nats in enumerate(FLAT)]) == []
    assert told([]) == []


@pytest.mark.parametrize(("best", "warned"), [(2.86, True), (2.84, False)])
def test_within_a_twentieth_of_the_frequencies_it_has_hardly_learned(best, warned):
    found = told([3.1, 3.0, best, 2.95], epochs=5, batch_size=32)
    assert bool(found) == warned
    if warned:
        message, hint = found[0]
        assert "hardly learned" in message and "2.860" in message and "3.000" in message
        assert "--epochs 20 --batch-size 8" in hint


def test_where_the_frequencies_say_all_nothing_is_to_be_learned():
    assert told([0.01, 0.01, 0.01], baseline=0.01) == []


@pytest.mark.parametrize(
    ("config", "flag"),
    [
        ({}, "--epochs 20"),
        ({"epochs": 7}, "--epochs 14"),
        ({"minutes": 1.5}, "--minutes 3"),
        ({"max_steps": 50}, "--max-steps 100"),
    ],
)
def test_what_still_falls_steeply_should_go_on(config, flag):
    ((message, hint),) = told([2.8 - 0.1 * i for i in range(8)], **config)
    assert "still falls steeply" in message and flag in hint


def test_what_falls_at_the_end_but_was_lower_before_does_not():
    assert told([2.8, 2.0, 2.7, 2.6, 2.5, 2.4, 2.3, 2.2]) == []


def test_what_overfits_from_the_start_should_be_smaller():
    valid = [2.0] + [2.1 + 0.1 * i for i in range(11)]
    ((message, hint),) = told(valid, [2.0 - 0.1 * i for i in range(12)])
    assert "overfits from the start" in message
    assert "--dropout 0.5" in hint and "--hidden-size 32" in hint and "more text" in hint
    assert told(valid, [nats - 0.2 for nats in valid]) == []  # the training loss rises too
    assert "overfits" not in str(told(valid[::-1], [0.5] * 12))


def test_a_classifier_overfits_when_its_accuracy_does():
    valid, train = [0.5 + 0.1 * i for i in range(12)], [0.5 - 0.04 * i for i in range(12)]
    assert told(valid, train, 0.69, [0.6 + 0.01 * i for i in range(12)]) == []
    assert told(valid, train, 0.69, [0.7 - 0.01 * i for i in range(12)])


def messages(lines, network=None, **config):
    options = {"seed": 1, "batch_size": 8, "seq_length": 16, **config}
    network = {"hidden_size": 24, "num_layers": 1, **(network or {})}
    trainer = prepare(lines, TextConfig(), network, TrainConfig(**options)).trainer
    for _ in trainer.run():
        pass
    return " ".join(one.message for one in trainer.advice())


NAMES = [
    f"{a}{b}{c}" for a in ("Bar", "Ni", "Gre", "Ros") for b in ("to", "co", "ga", "si") for c in ("li", "ni", "tti")
]


@pytest.mark.slow
def test_real_trainings_are_judged_as_they_deserve():
    assert "hardly learned" in messages(NAMES * 4, epochs=1, learning_rate=0.001)
    assert "still falls steeply" in messages(NAMES * 4, epochs=6, learning_rate=0.002, schedule="constant")
    odd = [f"{i * 7919 % 9973:04}{i * 6007 % 9901:04}" for i in range(40)]
    noise = {"epochs": 60, "learning_rate": 0.03, "valid_fraction": 0.3}
    assert "overfits from the start" in messages(odd, {"hidden_size": 48}, **noise)
    assert messages(NAMES * 4, epochs=30, learning_rate=0.01) == ""

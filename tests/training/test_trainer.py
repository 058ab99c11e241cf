"""The training loop: that it learns, when it evaluates, what it keeps, and how it ends."""

import copy
import math

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.inference.evaluation import Evaluation, evaluate
from charlm.nn.build import build
from charlm.randomness import generator
from charlm.session import prepare
from charlm.text.batches import lanes as batches_module
from charlm.text.dataset import Dataset
from charlm.training import Trainer, TrainingState
from charlm.training import validation as validation_module
from tests.batches import joined
from tests.trainings import assert_same, everything

OPS = NumpyBackend()


def dataset(lines, unit="line", seed=0):
    """Draw lines of 4 tokens out of 7; the first token of a line decides the others."""
    rng = np.random.default_rng(seed)
    first = rng.integers(1, 7, lines)
    ids = np.stack([first, first % 6 + 1, (first + 2) % 7, np.zeros_like(first)], axis=1)
    return Dataset.of(ids.ravel().astype(np.int32), np.arange(lines + 1) * 4, unit)


def make(*, lines=32, held=8, batches=4, network=None, **config):
    """Return a trainer with `batches` steps an epoch."""
    train, valid = dataset(lines), dataset(held, seed=1)
    options = TrainConfig(**{"learning_rate": 0.01, **config})
    model = build(ModelConfig(7, **{"hidden_size": 6, "num_layers": 1, **(network or {})}), OPS, seed=options.seed)
    seq_length = train.ids.size // 4 // batches
    of_train = train.batches(4, seq_length, seed=options.seed)
    assert of_train.steps(0) == batches
    return Trainer(model, options, of_train, valid.batches(2, 8) if held else None)


def scripted(monkeypatch, nats):
    """Make the evaluations return these losses, one after the other."""
    script = iter(nats)
    monkeypatch.setattr(validation_module, "evaluate", lambda *_: Evaluation(1, 0, next(script), 0.0))


def values(trainer):
    return trainer.model.parameters.values.copy()


def flat_best(trainer):
    """Return the best weights as one flat vector, in the layout of the model's."""
    flat = np.zeros_like(trainer.model.parameters.values)
    for name, view in trainer.model.parameters.named(flat).items():
        view[...] = trainer.best_weights()[name]
    return flat


def losses_of(trainer):
    """Return a list to which each step appends its loss and its number of targets."""
    losses, loss_and_grads = [], trainer.model.loss_and_grads

    def watched(batch, *args, **options):
        loss, state = loss_and_grads(batch, *args, **options)
        losses.append((loss, batch.count))
        return loss, state

    trainer.model.loss_and_grads = watched
    return losses


# --- it learns -------------------------------------------------------------------------------------------------------


@pytest.mark.thinned(2)
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("unit", ["line", "stream"])
def test_it_learns_twenty_characters_by_heart(cell, unit):
    session = prepare(
        ["to be or not to be, o"],
        TextConfig(unit=unit),
        {"cell": cell, "hidden_size": 32, "num_layers": 1},
        TrainConfig(learning_rate=0.03, max_steps=150, valid_fraction=0.0),
    )
    progress = list(session.trainer.run())
    assert progress[0].train_nats > 2
    learned = evaluate(session.trainer.model, session.trainer.train, session.trainer.model.workspace())
    assert learned.tokens == 22 and learned.nats_per_token < 0.05


def test_the_reported_loss_is_the_mean_since_the_last_evaluation():
    trainer = make(max_steps=20, held=0, clip=0, optimizer="sgd")
    losses, since = losses_of(trainer), 0
    for progress in trainer.run():
        assert progress.tokens == losses[-1][1]
        nats, tokens = map(sum, zip(*losses[since:], strict=True))
        assert progress.train_nats == pytest.approx(nats / tokens, rel=1e-12)
        if progress.is_evaluation:
            assert trainer.numbers.history[-1]["train_nats"] == progress.train_nats
            since = len(losses)
    assert len(trainer.numbers.history) == 10


@pytest.mark.parametrize("unit", ["line", "stream"])
def test_the_state_is_carried_from_batch_to_batch_and_starts_anew_with_each_epoch(unit):
    """Almost without learning, the losses of an epoch add up to that of its lanes in one piece."""
    model = build(ModelConfig(7, hidden_size=6, num_layers=2, dtype="float64"), OPS, seed=3)
    model.parameters.values[...] *= 3  # so that the state matters
    corpus = dataset(40, unit)
    batches = corpus.batches(5, 7, seed=1)
    trainer = Trainer(model, TrainConfig(learning_rate=1e-15, optimizer="sgd", epochs=3), batches, None)
    losses = losses_of(trainer)
    for _ in trainer.run():
        pass
    steps = batches.steps(0)
    assert steps > 3 and len(losses) == 3 * steps
    for epoch in range(3):
        nats, _ = model.nats(joined(list(batches.epoch(epoch))), model.zero_state(5), model.workspace())
        loss = sum(nats for nats, _ in losses[epoch * steps : epoch * steps + steps])
        assert loss == pytest.approx(nats.sum(), rel=1e-9)


def test_the_same_run_twice_is_bit_equal_and_another_seed_is_not():
    def run(seed):
        trainer = make(max_steps=12, seed=seed, network={"dropout": 0.2})
        return [(p.train_nats, p.valid_nats) for p in trainer.run()], everything(trainer)

    (losses, result), (again, same_result), (others, _) = run(3), run(3), run(4)
    assert losses == again
    assert_same(result, same_result)
    assert all(mine[0] != its[0] for mine, its in zip(losses, others, strict=True))


def test_lines_are_not_shuffled_anew_at_each_step(monkeypatch):
    """Shuffling takes time for each line of the corpus: once an epoch, not once a step."""

    def shuffles(batches):
        calls = []
        with monkeypatch.context() as patch:
            patch.setattr(batches_module, "generator", lambda *stream: calls.append(stream) or generator(*stream))
            assert len(list(make(lines=64, batches=batches, held=0, epochs=2).run())) == 2 * batches
        return len(calls)

    assert 2 <= shuffles(16) <= shuffles(2) + 2


def test_dropout_is_another_one_each_step_and_none_in_evaluations():
    keys, trainer = [], make(max_steps=9, network={"dropout": 0.5})
    loss_and_grads = trainer.model.loss_and_grads

    def watched(*args, noise):
        keys.append(noise)
        return loss_and_grads(*args, noise=noise)

    trainer.model.loss_and_grads = watched
    for progress in trainer.run():
        if progress.is_evaluation:
            nats = evaluate(trainer.model, trainer.valid, trainer.model.workspace()).nats_per_token
            assert progress.valid_nats == nats
    assert len(set(keys)) == 9 and None not in keys


def test_nothing_is_learned_from_what_is_held_out():
    """With other held-out lines the evaluations differ, and the weights are the same."""
    one, other = make(max_steps=8), make(max_steps=8)
    other.validation.batches = dataset(8, seed=5).batches(2, 8)
    lists = [[p.valid_nats for p in trainer.run()] for trainer in (one, other)]
    assert lists[0] != lists[1]
    assert np.array_equal(values(one), values(other))


# --- when it evaluates -----------------------------------------------------------------------------------------------


@pytest.mark.thinned(3)
@pytest.mark.parametrize(
    ("limits", "due"),
    [
        ({"epochs": 12}, range(4, 49, 4)),  # one an epoch
        ({"epochs": 10}, range(4, 41, 4)),
        ({}, range(4, 41, 4)),  # ten epochs where nothing is said
        ({"epochs": 3}, [2, 3, 4, 5, 6, 8, 9, 10, 11, 12]),  # ten a run
        ({"max_steps": 39}, [4, 8, 12, 16, 20, 24, 28, 32, 36, 39]),
        ({"max_steps": 5}, range(1, 6)),  # as many as there are steps
        ({"max_steps": 1}, [1]),
        ({"max_steps": 7, "epochs": 50}, range(1, 8)),  # whichever comes first
        ({"max_steps": 900, "epochs": 1}, range(1, 5)),
        ({"epochs": 250, "batches": 1}, [-(-5 * i // 2) for i in range(1, 101)]),  # a hundred a run
    ],
)
def test_it_evaluates_once_an_epoch_but_ten_to_a_hundred_times_a_run(limits, due):
    trainer = make(**limits)
    epoch = trainer.train.steps(0)
    progress = list(trainer.run())
    assert [p.step for p in progress] == list(range(1, due[-1] + 1))
    assert [p.step for p in progress if p.is_evaluation] == list(due)
    assert [record["step"] for record in trainer.numbers.history] == list(due)
    assert all((p.valid_nats is not None) == p.is_evaluation for p in progress)
    assert {p.total_steps for p in progress} == {due[-1]}
    assert [p.epoch for p in progress] == [p.step / epoch for p in progress]


def test_the_last_step_is_evaluated_wherever_it_is():
    for max_steps in (41, 43, 47, 50, 59):
        evaluated = [p.is_evaluation for p in make(max_steps=max_steps).run()]
        assert evaluated[-1] and sum(evaluated) == round(max_steps / 4)


def test_the_history_is_of_facts_that_do_not_depend_on_the_clock():
    trainer = make(max_steps=10, schedule="cosine")
    progress = list(trainer.run())
    assert trainer.numbers.history == [
        {
            "step": p.step,
            "epoch": p.epoch,
            "train_nats": p.train_nats,
            "valid_nats": p.valid_nats,
            "learning_rate": p.learning_rate,
        }
        for p in progress
    ]


def test_without_held_out_text_the_last_weights_are_the_best():
    trainer = make(max_steps=6, held=0, learning_rate=0.1)
    for progress in trainer.run():
        assert (progress.valid_nats, progress.is_best) == (None, True)
        assert np.array_equal(flat_best(trainer), values(trainer))
    last = values(trainer)
    trainer.take_best()
    assert np.array_equal(values(trainer), last)
    assert [record["valid_nats"] for record in trainer.numbers.history] == [None] * 6


# --- what it keeps ---------------------------------------------------------------------------------------------------


def test_the_best_weights_are_those_of_the_best_evaluation():
    """At first the network learns; then, at a rate that is far too high, it forgets."""
    trainer = make(max_steps=20, batches=1, schedule="constant", optimizer="sgd", clip=0, learning_rate=1.0)
    found = []
    for progress in trainer.run():
        if progress.is_evaluation:
            found.append((progress.valid_nats, values(trainer), progress.is_best))
        if progress.step == 10:
            trainer.config = TrainConfig(**{**trainer.config.to_dict(), "learning_rate": 60.0})
    nats = [each[0] for each in found]
    best = int(np.argmin(nats))
    assert 2 <= best < len(nats) - 2
    assert [each[2] for each in found] == [value < min(nats[:i], default=math.inf) for i, value in enumerate(nats)]
    assert np.array_equal(flat_best(trainer), found[best][1])
    assert not np.array_equal(values(trainer), found[best][1])
    again = evaluate(trainer.model, trainer.valid, trainer.model.workspace()).nats_per_token
    assert again != nats[best]
    trainer.take_best()
    assert np.array_equal(values(trainer), found[best][1])
    assert evaluate(trainer.model, trainer.valid, trainer.model.workspace()).nats_per_token == nats[best]


def test_an_equal_evaluation_is_no_better_one(monkeypatch):
    scripted(monkeypatch, [2.0, 2.0, 1.0, 1.0, 0.5])
    trainer = make(max_steps=5)
    assert [p.is_best for p in trainer.run()] == [True, False, True, False, True]


def test_the_best_weights_are_a_copy():
    trainer = make(max_steps=4)
    next(trainer.run())
    before = flat_best(trainer)
    for array in trainer.best_weights().values():
        array[...] = 7.0
    assert np.array_equal(flat_best(trainer), before)
    trainer.model.parameters.values[...] = 9.0
    assert np.array_equal(flat_best(trainer), before)


# --- how it ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patience", "nats", "steps"),
    [
        (1, [3, 2, 2.5, 1, 1, 1, 1], 3),
        (2, [3, 2, 2.5, 1.5, 1.7, 1.6, 1], 6),  # counted anew from each best one
        (3, [3, 2, 2.5, 2.5, 1.5, 2, 1], 7),
        (None, [1, 2, 3, 4, 5, 6, 7], 7),
    ],
)
def test_patience_ends_the_run(monkeypatch, patience, nats, steps):
    scripted(monkeypatch, nats)
    trainer = make(max_steps=7, patience=patience)
    assert len(list(trainer.run())) == steps == trainer.step
    patient = patience is None or steps == 7
    assert bool(list(trainer.run())) is False or patient


def test_plateaus_lower_the_rate(monkeypatch):
    """After each evaluation without a new lowest loss, the rate falls to a quarter."""
    scripted(monkeypatch, [3, 2, 2.5, 1.5, 1.5, 1.7, 1])
    trainer = make(max_steps=7, schedule="plateau", learning_rate=0.1)
    rates = [progress.learning_rate for progress in trainer.run()]
    assert rates == pytest.approx([0.1 / 4**plateaus for plateaus in (0, 0, 0, 1, 1, 2, 3)], rel=1e-15)


def test_a_run_may_be_broken_off_and_taken_up_again():
    whole, parts = make(max_steps=11), make(max_steps=11)
    for _ in whole.run():
        pass
    for steps in (3, 1, 4, 99):
        for _, _ in zip(range(steps), parts.run(), strict=False):
            pass
    assert parts.step == 11
    assert_same(everything(parts), everything(whole))


# --- how long it takes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [0, 8])
@pytest.mark.parametrize("started", [0, 6])
def test_planning_by_the_clock_leaves_no_trace(held, started):
    trainer = make(max_steps=200, minutes=0.01, held=held, network={"dropout": 0.2})
    if started:
        trainer.numbers.total_steps = 200
        for _, _ in zip(range(started), trainer.run(), strict=False):
            pass
        trainer.numbers.total_steps = 0
    before, best = everything(trainer), flat_best(trainer)
    total = trainer.plan()
    assert 1 <= total <= 200 and isinstance(total, int)
    assert trainer.plan() == total == trainer.numbers.total_steps
    after = everything(trainer)
    assert (before[0].total_steps, after[0].total_steps) == (0, total)
    before[0].total_steps = total
    assert_same(after, before)
    assert np.array_equal(flat_best(trainer), best)


def test_a_run_by_the_clock_is_the_run_of_so_many_steps():
    by_clock = make(minutes=0.02, max_steps=15, network={"dropout": 0.2})
    steps = by_clock.plan()
    by_steps = make(max_steps=steps, network={"dropout": 0.2})
    for trainer in (by_clock, by_steps):
        for _ in trainer.run():
            pass
    assert_same(everything(by_clock), everything(by_steps))


@pytest.mark.thinned(8)
@pytest.mark.parametrize("held", [0, 8])
@pytest.mark.parametrize("batches", [1, 4, 16])
@pytest.mark.parametrize(("step", "evaluation"), [(0.5, 0.5), (0.25, 2.0), (0.125, 0.0)])
def test_minutes_become_as_many_steps_as_fit_with_their_evaluations(monkeypatch, batches, held, step, evaluation):
    """The clock advances by a fixed time with each step and each evaluation."""
    clock = [1000.0]

    def ticking(work, seconds):
        def worked(*args, **options):
            clock[0] += seconds
            return work(*args, **options)

        return worked

    monkeypatch.setattr(validation_module, "evaluate", ticking(evaluate, evaluation))
    trainer = make(lines=64, batches=batches, held=held, minutes=0.5)
    trainer.clock = lambda: clock[0]
    trainer.model.loss_and_grads = ticking(trainer.model.loss_and_grads, step)
    for _ in trainer.run():
        pass
    assert 27 <= clock[0] - 1000 <= 30


STALLS = {  # seconds that the machine stalls at some steps
    "the first": {0: 20.0},
    "the first that is measured": {2: 20.0},
    "the second that is measured": {3: 2.0},
    "every third": dict.fromkeys(range(2, 999, 3), 0.3),
    "several at once": {2: 0.5, 3: 0.5, 4: 0.5},
}


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("minutes", [1.0, 10.0])
def test_a_stall_in_the_first_seconds_does_not_shorten_a_run_in_minutes(stall, minutes):
    """A step takes 10 ms; the time of the stalls is lost, the rest is filled with steps."""
    clock, calls = [1000.0], [0]
    trainer = make(lines=64, batches=4, held=0, minutes=minutes)
    loss_and_grads = trainer.model.loss_and_grads

    def stalling(*args, **options):
        clock[0] += 0.01 + STALLS[stall].get(calls[0], 0.0)
        calls[0] += 1
        return loss_and_grads(*args, **options)

    trainer.model.loss_and_grads = stalling
    trainer.clock = lambda: clock[0]
    planned = trainer.plan()
    left = 60.0 * minutes - (clock[0] - 1000.0)
    assert planned == pytest.approx(left / 0.01, rel=0.01)


def test_minutes_are_at_least_one_step():
    assert make(minutes=1e-9).plan() == 1


# --- what it hands out -----------------------------------------------------------------------------------------------


def test_a_state_does_not_change_with_the_trainer_it_was_taken_from():
    trainer = make(max_steps=10)
    run = trainer.run()
    for _ in range(4):
        next(run)
    state = trainer.state()
    numbers, arrays = copy.deepcopy(state.numbers), {name: array.copy() for name, array in state.arrays.items()}
    for _ in run:
        pass
    assert_same((state.numbers, state.arrays), (numbers, arrays))


def test_going_back_is_going_back_to_all_of_it():
    """A state from before the first evaluation has no best weights."""
    trainer = make(max_steps=40)
    start = everything(trainer)
    for _, _ in zip(range(13), trainer.run(), strict=False):
        pass
    trainer.restore(TrainingState(*copy.deepcopy(start)))
    assert_same(everything(trainer), start)
    assert np.array_equal(flat_best(trainer), values(trainer))


def test_restoring_takes_a_copy():
    trainer = make(max_steps=10)
    for _, _ in zip(range(4), trainer.run(), strict=False):
        pass
    state = TrainingState(*everything(trainer))
    other = make(max_steps=10)
    other.restore(state)
    kept = copy.deepcopy(state)
    for _ in other.run():
        pass
    assert_same((state.numbers, state.arrays), (kept.numbers, kept.arrays))

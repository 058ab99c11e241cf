"""What a training will take, estimated before it begins."""

import time

import pytest

from charlm import estimate as estimate_module
from charlm.backends import NumpyBackend
from charlm.estimate import CorpusMemory, estimate, resident
from charlm.session import prepare_from
from tests.training.test_memory import LINES, PAIRED, TAGGED
from tests.trainings import assert_same, everything

CASES = {
    "lm": (LINES, {"unit": "line"}),
    "stream": (LINES, {"unit": "stream"}),
    "tag": (TAGGED, {"task": "tag"}),
    "translate": (PAIRED, {"task": "translate", "dropout": 0.2}),
}
SIZES = {
    "hidden_size": 24,
    "num_layers": 1,
    "batch_size": 8,
    "seq_length": 16,
    "seed": 1,
    "max_steps": 30,
    "epochs": 99,
}


def session_of(case):
    lines, given = CASES[case]
    return prepare_from(lines, {**SIZES, **given}, ops=NumpyBackend())


@pytest.mark.thinned(2)
@pytest.mark.parametrize("case", CASES)
def test_estimating_leaves_no_trace(monkeypatch, case):
    monkeypatch.setattr(estimate_module, "_SECONDS", 0.0)
    session, plain = session_of(case), session_of(case)
    plain.trainer.plan()
    estimate(session, CorpusMemory())
    assert_same(everything(session.trainer), everything(plain.trainer))
    assert list(session.trainer.run()) == list(plain.trainer.run())


@pytest.mark.thinned(2)
@pytest.mark.parametrize("case", CASES)
def test_the_time_is_that_of_the_steps_and_evaluations(monkeypatch, case):
    """By a clock that each step moves by its targets, and each validation by 1000."""
    clock, session = [0.0], session_of(case)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(estimate_module, "_SECONDS", 2e4)
    monkeypatch.setattr(estimate_module, "_LONGEST", 1e5)
    trainer = session.trainer
    step, judge = trainer._step, trainer.validation.judge

    def slow_step(batch, rate):
        clock[0] += batch.count
        return step(batch, rate)

    def slow_judge(tokens):
        clock[0] += 1000
        return judge(tokens)

    monkeypatch.setattr(trainer, "_step", slow_step)
    monkeypatch.setattr(trainer.validation, "judge", slow_judge)
    found = estimate(session, CorpusMemory())
    assert found.steps == 30 and found.tokens_per_second == pytest.approx(1.0)
    of_step = session.train.size / trainer.train.steps(0)
    judgings = trainer.validation.trial(trainer.train.steps(0))[1](30)
    assert found.tokens == pytest.approx(30 * of_step, rel=0.15)
    assert found.seconds == pytest.approx(found.tokens + 1000 * judgings, rel=1e-4)


def test_the_memory_of_the_corpus_counts(monkeypatch):
    monkeypatch.setattr(estimate_module, "_SECONDS", 0.0)
    session = session_of("lm")
    small, large, peak = CorpusMemory(0, 0, 0), CorpusMemory(0, 50_000_000, 0), CorpusMemory(0, 0, 900_000_000)
    memory = [estimate(session, one).memory for one in (small, large, peak)]
    assert memory[1] == pytest.approx(memory[0] + 50_000_000, rel=0.01) and memory[2] == 900_000_000


def test_the_memory_of_this_process_is_known_on_linux():
    assert 0 < resident() <= resident("VmHWM")
    assert resident("nonsense") == 0

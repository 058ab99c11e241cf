"""One training step stays within the files and functions that a reader can hold in the head."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits

from charlm.inference.evaluation import perplexity
from tests.profile_step import MOST_FILES, MOST_FUNCTIONS, Profile, profile_passes, profile_run, profile_step, record


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


def test_a_step_enters_few_files_and_functions() -> None:
    step = profile_step()
    assert len(step.files) <= MOST_FILES, step.table()
    assert len(step.calls) <= MOST_FUNCTIONS, step.table(verbose=True)


def test_the_profile_sees_the_passes_and_the_optimizer() -> None:
    passes, step, run = profile_passes(), profile_step(), profile_run()
    assert {"nn/model.py", "nn/cells/lstm.py", "nn/heads/softmax.py", "training/optimizers.py"} <= passes.files.keys()
    assert passes.calls.keys() <= step.calls.keys() <= run.calls.keys()
    assert 0 < passes.hops <= step.hops <= run.hops
    for profiled in (passes, step, run):
        assert profiled.files.total() == len(profiled.calls)
        names = {code.co_name for code in profiled.calls}
        assert {"loss_and_grads", "forward", "backward", "step_back"} <= names


def test_functions_of_others_are_not_counted() -> None:
    profiled = Profile(record(lambda: sorted([2, 1, 3], key=lambda tokens: perplexity(1.0, tokens))))
    assert [code.co_name for code in profiled.calls] == ["perplexity"]
    assert profiled.files == {"inference/evaluation.py": 1} and profiled.hops == 0
    assert "1 functions" in profiled.table() and "evaluation.py:" in profiled.table(verbose=True)
    assert not Profile(record(lambda: sorted([2, 1], key=lambda number: -number))).calls

"""Count the files and functions of charlm that one training step enters, and its hops between files.

python -m tests.profile_step            print the counts by file, for three ways to bound the step
python -m tests.profile_step --verbose  print the functions, too

The step is that of a character LSTM of one layer, on NumPy, in one thread, after warm-up. Comprehensions are
not counted: from Python 3.12 on, most of them are no calls.
"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from threadpoolctl import threadpool_limits

from charlm.backends import NumpyBackend
from charlm.config import TextConfig, TrainConfig
from charlm.session import prepare
from charlm.training import Trainer

PACKAGE = Path(__file__).resolve().parents[1] / "charlm"
MOST_FILES, MOST_FUNCTIONS = 15, 49
WARM_UP = 3
_COMPREHENSIONS = frozenset({"<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>"})


@dataclass
class Call:
    """One call of a function under `charlm/`, and the calls of such functions that it makes."""

    code: CodeType
    calls: list[Call] = field(default_factory=list)

    @property
    def file(self) -> str:
        """Return the path of the function's file, relative to `charlm/`."""
        return Path(self.code.co_filename).relative_to(PACKAGE).as_posix()

    def walk(self) -> Iterator[Call]:
        """Yield this call and every call inside it."""
        yield self
        for call in self.calls:
            yield from call.walk()

    def enters(self, codes: set[CodeType]) -> bool:
        """Return whether each of these functions is called inside this call."""
        return codes <= {call.code for call in self.walk()}


class Profile:
    """The calls of a piece of work, counted.

    calls: the number of calls of each function
    hops: the number of calls from a function of one file to a function of another
    """

    def __init__(self, roots: list[Call]) -> None:
        every = [call for root in roots for call in root.walk()]
        self.roots = roots
        self.calls = Counter(call.code for call in every if call.code.co_name not in _COMPREHENSIONS)
        self.hops = sum(call.file != inner.file for call in every for inner in call.calls)
        self.files = Counter(Call(code).file for code in self.calls)

    def table(self, *, verbose: bool = False) -> str:
        """Return the totals, the number of functions in each file, and if verbose the number of calls of each."""
        rows = [f"{len(self.files)} files, {len(self.calls)} functions, {self.hops} hops between files"]
        rows += [f"{count:5}  {name}" for name, count in sorted(self.files.items())]
        if verbose:
            functions = [
                (Call(code).file, code.co_firstlineno, code.co_qualname, count) for code, count in self.calls.items()
            ]
            rows += [f"{count:7}  {name}:{line} {what}" for name, line, what, count in sorted(functions)]
        return "\n".join(rows)


def record(work: Callable[[], Any]) -> list[Call]:
    """Run `work` in this thread and return its outermost calls of functions under `charlm/`."""
    root = Call(record.__code__)
    stack = [root]

    def watch(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(f"{PACKAGE}/"):
            return
        if event == "return":
            stack.pop()
        else:
            stack.append(Call(code))
            stack[-2].calls.append(stack[-1])

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(before)
    assert stack == [root]
    return root.calls


def make_trainer() -> Trainer:
    """Return a trainer that evaluates too seldom to do so during the steps that are profiled."""
    lines = ["the quick brown fox", "jumps over", "the lazy dog"] * 200
    config = TrainConfig(max_steps=1000, batch_size=8, seq_length=16)
    network = {"cell": "lstm", "num_layers": 1, "hidden_size": 32}
    return prepare(lines, TextConfig(), network, config, ops=NumpyBackend()).trainer


def profile_run() -> Profile:
    """Profile one step of `Trainer.run`: a batch is made, learned from and reported."""
    run = make_trainer().run()
    progress = [next(run) for _ in range(WARM_UP)]
    calls = record(lambda: progress.append(next(run)))
    assert progress[-1].step == WARM_UP + 1
    assert not progress[-1].is_evaluation
    return Profile(calls)


def profile_step() -> Profile:
    """Profile the step alone: the innermost function in a step of `run` that calls both model and optimizer."""
    trainer = make_trainer()
    both = {inspect.unwrap(method).__code__ for method in (trainer.model.loss_and_grads, trainer.optimizer.step)}
    callers = [call for root in profile_run().roots for call in root.walk() if call.enters(both)]
    return Profile(callers[-1:])


def profile_passes() -> Profile:
    """Profile `Model.loss_and_grads` and the optimizer's step, without clipping and checks."""
    trainer = make_trainer()
    model, optimizer = trainer.model, trainer.optimizer
    batch, workspace = next(trainer.train.epoch(0)), model.workspace()
    state = model.zero_state(batch.lanes)

    def step(count: int) -> None:
        model.loss_and_grads(batch, state, workspace)
        optimizer.step(count, 0.001)

    for count in range(1, 1 + WARM_UP):
        step(count)
    return Profile(record(lambda: step(1 + WARM_UP)))


if __name__ == "__main__":
    with threadpool_limits(1):
        for profiled in (profile_run, profile_step, profile_passes):
            print(profiled.__name__, profiled().table(verbose="--verbose" in sys.argv), sep=": ", end="\n\n")

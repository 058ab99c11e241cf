"""What a training will take, before it begins: memory, disk, steps and time, the speed measured on this machine."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from charlm.errors import DivergenceError
from charlm.session import Session
from charlm.text.batches.lanes import Batch, Batches
from charlm.training import Trainer
from charlm.training.memory import largest
from charlm.training.plan import evaluations

_SAMPLED = 24  # batches, spread over an epoch, because their lengths may differ
_GOLDEN = (5.0**0.5 - 1.0) / 2.0
_SECONDS, _LONGEST = 3.0, 12.0  # to measure the steps in, and if not all of the sample was learned by then
_SHORTEST = 1e-9  # seconds; a clock may stand still


@dataclass(frozen=True)
class Estimate:
    """What a training will take from where it stands.

    memory: bytes at most, of the corpus and of the training, without the program itself
    model_file, checkpoint: bytes on the disk
    steps, epochs: at most; a training with --patience may end earlier
    tokens: targets to train on; tokens_per_second: of the steps alone; seconds: of steps and evaluations
    """

    parameters: int
    memory: int
    model_file: int
    checkpoint: int
    steps: int
    epochs: float
    tokens: int
    tokens_per_second: float
    seconds: float


def resident(field: str = "VmRSS") -> int:
    """Return the memory of this process in bytes, or its peak, `VmHWM`; 0 if the system does not report it."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return 0


@dataclass
class CorpusMemory:
    """The memory that reading a corpus and building its network takes: create it before, and call `read` after."""

    before: int = field(default_factory=resident)
    kept: int = 0
    peak: int = 0

    def read(self) -> None:
        """Measure what is kept, and what was taken at most."""
        self.kept, self.peak = resident() - self.before, resident("VmHWM") - self.before


def estimate(session: Session, corpus: CorpusMemory) -> Estimate:
    """Return what the training of a session will take; nothing of the session changes."""
    trainer, model = session.trainer, session.language_model.model
    total = trainer.plan()
    steps = max(0, total - trainer.step)
    per_step, tokens, per_judging, judgings = measured(trainer)
    weights = int(model.parameters.values.nbytes)
    slots = len(trainer.update.memory)
    # The best weights, and those of the lowest loss, if these are others.
    is_average_of_training = trainer.config.average > 0.0 and trainer.valid is None
    kept = 1 if trainer.config.keep == "loss" and not is_average_of_training else 2
    clean = int(trainer.update.clean is not None)
    # The gradients, what is kept, and the state twice while it is saved. The weights are in memory already.
    arrays = weights * (1 + slots + clean + kept + 2 * (1 + kept + slots))
    per_epoch = trainer.train.steps(0)
    names = len(session.language_model.tokenizer.vocabulary)
    header = _BYTES_OF_HEADER + _BYTES_PER_NAME * names + _BYTES_PER_RECORD * min(total, evaluations(total, per_epoch))
    return Estimate(
        parameters=model.parameters.count,
        # Reading may have taken more for a while than training will take in all.
        memory=max(corpus.peak, corpus.kept + arrays + trainer.buffers + _LIBRARIES),
        model_file=weights + header,
        checkpoint=weights * (1 + kept + slots) + header,
        steps=steps,
        epochs=steps / per_epoch,
        tokens=round(steps * tokens),
        tokens_per_second=tokens / per_step,
        seconds=steps * per_step + (judgings(total) * per_judging * steps / total if total else 0.0),
    )


# Bytes of the libraries that are loaded after the corpus is read, and of Python's own objects.
_LIBRARIES = 10_000_000
# Of the header: the configurations, a token with its quotes, and an evaluation.
_BYTES_OF_HEADER, _BYTES_PER_NAME, _BYTES_PER_RECORD = 2_000, 10, 130

Measured = tuple[float, float, float, Callable[[int], float]]


def measured(trainer: Trainer) -> Measured:
    """Measure steps and a validation; what they learn is undone.

    Returns the mean seconds of a step and its mean targets, and the seconds of a validation. The last value returns
    how many validations a run of so many steps takes.
    """

    def work(
        step: Callable[[Batch], object], judge: Callable[[], object] | None, judgings: Callable[[int], float]
    ) -> Measured:
        seconds, tokens = _of_steps(trainer.train, step)
        of_judging = 0.0 if judge is None else min(_timed(judge), _timed(judge))
        return seconds, tokens, of_judging, judgings

    return trainer.rehearse(work)


def _of_steps(batches: Batches, step: Callable[[Batch], object]) -> tuple[float, float]:
    """Return the mean seconds and the mean targets of the steps of an epoch, from a sample of them."""
    count = batches.steps(0)
    # Multiples of the golden ratio are spread evenly, and never in step with batches that are sorted by length.
    places = list(dict.fromkeys(int(i * _GOLDEN % 1.0 * count) for i in range(1, 1 + min(count, _SAMPLED))))
    times: dict[int, list[float]] = {}
    tokens: dict[int, int] = {}

    def measure(place: int) -> float:
        started = time.perf_counter()
        batch = next(batches.epoch(0, skip=place))
        # A batch that continues the one before it was cut when its epoch began.
        started = time.perf_counter() if batches.carries else started
        tokens[place] = batch.count
        # An explosion is left to the run.
        with contextlib.suppress(DivergenceError):
            step(batch)
        return time.perf_counter() - started

    # The buffers are allocated before anything is measured.
    for _ in range(2):
        with contextlib.suppress(DivergenceError):
            step(largest(batches))
    begin = time.perf_counter()
    for place in itertools.cycle(places):
        spent = time.perf_counter() - begin
        if times and spent > (_SECONDS if len(times) == len(places) else _LONGEST):
            break
        times.setdefault(place, []).append(measure(place))
    # The lower median: of two measurements one may include a stall.
    typical = [sorted(of_one)[(len(of_one) - 1) // 2] for of_one in times.values()]
    return max(sum(typical) / len(times), _SHORTEST), sum(tokens[place] for place in times) / len(times)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    with contextlib.suppress(DivergenceError):
        work()
    return time.perf_counter() - started

"""The search: trials one after the other, those that fall behind stopped early, the winner's weights kept."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from optuna import Trial

from charlm.checkpoint import save
from charlm.config import ModelConfig, TrainConfig
from charlm.errors import CorpusError, DivergenceError
from charlm.nn.build import build
from charlm.session import Session, assemble, settings_of
from charlm.storage.files import write_atomically
from charlm.storage.locks import held
from charlm.training import Progress
from charlm.tuning.space import Axis, settings_for
from charlm.tuning.study import COMPLETE, FAILED, INTERRUPTED, PRUNED, REDUCTION, Study, TrialRecord

# A rung of successive halving, in tenths of a trial. A training has at least ten evaluations.
_RUNGS = (1, REDUCTION)
# Trials in full that the time is enough for, if the trials have no time of their own.
_FULL_TRIALS = 8
# A trial that begins in time may take this many times as long as expected.
_SLACK = 1.1
_LOCK_SECONDS = 60.0


def minutes_of_trial(minutes: float) -> float:
    """Return the longest time of a trial in a search of so many minutes."""
    return minutes / _FULL_TRIALS


class Search:
    """A search for the settings with the lowest validation loss.

    base: a training with the settings that follow from the corpus; its model, corpus and configurations are shared
    axes: the settings that are searched
    study: the trials, already begun
    model_path: the file for the weights of the winner
    minutes: the longest time of a trial, besides the limits of `base`
    Raises CorpusError if no part of the corpus is held out.
    """

    def __init__(
        self, base: Session, axes: Mapping[str, Axis], study: Study, model_path: Path, *, minutes: float | None = None
    ) -> None:
        if not base.valid.size:
            raise CorpusError(
                "trials are compared by held-out text, and this corpus has none",
                hint="name a held-out text: --valid FILE, or leave out --valid-fraction 0",
            )
        self._base, self._axes, self._study, self._model_path = base, axes, study, model_path
        self._minutes = base.language_model.train.minutes if minutes is None else minutes
        self._longest = 0.0

    def run(
        self,
        watch: Callable[[int, Progress], None],
        is_stopped: Callable[[], bool],
        *,
        trials: int | None = None,
        end: float = math.inf,
    ) -> Iterator[TrialRecord]:
        """Run trials and yield each when it ends.

        watch: called with the number of the trial after each step
        is_stopped: whether to stop after this step; the trial is then interrupted
        trials: of all processes together, without interrupted ones; None: as many as fit into the time
        end: on the clock of `time.monotonic`; a trial begins if it is expected to end before
        """
        while not is_stopped() and time.monotonic() + self._expected() <= end:
            trial = self._study.ask({name: axis.distribution for name, axis in self._axes.items()}, trials)
            if trial is None:
                return
            yield self._run(trial, watch, is_stopped, end)

    def _expected(self) -> float:
        """Return the seconds that a trial in full takes."""
        return self._longest if self._minutes is None else min(60.0 * self._minutes, self._longest or math.inf)

    def _run(
        self, trial: Trial, watch: Callable[[int, Progress], None], is_stopped: Callable[[], bool], end: float
    ) -> TrialRecord:
        """Run one trial."""
        begin = time.monotonic()
        latest = end + (_SLACK - 1.0) * self._expected()
        settings = settings_for(self._axes, trial.params)
        record, session = TrialRecord(trial.number, INTERRUPTED, math.nan, 0, 0, settings), None
        self._study.describe(trial, settings=settings)
        try:
            session = _with(self._base, {**settings, "minutes": self._minutes})
            record = replace(record, planned_steps=session.trainer.plan())
            self._study.describe(trial, planned_steps=record.planned_steps)

            def is_over(progress: Progress) -> bool:
                watch(trial.number, progress)
                return is_stopped() or time.monotonic() > latest

            state = self._learned(trial, session, is_over)
            record = replace(record, state=state, nats=_loss(session), steps=session.trainer.step)
        except (DivergenceError, MemoryError) as error:
            steps = 0 if session is None else session.trainer.step
            failure = "out of memory" if isinstance(error, MemoryError) else str(error)
            record = replace(record, state=FAILED, nats=math.inf, steps=steps, failure=failure)
        finally:
            # Also after an error that ends the search, so that no other process waits for this trial.
            self._study.end(trial, record)
        if record.state == COMPLETE:
            self._longest = max(self._longest, time.monotonic() - begin)
        if session is not None and record.state in (COMPLETE, INTERRUPTED):
            self._keep(session, record)
        return record

    def _learned(self, trial: Trial, session: Session, is_over: Callable[[Progress], bool]) -> str:
        """Train to the end, to a rung at which the trial is behind, or until `is_over`; return the state."""
        curve, defaults = Curve(), settings_of(self._base.language_model)
        settings = settings_for(self._axes, trial.params)
        # What the winner is compared with.
        is_default = all(defaults[name] == value for name, value in settings.items())
        for progress in session.trainer.run():
            if is_over(progress) and progress.step < progress.total_steps:
                return INTERRUPTED
            if progress.valid_nats is None or progress.step == progress.total_steps:
                continue
            passed = curve.add(progress.step / progress.total_steps, progress.valid_nats)
            behind = [self._study.is_behind(trial, rung, nats) for rung, nats in passed]
            if any(behind) and not is_default:
                return PRUNED
        return COMPLETE

    def _keep(self, session: Session, record: TrialRecord) -> None:
        """Write the model file if the trial is the winner so far, or if no trial is complete yet."""
        with self._locked():
            winner, written = self._study.winner(), self._study.model
            is_first = winner is None and not written and session.trainer.verdict.has_learned()
            if not is_first and (winner is None or winner.number != record.number):
                return
            language_model = session.language_model
            # As the command that repeats it would configure it.
            config = replace(language_model.train, minutes=None, max_steps=record.planned_steps)
            run = replace(language_model.run, planned_steps=record.planned_steps)
            trained = replace(language_model, train=config, run=run, outcome=session.trainer.outcome())
            save(self._model_path, trained, weights=session.trainer.best_weights())
            self._study.model = {
                "trial": record.number,
                "path": os.path.abspath(self._model_path),
                "sha256": _digest(self._model_path),
            }

    def fetch(self) -> TrialRecord | None:
        """Return the trial whose weights are in the model file; None if there is no such file.

        The winner of another process is copied from that process's model file.
        """
        written = self._study.model
        if not written:
            return None
        with self._locked():
            if _digest(self._model_path) != written["sha256"]:
                source = Path(written["path"])
                if _digest(source) != written["sha256"]:
                    return None
                write_atomically(self._model_path, source.read_bytes())
        return next(one for one in self._study.records() if one.number == written["trial"])

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        """Lock the model file inside the block if other processes may write it too."""
        return held(self._model_path, wait=_LOCK_SECONDS) if self._study.is_shared else contextlib.nullcontext()


def is_of_search(path: Path, study: Study) -> bool:
    """Return whether a model file is the one that the search of a shared study has written."""
    with held(path, wait=_LOCK_SECONDS):
        digest = _digest(path)
        return digest is not None and study.model.get("sha256") == digest


class Curve:
    """The lowest validation loss so far over the share of a training that is done."""

    def __init__(self) -> None:
        self._share, self._nats, self._rungs = 0.0, math.inf, list(_RUNGS)

    def add(self, share: float, nats: float) -> list[tuple[int, float]]:
        """Add an evaluation; return the rungs passed since the last one, each with its interpolated loss.

        Trainings have different numbers of evaluations, so they are compared between them.
        """
        lowest = min(self._nats, nats)
        passed = []
        while self._rungs and share >= self._rungs[0] / 10 - 1e-9:
            rung = self._rungs.pop(0)
            weight = 1.0 if math.isinf(self._nats) else (rung / 10 - self._share) / (share - self._share)
            passed.append((rung, lowest if weight == 1.0 else self._nats + weight * (lowest - self._nats)))
        self._share, self._nats = share, lowest
        return passed


def _with(base: Session, settings: Mapping[str, Any]) -> Session:
    """Return a new training on the same encoded corpus, with some settings changed."""
    language_model = base.language_model
    network, config = language_model.model.config, language_model.train
    network = replace(network, **_of(ModelConfig, settings))
    config = replace(config, **_of(TrainConfig, settings))
    model = build(network, language_model.model.ops, seed=config.seed)
    return assemble(replace(language_model, model=model, train=config, history=[]), base.train, base.valid)


def _of(kind: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {one.name: settings[one.name] for one in fields(kind) if one.name in settings}


def _loss(session: Session) -> float:
    """Return the validation loss of the kept weights, at the end of a training on all of the held-out part.

    It is NaN before the first evaluation.
    """
    nats = session.trainer.outcome().valid_nats
    return math.nan if nats is None else nats


def _digest(path: Path) -> str | None:
    """Return the SHA-256 of a file; None if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None

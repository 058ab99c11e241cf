"""The trials of a search, in memory or in a storage that several processes share."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.pruners import SuccessiveHalvingPruner
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from charlm.errors import ResourceError, UsageError
from charlm.storage.locks import held
from charlm.tuning.sampler import Sampler

NAME = "charlm"  # of the study: a storage has one search
COMPLETE, PRUNED, FAILED, INTERRUPTED, RUNNING = "complete", "pruned", "failed", "interrupted", "running"
REDUCTION = 3  # one trial in three goes on
_LOCK_SECONDS = 60  # to wait while another process writes to the storage
_STORAGE_HINT, _ANOTHER = (f"name {a} file: --storage sqlite:///FILE" for a in ("a", "another"))


@dataclass(frozen=True)
class Terms:
    """What all processes of a search have in common.

    corpus: SHA-256 of the text, as hexadecimal digits
    fixed: the settings that every trial has: fields of the configurations, and whether it is conditioned
    limits: how long a trial trains: fields of `TrainConfig`
    seed: of all trials
    """

    corpus: str
    fixed: dict[str, Any]
    limits: dict[str, Any]
    seed: int


@dataclass(frozen=True)
class TrialRecord:
    """A trial.

    settings: those that are searched
    state: complete, pruned, failed, interrupted or running
    nats: the lowest validation loss; infinite if the trial failed, NaN before the first evaluation
    steps, planned_steps: done, and of the whole training
    """

    number: int
    state: str
    nats: float
    steps: int
    planned_steps: int
    settings: Mapping[str, Any]
    failure: str = ""


class Study:
    """The trials of a search.

    storage: URL of a database, which may hold earlier trials; None keeps them in memory
    Raises UsageError for an invalid URL, ResourceError for a storage that cannot be opened.
    """

    def __init__(self, storage: str | None) -> None:
        optuna.logging.disable_default_handler()
        optuna.logging.set_verbosity(optuna.logging.CRITICAL)
        self.is_shared = storage is not None
        self._file = None if storage is None else _file_of(storage)
        self._url = "" if storage is None else _shown(storage)
        with self._reporting(), self._locked():
            self._storage = InMemoryStorage() if storage is None else _opened(storage)
        self._study: optuna.Study | None = None

    @property
    def _optuna(self) -> optuna.Study:
        assert self._study is not None
        return self._study

    def stored_terms(self) -> Terms | None:
        """Return the terms of the search in the storage; None if it is new."""
        terms = self._attributes().get("terms")
        return None if terms is None else Terms(**json.loads(terms))

    def begin(self, terms: Terms, defaults: Mapping[str, float]) -> None:
        """Begin the search, or join the one in the storage.

        defaults: the drawn numbers of the first trial
        Raises UsageError if the search in the storage has other terms.
        """
        with self._reporting(), self._locked():
            how: dict[str, Any] = {
                "study_name": NAME,
                "storage": self._storage,
                "sampler": Sampler(terms.seed),
                "pruner": SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION),
            }
            try:
                self._study = optuna.create_study(**how, direction="minimize")
            except DuplicatedStudyError:
                self._study = optuna.load_study(**how)
                self._check(terms)
                self._give_up_dead()
            else:
                self._study.enqueue_trial(dict(defaults))
                self._study.set_user_attr("terms", json.dumps(asdict(terms)))

    def _check(self, terms: Terms) -> None:
        """Raise UsageError if the stored terms differ."""
        stored = self.stored_terms()
        if stored is None:
            raise ResourceError(f"the storage has a search that never began, {self._url}", hint=_ANOTHER)
        own, other = (json.loads(json.dumps(asdict(one))) for one in (terms, stored))
        if own["corpus"] != other["corpus"]:
            raise UsageError(
                f"the storage has a search on another corpus, {self._url}",
                hint=f"give the files of that search in the same order, or {_ANOTHER}",
            )
        for part in ("fixed", "limits"):
            for name in sorted(own[part].keys() | other[part].keys()):
                ours, theirs = own[part].get(name), other[part].get(name)
                if ours != theirs:
                    raise UsageError(
                        f"the search in the storage has other settings: {name} is {_word(theirs)} there, "
                        f"{_word(ours)} here, {self._url}",
                        hint=f"give the flags of that search, or {_ANOTHER}",
                    )
        if own["seed"] != other["seed"]:
            raise UsageError(
                f"the search in the storage has seed {other['seed']}, not {own['seed']}, {self._url}",
                hint=f"leave --seed out, or {_ANOTHER}",
            )

    def ask(self, distributions: dict[str, BaseDistribution], most: int | None = None) -> optuna.Trial | None:
        """Return a new trial with a number drawn from each distribution; None if `most` trials have begun.

        most: of all processes together, without interrupted ones
        """
        with self._reporting(), self._locked():
            if most is not None and sum(one.state != INTERRUPTED for one in self.records()) >= most:
                return None
            trial = self._optuna.ask(distributions)
            trial.set_user_attr("process", _process())
            return trial

    def describe(self, trial: optuna.Trial, **attributes: Any) -> None:
        """Store the `settings` or the `planned_steps` of a trial."""
        with self._reporting():
            for name, value in attributes.items():
                trial.set_user_attr(name, value)

    def is_behind(self, trial: optuna.Trial, resource: int, nats: float) -> bool:
        """Report a trial's loss at a rung; return whether other trials were better there."""
        with self._reporting():
            trial.report(nats, resource)
            return trial.should_prune()

    def end(self, trial: optuna.Trial, record: TrialRecord) -> None:
        """Store the end of a trial; an interrupted one is tried again later."""
        with self._reporting():
            finite = record.nats if math.isfinite(record.nats) else None
            result = {"state": record.state, "nats": finite, "steps": record.steps, "failure": record.failure}
            trial.set_user_attr("result", result)
            if record.state == PRUNED:
                self._optuna.tell(trial, state=TrialState.PRUNED)
            elif record.state == INTERRUPTED:
                self._optuna.tell(trial, state=TrialState.FAIL)
                self._optuna.enqueue_trial(trial.params)
            else:
                self._optuna.tell(trial, record.nats)

    def records(self) -> list[TrialRecord]:
        """Return the trials of all processes that have begun, in order."""
        with self._reporting():
            trials = self._optuna.get_trials(deepcopy=False)
        return [_record(trial) for trial in trials if trial.state is not TrialState.WAITING]

    def winner(self) -> TrialRecord | None:
        """Return the complete trial with the lowest loss of all processes; of equal ones, the first."""
        complete = [one for one in self.records() if one.state == COMPLETE]
        return min(complete, key=lambda one: one.nats, default=None)

    @property
    def model(self) -> dict[str, Any]:
        """The trial whose weights were last written: `trial`, `path` and `sha256` of the file."""
        return dict(self._attributes().get("model", {}))

    @model.setter
    def model(self, written: dict[str, Any]) -> None:
        with self._reporting():
            self._optuna.set_user_attr("model", written)

    def _attributes(self) -> dict[str, Any]:
        """Return what is stored beside the trials; it is empty for a new search."""
        with self._reporting():
            studies = self._storage.get_all_studies()
            return next((one.user_attrs for one in studies if one.study_name == NAME), {})

    def _give_up_dead(self) -> None:
        """End the trials of killed processes of this machine, to be tried again."""
        machine, _, _ = _process().partition(":")
        for trial in self._optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            host, _, number = trial.user_attrs.get("process", "").partition(":")
            if host == machine and number and not _is_alive(int(number)):
                self._optuna.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
                if trial.params:
                    self._optuna.enqueue_trial(trial.params)

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        """Lock the file of the storage inside the block: two processes cannot create the same tables."""
        return contextlib.nullcontext() if self._file is None else held(self._file, wait=_LOCK_SECONDS)

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        """Turn errors of the storage inside the block into those of charlm, and hide warnings."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except (SQLAlchemyError, StorageInternalError) as error:
            cause = error.__cause__ if isinstance(error, StorageInternalError) else error
            reason = str(getattr(cause, "orig", None) or cause or error).splitlines()[0]
            raise ResourceError(f"cannot use the storage: {reason}, {self._url}", hint=_STORAGE_HINT) from error


def _file_of(url: str) -> Path | None:
    """Return the file of an SQLite storage; None for another one."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UsageError(f"--storage {url} is not a URL", hint=_STORAGE_HINT) from error
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:")
    return Path(str(parsed.database)) if is_file else None


def _opened(url: str) -> BaseStorage:
    """Return the storage at a URL."""
    connect = {"connect_args": {"timeout": _LOCK_SECONDS}} if url.startswith("sqlite") else {}
    try:
        return RDBStorage(url, engine_kwargs=connect)
    except (ArgumentError, ImportError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"cannot open the storage: {reason}, {_shown(url)}", hint=_STORAGE_HINT) from error


def _shown(url: str) -> str:
    """Return a URL for a message: without its password."""
    return make_url(url).render_as_string()


def _record(trial: FrozenTrial) -> TrialRecord:
    attributes = trial.user_attrs
    result = attributes.get("result", {})
    unfinished = RUNNING if trial.state is TrialState.RUNNING else INTERRUPTED
    state = result.get("state", unfinished) if trial.state.is_finished() else RUNNING
    nats = result.get("nats")
    return TrialRecord(
        trial.number,
        state,
        (math.inf if state == FAILED else math.nan) if nats is None else nats,
        result.get("steps", 0),
        attributes.get("planned_steps", 0),
        attributes.get("settings", {}),
        result.get("failure", ""),
    )


def _word(value: Any) -> str:
    return "not given" if value is None else str(value)


def _process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True

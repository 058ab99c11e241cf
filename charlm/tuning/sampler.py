"""The sampler of the search."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

from charlm.randomness import key

_RANDOM_TRIALS = 6  # before the estimator learns from them


class Sampler(BaseSampler):
    """Tree-structured Parzen estimator, Bergstra et al. 2011, whose draws depend on the seed and the trial's number.

    So processes with the same seed draw different trials, and a continued search draws as an uninterrupted one.
    """

    def __init__(self, seed: int) -> None:
        self._seed, self._trial = seed, -1
        self._sampler = self._of(0)

    def _of(self, number: int) -> TPESampler:
        if number != self._trial:
            seed = key(self._seed, number) % (1 << 32)
            self._trial, self._sampler = number, TPESampler(n_startup_trials=_RANDOM_TRIALS, seed=seed)
        return self._sampler

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._of(trial.number).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._of(trial.number).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._of(trial.number).sample_independent(study, trial, param_name, param_distribution)

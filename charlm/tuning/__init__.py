"""The search for settings: trials of Optuna, stopped early by successive halving."""

from charlm.tuning.search import Search, minutes_of_trial
from charlm.tuning.space import search_space
from charlm.tuning.study import Study, Terms, TrialRecord

__all__ = ["Search", "Study", "Terms", "TrialRecord", "minutes_of_trial", "search_space"]

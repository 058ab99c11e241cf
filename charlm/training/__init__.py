"""Training: optimizers, schedules, and a loop that yields its progress."""

from charlm.training.keeping import check_keep, figure_of
from charlm.training.memory import memory_needed
from charlm.training.optimizers import OPTIMIZERS
from charlm.training.progress import Progress
from charlm.training.state import FIGURES, HISTORY_FIELDS, TrainingNumbers, TrainingState
from charlm.training.trainer import Trainer
from charlm.training.validation import HeldOut, Validation

__all__ = [
    "FIGURES",
    "HISTORY_FIELDS",
    "OPTIMIZERS",
    "HeldOut",
    "Progress",
    "Trainer",
    "TrainingNumbers",
    "TrainingState",
    "Validation",
    "check_keep",
    "figure_of",
    "memory_needed",
]

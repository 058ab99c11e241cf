"""Training: optimizers, schedules, and a loop that yields its progress."""

from charlm.training.memory import memory_needed
from charlm.training.optimizers import OPTIMIZERS
from charlm.training.progress import Progress
from charlm.training.state import HISTORY_FIELDS, TrainingNumbers, TrainingState
from charlm.training.trainer import Trainer

__all__ = ["HISTORY_FIELDS", "OPTIMIZERS", "Progress", "Trainer", "TrainingNumbers", "TrainingState", "memory_needed"]

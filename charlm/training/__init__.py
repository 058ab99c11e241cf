"""Learning: optimizers, schedules, and the loop that yields what happens."""

from charlm.training.memory import memory_needed
from charlm.training.optimizers import OPTIMIZERS
from charlm.training.progress import Progress
from charlm.training.state import HISTORY_FIELDS, TrainingState, check_numbers
from charlm.training.trainer import Trainer

__all__ = ["HISTORY_FIELDS", "OPTIMIZERS", "Progress", "Trainer", "TrainingState", "check_numbers", "memory_needed"]

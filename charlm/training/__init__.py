"""Learning: optimizers, schedules, and the loop that yields what happens."""

from charlm.training.trainer import Progress, Trainer, TrainingState

__all__ = ["Progress", "Trainer", "TrainingState"]

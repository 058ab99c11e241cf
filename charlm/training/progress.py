"""What a training reports after each step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The report of one step; losses are in nats a target."""

    step: int  # steps done
    total_steps: int  # steps planned
    epoch: float  # epochs done, with the fraction of the current one
    train_nats: float  # mean training loss since the last evaluation
    valid_nats: float | None  # validation loss, if it was just evaluated
    is_evaluation: bool
    is_best: bool  # the lowest validation loss so far; without validation, every evaluation
    learning_rate: float
    tokens: int  # targets of this step
    setback: str = ""  # why the step was dropped; the weights are earlier ones, the learning rate is halved

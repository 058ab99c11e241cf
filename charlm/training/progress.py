"""What a training reports after each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """The report of one step; losses are in nats a target."""

    step: int  # steps done
    total_steps: int  # steps planned
    epoch: float  # epochs done, with the fraction of the current one
    train_nats: float  # mean training loss since the last evaluation
    valid_nats: float | None  # validation loss, if it was just evaluated
    is_evaluation: bool
    is_best: bool  # whether these weights are kept, as the best so far; without validation, at every evaluation
    learning_rate: float
    tokens: int  # targets of this step
    figures: Mapping[str, float] = field(default_factory=dict)  # accuracy or F1 of what was just evaluated, if any
    setback: str = ""  # why the step was dropped; the weights are earlier ones, the learning rate is halved

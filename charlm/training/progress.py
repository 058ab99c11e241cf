"""What a training tells of itself, step by step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """What one step was like.

    step, total_steps; epoch: how many epochs are done, with the fraction of the one under way
    train_nats: mean loss of a token since the last evaluation; valid_nats: that of the held-out part, where it was
    just evaluated; is_best: whether it was better than any before; tokens: targets of this step
    setback: what was no number, "" for nothing: the step was dropped, the weights are good ones of before, and the
    learning rate is half of what it was
    """

    step: int
    total_steps: int
    epoch: float
    train_nats: float
    valid_nats: float | None
    is_evaluation: bool
    is_best: bool
    learning_rate: float
    tokens: int
    setback: str = ""

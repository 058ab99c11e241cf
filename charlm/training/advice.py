"""What a finished training should have been told: it has hardly learned, it was too short, it overfits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from charlm.config import ModelConfig, TrainConfig
from charlm.training.plan import DEFAULT_EPOCHS
from charlm.training.state import TrainingNumbers

_HARDLY = 0.95  # of the loss of the frequencies
_LEAST_BASELINE = 0.05  # nats; below it, the frequencies say nearly everything
_STEEP = 0.1  # share of the whole gain that the last third of the evaluations has
_FEWEST = 6  # evaluations in which a trend can be seen
_FAR_BELOW = 0.75  # training loss, of the validation loss
_MORE_DROPOUT, _MOST_DROPOUT = 0.3, 0.7


@dataclass(frozen=True)
class Advice:
    """What looks wrong with a finished training, and what to type."""

    message: str
    hint: str


def advice(
    numbers: TrainingNumbers, baseline_nats: float, config: TrainConfig, network: ModelConfig
) -> Iterator[Advice]:
    """Yield what looks wrong with a finished training.

    numbers: at its end; baseline_nats: the loss of the frequencies of the targets
    """
    rows = numbers.history
    if not rows:
        return
    valid = [row["valid_nats"] for row in rows if row["valid_nats"] is not None]
    losses = valid or [row["train_nats"] for row in rows]
    best = min(losses)
    if best > _HARDLY * baseline_nats > _HARDLY * _LEAST_BASELINE:
        yield Advice(
            f"the model has hardly learned: its loss is {best:.3f}, and frequencies alone have {baseline_nats:.3f}",
            f"train longer, in smaller steps: {_longer(config, 4)} --batch-size {max(1, config.batch_size // 4)}, "
            "or try another --lr",
        )
    elif losses[-1] == best and _is_steep(losses, baseline_nats):
        yield Advice(
            "the loss still falls steeply at the end", f"longer training would gain more: {_longer(config, 2)}"
        )
    if len(valid) >= 2 * _FEWEST and _overfits(rows, numbers.best_figure):
        dropout = min(_MOST_DROPOUT, round(network.dropout + _MORE_DROPOUT, 2))
        yield Advice(
            f"the model overfits from the start: a training loss of {rows[-1]['train_nats']:.3f}, "
            f"and {valid[-1]:.3f} on held-out text",
            f"try --dropout {dropout:g}, --hidden-size {max(1, network.hidden_size // 2)}, or more text",
        )


def _is_steep(losses: list[float], baseline_nats: float) -> bool:
    """Return whether the last third of the evaluations has much of the gain over the frequencies."""
    if len(losses) < _FEWEST:
        return False
    before = losses[-1 - len(losses) // 3]
    return before - losses[-1] > _STEEP * (baseline_nats - losses[-1])


def _overfits(rows: list[dict[str, float]], best_figure: float | None) -> bool:
    """Return whether the best of all evaluations is among the first tenth, and the training loss is far below."""
    figures = [row.get("accuracy", row.get("f1")) for row in rows]
    if best_figure is not None and best_figure in figures:
        best = figures.index(best_figure)
    else:
        best = min(range(len(rows)), key=lambda i: rows[i]["valid_nats"])
    return best < max(1, len(rows) // 10) and rows[-1]["train_nats"] < _FAR_BELOW * rows[-1]["valid_nats"]


def _longer(config: TrainConfig, factor: int) -> str:
    """Return the flag that makes the training longer."""
    if config.minutes is not None:
        return f"--minutes {config.minutes * factor:g}"
    if config.max_steps is not None and config.epochs is None:
        return f"--max-steps {config.max_steps * factor}"
    flag = f"--epochs {(config.epochs or DEFAULT_EPOCHS) * factor}"
    return flag if config.max_steps is None else f"{flag} --max-steps {config.max_steps * factor}"

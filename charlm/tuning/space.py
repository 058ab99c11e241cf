"""The search space: a range around each setting that follows from the corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

# Around the default, in either direction: a factor of the learning rate and of the batch size, and a difference.
_FACTOR = 4
_DROPOUT, _MOST_DROPOUT, _DROPOUT_STEP = 0.3, 0.8, 0.05


@dataclass(frozen=True)
class Axis:
    """The range of one setting.

    default: what follows from the corpus; it lies in the range
    rounded: returns the setting for a number that was drawn from the range
    """

    default: float
    low: float
    high: float
    is_logarithmic: bool
    rounded: Callable[[float], float]

    @property
    def distribution(self) -> BaseDistribution:
        """What Optuna draws from."""
        if isinstance(self.default, int):
            return IntDistribution(int(self.low), int(self.high), log=self.is_logarithmic)
        return FloatDistribution(self.low, self.high, log=self.is_logarithmic)

    def setting(self, drawn: float) -> float:
        """Return the setting for a drawn number."""
        return self.default if drawn == self.default else self.rounded(drawn)


def search_space(defaults: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Axis]:
    """Return the range of each setting that is searched.

    defaults: the settings that follow from the corpus: fields of the configurations
    fixed: settings that keep the values of `defaults`
    """
    kept = {*fixed}
    if defaults["tie_weights"]:
        # The embedding has the size of the output layer's input.
        kept |= {"hidden_size", "embedding_size"}
    return {name: axis(defaults[name]) for name, axis in _AXES.items() if name not in kept and _is_used(name, defaults)}


def settings_for(axes: Mapping[str, Axis], drawn: Mapping[str, float]) -> dict[str, Any]:
    """Return the settings for the numbers that were drawn."""
    return {name: axis.setting(drawn[name]) for name, axis in axes.items()}


def _is_used(name: str, defaults: Mapping[str, Any]) -> bool:
    """Return whether a setting is searched: an embedding only where there is one."""
    return name != "embedding_size" or defaults[name] > 0


def _size(default: int) -> Axis:
    step = max(1, default // 8)
    return Axis(
        default,
        max(1, default // 2),
        2 * default,
        is_logarithmic=True,
        rounded=lambda x: max(1, default + step * round((x - default) / step)),
    )


def _layers(default: int) -> Axis:
    return Axis(default, max(1, default - 1), default + 1, is_logarithmic=False, rounded=round)


def _dropout(default: float) -> Axis:
    return Axis(
        float(default),
        max(0.0, default - _DROPOUT),
        max(default, min(_MOST_DROPOUT, default + _DROPOUT)),
        is_logarithmic=False,
        rounded=lambda x: max(0.0, round(default + _DROPOUT_STEP * round((x - default) / _DROPOUT_STEP), 4)),
    )


def _batch_size(default: int) -> Axis:
    sizes = sorted({default, *(default * 2**k for k in (1, 2)), *(max(1, default // 2**k) for k in (1, 2))})
    return Axis(
        default,
        sizes[0],
        sizes[-1],
        is_logarithmic=True,
        rounded=lambda x: min(sizes, key=lambda size: max(size / x, x / size)),
    )


def _learning_rate(default: float) -> Axis:
    return Axis(
        float(default), default / _FACTOR, default * _FACTOR, is_logarithmic=True, rounded=lambda x: float(f"{x:.2g}")
    )


_AXES: dict[str, Callable[[Any], Axis]] = {
    "num_layers": _layers,
    "hidden_size": _size,
    "embedding_size": _size,
    "dropout": _dropout,
    "batch_size": _batch_size,
    "learning_rate": _learning_rate,
}

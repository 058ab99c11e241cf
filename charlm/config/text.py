"""How text becomes tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from charlm.config.record import Record, flag, one_of
from charlm.errors import UsageError
from charlm.task import TASKS, task_of

LEVELS = ("char", "word")
UNITS = ("line", "stream")
SPLITS = ("punct", "whitespace")
NORMALIZATIONS = ("nfc", "nfkc", "none")


@dataclass(frozen=True)
class TextConfig(Record):
    """How text becomes tokens and tokens become sequences."""

    level: str = "char"
    unit: str = "line"
    split: str = "punct"
    lowercase: bool = False
    normalize: str = "nfc"  # Unicode normalization form

    def __post_init__(self) -> None:
        one_of("--level", self.level, LEVELS)
        one_of("--unit", self.unit, UNITS)
        one_of("--split", self.split, SPLITS)
        flag("--lowercase", self.lowercase)
        one_of("--normalize", self.normalize, NORMALIZATIONS)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the configuration of a model file; files of version 1 have no `normalize` and do not normalize."""
        return super().from_dict({"normalize": "none", **values})


def check_text(task: str, text: TextConfig, *, conditioned: bool = False) -> None:
    """Raise UsageError for a configuration of the text that the task does not allow."""
    facts = task_of(task)
    if text.unit not in facts.units or (conditioned and text.unit == "stream"):
        what = "--condition" if conditioned else f"--task {task}"
        raise UsageError(f"{what} with --unit {text.unit}", hint="each of its records is a sequence: leave --unit out")
    if text.level not in facts.levels:
        hint = "its corpus determines the tokens: leave --level out"
        raise UsageError(f"--task {task} with --level {text.level}", hint=hint)
    if conditioned and not facts.can_be_conditioned:
        names = " and ".join(f"--task {one.name}" for one in TASKS.values() if one.can_be_conditioned)
        raise UsageError(f"--condition with --task {task}", hint=f"it is an option of {names}")

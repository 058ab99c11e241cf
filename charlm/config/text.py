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
TAG_SCHEMES = ("iob2", "none")


@dataclass(frozen=True)
class TextConfig(Record):
    """How text becomes tokens and tokens become sequences."""

    level: str = "char"
    unit: str = "line"
    split: str = "punct"
    lowercase: bool = False
    normalize: str = "nfc"  # Unicode normalization form
    token_column: str | None = None  # of a CoNLL file: a number from 1 or a name; None: lines token TAB tag
    tag_column: str | None = None
    tag_scheme: str = "iob2"  # how tags of entities are read and predicted; none: as they are written

    def __post_init__(self) -> None:
        one_of("--level", self.level, LEVELS)
        one_of("--unit", self.unit, UNITS)
        one_of("--split", self.split, SPLITS)
        flag("--lowercase", self.lowercase)
        one_of("--normalize", self.normalize, NORMALIZATIONS)
        one_of("--tag-scheme", self.tag_scheme, TAG_SCHEMES)
        self._check_columns()

    def _check_columns(self) -> None:
        """Raise UsageError for an invalid column, or for one without the other."""
        for name, column in (("--token-column", self.token_column), ("--tag-column", self.tag_column)):
            is_name = isinstance(column, str) and column != "" and not (column.isdecimal() and int(column) < 1)
            if column is not None and not is_name:
                raise UsageError(f"{name} is {column!r}", hint="give the number of a column, from 1, or its name")
        if (self.token_column is None) != (self.tag_column is None):
            missing = "--tag-column" if self.tag_column is None else "--token-column"
            raise UsageError(f"{missing} is missing", hint="give both: --token-column N --tag-column N")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the configuration of a model file.

        Files of version 1 have no `normalize` and do not normalize. Older files have no `tag_scheme`.
        """
        return super().from_dict({"normalize": "none", "tag_scheme": "none", **values})


def check_text(task: str, text: TextConfig, *, conditioned: bool = False) -> None:
    """Raise UsageError for a configuration of the text that the task does not allow."""
    facts = task_of(task)
    if text.unit not in facts.units or (conditioned and text.unit == "stream"):
        what = "--condition" if conditioned else f"--task {task}"
        raise UsageError(f"{what} with --unit {text.unit}", hint="each of its records is a sequence: leave --unit out")
    if text.level not in facts.levels:
        hint = "its corpus determines the tokens: leave --level out"
        raise UsageError(f"--task {task} with --level {text.level}", hint=hint)
    if text.token_column is not None and facts.answers != "tags":
        raise UsageError(f"--token-column with --task {task}", hint="it is an option of --task tag")
    if conditioned and not facts.can_be_conditioned:
        names = " and ".join(f"--task {one.name}" for one in TASKS.values() if one.can_be_conditioned)
        raise UsageError(f"--condition with --task {task}", hint=f"it is an option of {names}")

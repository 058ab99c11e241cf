"""How text becomes tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from charlm.config.record import Record, flag, one_of
from charlm.errors import UsageError
from charlm.task import TASKS, task_of

LEVELS = ("char", "byte", "subword", "word")
UNITS = ("line", "stream")
SPLITS = ("punct", "whitespace")
NORMALIZATIONS = ("nfc", "nfkc", "none")
TAG_SCHEMES = ("iob2", "none")
FEWEST_PIECES = 300  # 256 of them are bytes

Reading = Literal["text", "bytes", "raw"]


@dataclass(frozen=True)
class TextConfig(Record):
    """How text becomes tokens and tokens become sequences."""

    added: ClassVar[tuple[str, ...]] = ("raw", "piece_model", "token_column", "tag_column", "tag_scheme")

    level: str = "char"
    unit: str = "line"
    split: str = "punct"
    lowercase: bool = False
    normalize: str = "nfc"  # Unicode normalization form
    raw: bool = False  # byte: keep a byte order mark and carriage returns, and read a compressed file as it is
    piece_model: str = ""  # subword: SentencePiece's model in base64; empty until it is learned
    token_column: str | None = None  # of a CoNLL file: a number from 1 or a name; None: lines token TAB tag
    tag_column: str | None = None
    tag_scheme: str = "none"  # how tags of entities are read and predicted: iob2, or as they are written

    def __post_init__(self) -> None:
        one_of("--level", self.level, LEVELS)
        one_of("--unit", self.unit, UNITS)
        one_of("--split", self.split, SPLITS)
        flag("--lowercase", self.lowercase)
        one_of("--normalize", self.normalize, NORMALIZATIONS)
        flag("--raw", self.raw)
        if self.raw and self.level != "byte":
            raise UsageError(f"--raw with --level {self.level}", hint="use --level byte: other levels read text")
        if not isinstance(self.piece_model, str) or (self.piece_model and self.level != "subword"):
            raise UsageError(f"pieces with --level {self.level}", hint="use --level subword")
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

    @property
    def reading(self) -> Reading:
        """How files are read for this level: as text, as any bytes, or as bytes of which none is left out."""
        if self.level != "byte":
            return "text"
        return "raw" if self.raw else "bytes"

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
        if len(facts.levels) > 1:
            hint = f"choose one of: {', '.join(facts.levels)}"
        raise UsageError(f"--task {task} with --level {text.level}", hint=hint)
    if text.token_column is not None and facts.answers != "tags":
        raise UsageError(f"--token-column with --task {task}", hint="it is an option of --task tag")
    if text.raw and facts.reader != "lines":
        raise UsageError(f"--raw with --task {task}", hint="leave --raw out: the lines of this task are records")
    if conditioned and not facts.can_be_conditioned:
        names = " and ".join(f"--task {one.name}" for one in TASKS.values() if one.can_be_conditioned)
        raise UsageError(f"--condition with --task {task}", hint=f"it is an option of {names}")


def check_vocabulary(text: TextConfig, given: Mapping[str, Any]) -> None:
    """Raise UsageError for a size of the vocabulary that the level does not allow.

    given: `vocab_size` and `min_count`, if they are given
    """
    size, min_count = given.get("vocab_size"), given.get("min_count")
    if text.level in ("byte", "subword") and min_count not in (None, 1):
        raise UsageError(f"--min-count with --level {text.level}", hint="leave it out: no token is left out")
    if text.level == "byte" and size is not None:
        raise UsageError("--vocab-size with --level byte", hint="leave it out: the tokens are the 256 bytes")
    if text.level == "subword" and size is not None and size < FEWEST_PIECES:
        raise UsageError(
            f"--vocab-size {size} is too small", hint=f"give {FEWEST_PIECES} or more: 256 pieces are bytes"
        )
    if text.piece_model and size is not None:
        raise UsageError("--vocab-size with given pieces", hint="leave it out: the pieces are not learned")

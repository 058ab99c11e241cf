"""What all configurations share: checks of single fields, and their form in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar, Self

from charlm.errors import UsageError

# Of any one dimension. A larger number is a typing error or a damaged file.
LARGEST_SIZE = 1 << 20


def one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise UsageError unless `value` is one of `choices`; name: how a message calls it."""
    if value not in choices:
        raise UsageError(f"{name} is {value!r}", hint=f"choose one of: {', '.join(choices)}")


def whole(name: str, value: object, low: int, high: int = LARGEST_SIZE) -> None:
    """Raise UsageError unless `value` is a whole number from `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{name} is {value!r}", hint=f"give a whole number from {low} to {high}")


def flag(name: str, value: object) -> None:
    """Raise UsageError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}", hint="give True or False")


def number(name: str, value: object, low: float, high: float, *, open_low: bool = False) -> None:
    """Raise UsageError unless `value` is a number from `low` to `high`; with `open_low`, above `low`."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    # A comparison with NaN is false.
    if not fits or (open_low and value == low):
        above = "above" if open_low else "from"
        raise UsageError(f"{name} is {value!r}", hint=f"give a number {above} {low:g} to {high:g}")


class Record:
    """A configuration that can be written to JSON and read back.

    added: the fields that files of the first release lack
    """

    added: ClassVar[tuple[str, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    def stored(self) -> dict[str, Any]:
        """Return the fields for a model file: a field of `added` only if it differs from its default.

        So a file that needs no newer charlm opens in an older one.
        """
        fields = self.to_dict().items()
        return {name: value for name, value in fields if name not in self.added or value != getattr(type(self), name)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the configuration of these fields; raise UsageError for unknown, missing or invalid ones."""
        known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        if unknown := sorted(set(values) - known):
            raise UsageError(f"unknown configuration field {unknown[0]!r}")
        lists_as_tuples = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        try:
            return cls(**lists_as_tuples)
        except TypeError as error:
            raise UsageError(f"incomplete configuration: {error}") from error

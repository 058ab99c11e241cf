"""Which cases a test tries, and what it says of those that fail.

A case is a function of its number. A failure names it, and `FUZZ_FIRST=number` with the test's name tries it again;
`FUZZ_COUNT=count` tries so many from there, and `FUZZ_COMMAND=train` draws lines of one command alone.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable

import pytest

from tests.fuzz.known import KNOWN

PARTS = 4  # of each fuzzer, so that several processes share the work
_SHOWN = 12  # failures at most


class Failed(AssertionError):
    """A property that does not hold."""


def numbers(part: int, count: int) -> range:
    """Return the numbers of the cases that one of `PARTS` parts tries, of `count` in all."""
    first = os.environ.get("FUZZ_FIRST")
    begin = int(first or 0)
    count = int(os.environ.get("FUZZ_COUNT", count if first is None else 1))
    return range(begin + part, begin + count, PARTS)


def check_all(cases: Iterable[int], check: Callable[[int], None], again: str, record: Callable[..., None]) -> None:
    """Call `check` with the number of each case, and fail with all that it raises, but for what is known.

    again: the test that repeats a case; record: pytest's `record_property`, which is told how many were tried
    """
    tried, known, failures = 0, 0, []
    for number in cases:
        tried += 1
        try:
            check(number)
        except Exception as error:
            notes = "\n".join(getattr(error, "__notes__", ()))
            said = f"{error}\n{notes}" if isinstance(error, Failed) else traceback.format_exc()
            if any(one.matches(said) for one in KNOWN):
                known += 1
            else:
                failures.append(f"FUZZ_FIRST={number} pytest {again}\n{said}")
    record("tried", tried)
    record("known", known)
    if failures:
        more = f"\n\n... and {len(failures) - _SHOWN} more" if len(failures) > _SHOWN else ""
        pytest.fail(f"{len(failures)} of {tried} cases:\n\n" + "\n\n".join(failures[:_SHOWN]) + more, pytrace=False)

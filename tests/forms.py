"""The two forms of the tests: `make test` is the short one, `make test-all` (`pytest --all`) the long one.

The short form looks at the same behaviour, with fewer examples of each. What cannot be made short is marked `slow`.
"""

from __future__ import annotations

from hypothesis import settings

is_long = False  # set before the tests are collected


def times(short: int, long: int) -> int:
    """Return how often to do a thing in the form that was asked for."""
    return long if is_long else short


def properties(short: int, long: int) -> settings:
    """Return the settings of a property that is held against so many examples, the same ones each time."""
    return settings(max_examples=times(short, long), deadline=None, derandomize=True, database=None)

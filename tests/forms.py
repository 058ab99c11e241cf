"""The two forms of the tests: `make test` is the short one, `make test-all` (`pytest --all`) the long one.

The short form looks at the same behaviour, with fewer examples of each. What cannot be made short is marked `slow`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import settings

is_long = False  # set before the tests are collected


def times(short: int, long: int) -> int:
    """Return how often to do a thing in the form that was asked for."""
    return long if is_long else short


def properties(short: int, long: int) -> settings:
    """Return the settings of a property that is held against so many examples, the same ones each time."""
    return settings(max_examples=times(short, long), deadline=None, derandomize=True, database=None)


def each(
    names: str, cases: Iterable[Any], *, thinned: int = 1, in_long: int = 1
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test with each case in turn, as one test.

    thinned, in_long: in the short and in the long form, with one case in so many

    As `parametrize`, which takes milliseconds for a case: longer than small cases take. The fixtures are made once for
    all of them. A failure names its case.
    """
    parameters, all_cases = names.replace(",", " ").split(), list(cases)

    def decorated(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def with_each(*args: Any, **fixtures: Any) -> None:
            for case in all_cases[:: times(thinned, in_long)]:
                values = dict(zip(parameters, case if len(parameters) > 1 else (case,), strict=True))
                try:
                    test(*args, **fixtures, **values)
                except Exception as error:
                    error.add_note(f"with {values}")
                    raise

        signature = inspect.signature(test)
        others = [one for name, one in signature.parameters.items() if name not in parameters]
        assert len(others) + len(parameters) == len(signature.parameters), f"the test takes other names than {names}"
        with_each.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
        return with_each

    return decorated

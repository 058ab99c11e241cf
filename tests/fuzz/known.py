"""Faults that the fuzzers have found and that are not mended yet: this table is to be empty.

A failure that a pattern is found in counts as known. Whoever mends a fault takes its row out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """A fault: what it is, who mends it, and a regular expression for what the fuzzer says of it."""

    fault: str
    owner: str
    pattern: str

    def matches(self, said: str) -> bool:
        """Tell whether this is what a failure says."""
        return re.search(self.pattern, said, re.DOTALL) is not None


KNOWN: tuple[Known, ...] = ()

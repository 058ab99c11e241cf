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


KNOWN: tuple[Known, ...] = (
    Known(
        "F2: models whose outputs are not finite are used", "training", "not finite (are|is) used|that is not finite:"
    ),
    Known("F1: an output that is a FIFO is replaced by a file", "outputs", "an output that is no file was replaced"),
    Known("F14: inspect a a prints one record", "scoring", r"charlm inspect .*\n\d records, not \d"),
    Known("F10: -o '' and -o . are internal errors", "outputs", r"PosixPath\(.{1,2}\..{1,2}\) has an empty name"),
    Known("F10: names of more than 238 bytes are internal errors", "outputs", r"internal error: OSError: \[Errno 36\]"),
    Known(
        "F14: predict --columns --format tsv has empty rows",
        "tasks",
        r"a row of fewer fields than b'text\\tprediction\\tprob'",
    ),
    Known(
        "score and predict write the text of a TSV as it came, with its tabs",
        "the issue on tables (quote_at_start.txt)",
        r"a row of more fields than b'(pseudo_)?(log10p|log2p|lnp|prediction)\\t",
    ),
)

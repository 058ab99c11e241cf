"""Warnings about a corpus with columns that can be read but looks wrong, one sentence each."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from charlm.text.reader import CorpusReader

_FEW = 10  # records: fewer are not enough to judge how often labels occur
_LABELS = {"label", "labels", "class", "category", "tag", "tags", "genre", "target"}  # names of columns
COLUMN_NAMES = _LABELS | {"source", "src", "tgt", "trg", "text", "texts", "sentence", "token", "word", "name", "piece"}
COLUMN_NAMES |= {"input", "output", "translation", "english", "spanish", "french", "german", "en", "es", "fr", "de"}
_SHOWN = 40  # characters of a column
_LOOKED_AT = 100  # lines that decide what the input looks like


def doubts_about_labels(
    labels: Sequence[str], others: Sequence[Any], names: tuple[str, str], *, label_last: bool = False
) -> list[str]:
    """Return a warning for each thing that looks wrong with records of a label and something else.

    others: hashable; names: of a label and of something else, e.g. ("label", "text")
    label_last: whether the label is the second column
    """
    counts = Counter(labels)
    expected = " TAB ".join(names[::-1] if label_last else names)
    doubts = [
        _swapped(len(counts), len(set(others)), len(labels), names, expected),
        _alike(counts, names[0]),
        _header(labels[0], str(others[0]), counts, label_last) if labels else "",
    ]
    return [doubt for doubt in doubts if doubt]


def doubts_about_pairs(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return a warning if the first pair of a corpus of translations looks like a header."""
    first = [side.strip().casefold() for side in pairs[0]] if pairs else []
    named = len(set(first)) == 2 and COLUMN_NAMES.issuperset(first)
    return [_header_found(*pairs[0])] if named else []


def _swapped(labels: int, others: int, records: int, names: tuple[str, str], expected: str) -> str:
    label, other = names
    if records < _FEW or not (labels > records / 2 or labels > 2 * others):
        return ""
    found = f"{labels:,} {label}s for {records:,} {other}s"
    if labels > others:
        return f"{found}, and {others:,} different {other}s: the columns look swapped, {expected} is expected"
    return f"{found}: most occur once, so that nothing is learned of what they have in common"


def _alike(counts: Collection[str], name: str) -> str:
    groups = defaultdict(list)
    for label in sorted(counts):
        groups[unicodedata.normalize("NFC", "".join(label.split()).casefold())].append(label)
    alike = [group for group in groups.values() if len(group) > 1]
    if not alike:
        return ""
    shown = " and ".join(repr(label[:_SHOWN]) for label in alike[0])
    more = f" (and {len(alike) - 1:,} further groups)" if len(alike) > 1 else ""
    return f"the {name}s {shown} differ only in spaces, case or Unicode form, and count as different{more}"


def _header(label: str, other: str, counts: Counter[str], label_last: bool) -> str:
    """Return a warning if the first record looks like a header, else the empty string.

    The label of a header occurs once, and is the name of a column or the only rare label. In a small corpus a rare
    label does not make a header.
    """
    if counts[label] > 1 or len(counts) < 2:
        return ""
    a_name = label.strip().casefold() in _LABELS or {label.strip().casefold(), other.strip().casefold()} <= COLUMN_NAMES
    others_are_frequent = all(count >= _FEW for one, count in counts.items() if one != label)
    columns = (other, label) if label_last else (label, other)
    return _header_found(*columns) if a_name or others_are_frequent else ""


def _header_found(first: str, second: str) -> str:
    columns = f"{first[:_SHOWN]!r} TAB {second[:_SHOWN]!r}"
    return f"the first record looks like a header, {columns}: delete it if it is one"


def watched(
    lines: Iterable[str], reader: CorpusReader, labels: Collection[str], warn: Callable[[str], None]
) -> Iterator[str]:
    """Yield lines to predict from; call `warn` once if they look like a corpus, with the answers in it.

    This is decided after a hundred lines, or at the end. Nine lines in ten are enough, as texts contain no tabs.
    """
    known, seen, found = frozenset(labels), 0, 0
    for line in lines:
        yield line
        if seen < _LOOKED_AT and line.strip():
            seen += 1
            found += reader.has_answer(line, known)
            if seen == _LOOKED_AT and found >= 0.9 * seen:
                warn(reader.answers_warning)
    if 0 < seen < _LOOKED_AT and found >= 0.9 * seen:
        warn(reader.answers_warning)

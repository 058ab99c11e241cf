"""The oddest lines of a text, and lines that are odd beside those read before."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from charlm.errors import UsageError
from charlm.inference.masks import masked
from charlm.inference.measures import DEFAULT, measure_of
from charlm.inference.runs import Run, odd_runs
from charlm.inference.scoring import Score, Scorer
from charlm.language_model import LanguageModel

Item = TypeVar("Item")

REMEMBERED = 10_000  # lines from which a threshold is learned
_FEWEST = 100  # lines before which no line is odd
# The threshold is so many times as far above the median as the value that one line in so many exceeds.
_TIMES = ((100, 2.0), (20, 4.0))
_LEAST = 1.1  # times the median: equal lines in different batches differ in the last digits


@dataclass(frozen=True)
class Ranked:
    """A line among the oddest.

    rank: from 1
    number: of the line in the input, from 1
    text: as it came
    value: by the measure that ranks
    score: of the line as the model read it, with its masks
    runs: the odd parts of `text`
    """

    rank: int
    number: int
    text: str
    value: float
    score: Score
    runs: list[Run]


@dataclass(frozen=True)
class Measured:
    """A line and how odd it is.

    text: as it came, without the label that a conditioned model reads
    value: NaN for a line that has no characters or no tokens
    score: of the line as the model read it, with its masks
    """

    text: str
    value: float
    score: Score


class Measurer:
    """Scores lines, with what varies in them masked.

    by: name of the measure, as in `charlm.inference.measures`
    masks: names of what is masked, as in `charlm.inference.masks`
    batch_size, window: as for a `Scorer`
    """

    def __init__(
        self,
        language_model: LanguageModel,
        *,
        by: str = DEFAULT,
        masks: Collection[str] = (),
        batch_size: int = 64,
        window: int | None = None,
    ) -> None:
        self._language_model, self._value = language_model, measure_of(by).of
        self._masks = tuple(masks)
        self._texts: deque[str] = deque()
        self._scorer = Scorer(language_model, batch_size=batch_size, window=window, prepare=self._prepared)
        masked("", self._masks)

    def measure(self, lines: Iterable[str]) -> Iterator[Measured]:
        """Yield each line with how odd it is, in order; memory does not grow with their number."""
        for score in self._scorer.score(lines):
            yield Measured(self._texts.popleft(), self._value(score), score)

    def runs(self, line: Measured) -> list[Run]:
        """Return the odd parts of a line's text."""
        return odd_runs(self._language_model, line.score)

    def _prepared(self, text: str) -> str:
        self._texts.append(text)
        return masked(text, self._masks)


class Oddest(Generic[Item]):
    """The items with the highest values, or with the lowest; of equal ones those that came first.

    count: number of items that are kept
    """

    def __init__(self, count: int, *, lowest: bool = False) -> None:
        self._count, self._sign = count, -1.0 if lowest else 1.0
        self._heap: list[tuple[float, int, Item]] = []
        self._added = 0

    def add(self, value: float, item: Item) -> None:
        """Add an item, or leave it out; NaN has no place in the order and is left out."""
        self._added += 1
        # No two entries are equal before their items, so items are never compared.
        entry = (self._sign * value, -self._added, item)
        if math.isnan(value):
            return
        if len(self._heap) < self._count:
            heapq.heappush(self._heap, entry)
        elif self._heap and entry[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, entry)

    def in_order(self) -> list[Item]:
        """Return the items, the oddest first."""
        return [item for _, _, item in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


class LearnedThreshold:
    """A value that odd lines exceed, learned from the last 10,000 lines.

    With the median m of their values, and the values q and r that one line in 100 and one in 20 exceed, it is

        m + min(2 (q - m), 4 (r - m)),   but at least 1.1 m

    A few odd lines do not move it, even if they are more than one of the first few hundred. What becomes common is not
    odd any more. Below 100 lines no value is above it.
    """

    def __init__(self) -> None:
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []

    @property
    def value(self) -> float:
        """The present threshold; infinity below 100 lines."""
        count = len(self._sorted)
        if count < _FEWEST:
            return math.inf
        median = self._sorted[count // 2]
        above = (times * (self._sorted[count - 1 - count // one_in] - median) for one_in, times in _TIMES)
        return max(median + min(above), _LEAST * median)

    @property
    def lines(self) -> int:
        """The number of lines that it is learned from."""
        return len(self._sorted)

    def add(self, value: float) -> bool:
        """Return whether a value is above the threshold, and learn from it; NaN is not, and teaches nothing."""
        if math.isnan(value):
            return False
        is_above = value > self.value
        if len(self._recent) == REMEMBERED:
            del self._sorted[bisect_left(self._sorted, self._recent.popleft())]
        self._recent.append(value)
        insort(self._sorted, value)
        return is_above


class FixedThreshold:
    """A value that odd lines exceed."""

    def __init__(self, value: float) -> None:
        self.value = value

    def add(self, value: float) -> bool:
        """Return whether a value is above the threshold."""
        return value > self.value


def rank(
    language_model: LanguageModel,
    lines: Iterable[str],
    *,
    count: int = 20,
    by: str = DEFAULT,
    likeliest: bool = False,
    above: float | None = None,
    masks: Collection[str] = (),
    batch_size: int = 64,
) -> list[Ranked]:
    """Return the oddest lines, the oddest first, with their odd runs; equal ones stay in the order of the lines.

    Memory grows with `count`, not with the number of lines.

    lines: of a conditioned model: label TAB text
    count: number of lines at most
    by: bits-per-char, bits or perplexity
    likeliest: return the likeliest lines in place of the oddest
    above: leave out lines that are not above this value
    masks: what is masked before a line is scored: digits, hex
    Raises UsageError for an unknown measure or mask, or a count below 1; CorpusError for a line without a label.
    """
    if count < 1:
        raise UsageError(f"{count} lines to rank", hint="ask for at least one")
    measurer = Measurer(language_model, by=by, masks=masks, batch_size=batch_size)
    oddest = Oddest[tuple[int, Measured]](count, lowest=likeliest)
    for number, line in enumerate(measurer.measure(lines), start=1):
        if above is None or line.value > above:
            oddest.add(line.value, (number, line))
    return [
        Ranked(place, number, line.text, line.value, line.score, measurer.runs(line))
        for place, (number, line) in enumerate(oddest.in_order(), start=1)
    ]

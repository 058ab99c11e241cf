"""Lines that stay or go by how odd they are to a model, or to one model more than to another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import tee

import numpy as np

from charlm.errors import CorpusError, UsageError
from charlm.inference.measures import DEFAULT, measure_of
from charlm.inference.scoring import Scorer
from charlm.language_model import LanguageModel
from charlm.text.lines.reading import Located, numbered


@dataclass(frozen=True)
class FilteredLine:
    """A line that stays.

    number: of the line in the input, from 1
    value: its measure, or the difference of two models
    """

    number: int
    text: str
    value: float


@dataclass(frozen=True)
class Limit:
    """What the value of a line that stays is: below the limit, above it, or at most the limit.

    A line without a value - NaN, for a cloze model and an empty line - never stays.
    """

    kind: str
    value: float

    def stays(self, value: float) -> bool:
        """Return whether a line with this value stays."""
        if self.kind == "above":
            return value > self.value
        return value < self.value if self.kind == "below" else value <= self.value


@dataclass(frozen=True)
class Rule:
    """Which lines stay; exactly one of these is given.

    below, above: those whose value is below or above this number
    top: those with the lowest values: "P%" of all lines, rounded up, or their number
    percentile: those whose value is at most this percentile of the values of a clean text
    has_clean: whether there is a clean text
    Raises UsageError for an invalid rule.
    """

    below: float | None = None
    above: float | None = None
    top: str | int | None = None
    percentile: float | None = None
    has_clean: bool = False

    def __post_init__(self) -> None:
        given = [name for name in ("top", "below", "above", "percentile") if getattr(self, name) is not None]
        if len(given) != 1:
            what = "--" + " with --".join(given[:2]) if given else "no rule says which lines stay"
            raise UsageError(what, hint="give one of --top P%, --below X, --above X, --percentile P")
        for name, value in (("below", self.below), ("above", self.above)):
            if value is not None and math.isnan(value):
                raise UsageError(f"--{name} is not a number", hint=f"give a number: --{name} 2.5")
        if self.percentile is not None and not 0.0 <= self.percentile <= 100.0:
            raise UsageError(f"--percentile is {self.percentile:g}", hint="give a number from 0 to 100")
        if self.has_clean != (self.percentile is not None):
            what = "--of without --percentile" if self.has_clean else "--percentile without --of"
            raise UsageError(what, hint="give both: --percentile 95 --of CLEAN")
        self.count(0)

    def count(self, lines: int) -> int:
        """Return how many of so many lines are the top; 0 without `top`."""
        text = "0" if self.top is None else str(self.top)
        is_share = text.endswith("%")
        try:
            # Not a float: 0.1 % of 1,000 would be 1.0000000000000002 and so, rounded up, two.
            amount = Fraction(text.removesuffix("%"))
        except (ValueError, ZeroDivisionError):
            amount = Fraction(-1)
        if amount < 0 or (is_share and amount > 100) or (not is_share and amount.denominator != 1):
            raise UsageError(f"--top is {text!r}", hint="give a share of the lines, --top 20%, or a number, --top 1000")
        return min(lines, math.ceil(amount * lines / 100) if is_share else int(amount))

    def limit(self, clean: Iterable[float]) -> Limit | None:
        """Return the limit; None for `top`, whose limit follows from all lines.

        clean: the values of the lines of the clean text, read only for `percentile`
        Raises CorpusError if the clean text has no value.
        """
        if self.top is not None:
            return None
        if self.below is not None:
            return Limit("below", self.below)
        if self.above is not None:
            return Limit("above", self.above)
        assert self.percentile is not None
        values = np.fromiter((value for value in clean if not math.isnan(value)), np.float64)
        if not values.size:
            raise CorpusError("the clean text has no lines to score", hint="name a file with at least one line")
        return Limit("at most", float(np.percentile(values, self.percentile)))


def values_of(
    model: LanguageModel,
    lines: Iterable[str],
    *,
    minus: LanguageModel | None = None,
    by: str = DEFAULT,
    batch_size: int = 64,
    window: int | None = None,
) -> Iterator[float]:
    """Return an iterator over the value of each line, in order; memory does not grow with their number.

    With a second model the value is the difference of both. In bits a character that is the cross-entropy difference
    H_I(s) - H_N(s). I is the wanted text, N the text to choose from. Lines with the lowest difference are the likeliest
    to be of I. Source: Moore and Lewis 2010, Intelligent Selection of Language Model Training Data.

    minus: the second model
    by: a name of `MEASURES`
    batch_size, window: as for `Scorer`
    Raises UsageError for an unknown measure, and for models that cannot be compared.
    """
    measure = measure_of(by)
    scorer = Scorer(model, batch_size=batch_size, window=window)
    if minus is None:
        return (measure.of(score) for score in scorer.score(lines))
    _check(model, minus, by)
    # The copy for the second model holds the lines of one window.
    first, second = map(_Copy, tee(numbered(lines)))
    other = Scorer(minus, batch_size=batch_size, window=window)
    both = zip(scorer.score(first), other.score(second), strict=True)
    return (measure.of(score) - measure.of(subtracted) for score, subtracted in both)


class _Copy(Located):
    """A copy of an iterator over lines, which still knows the place of each."""

    def __init__(self, lines: Iterator[tuple[str, str]]) -> None:
        self._lines, self._place = lines, ""

    def __next__(self) -> str:
        line, self._place = next(self._lines)
        return line

    @property
    def place(self) -> str:
        return self._place


def _check(model: LanguageModel, minus: LanguageModel, by: str) -> None:
    """Raise UsageError for two models whose values cannot be subtracted."""
    if by == "perplexity":
        raise UsageError(
            "--minus with --by perplexity", hint="cross-entropies are subtracted: use --by bits-per-char or bits"
        )
    if model.facts.is_cloze != minus.facts.is_cloze:
        raise UsageError(
            "--minus with a cloze model and one that is not", hint="a cloze model's figures are pseudo-probabilities"
        )
    if model.is_conditioned != minus.is_conditioned:
        raise UsageError(
            "--minus with one model trained with --condition and one without",
            hint="train both on the same kind of text",
        )


def differing_words(model: LanguageModel, minus: LanguageModel) -> bool:
    """Return whether two models of words have other vocabularies, so that `<UNK>` stands for other words in each."""
    one, other = (each.tokenizer.vocabulary for each in (model, minus))
    return "word" in (model.text.level, minus.text.level) and set(one.tokens) != set(other.tokens)


class Filter:
    """Decides which lines stay, and counts them.

    limit: of the values; None until all lines were read, for `Rule.top`
    lines, kept: number of lines, and of those that stay
    lowest, highest: of the values; infinity and its negative before the first one
    """

    def __init__(self, rule: Rule, limit: Limit | None) -> None:
        """Make a filter; limit: what `rule.limit` returned."""
        self._rule, self.limit = rule, limit
        self.lines = self.kept = 0
        self.lowest, self.highest = math.inf, -math.inf

    def decisions(self, values: Iterable[float]) -> Iterator[tuple[float, bool]]:
        """Yield each value and whether its line stays.

        Memory does not grow with the number of lines, except for `Rule.top`: eight bytes for each, and as many more
        while the limit is found. All values are then read before the first decision.
        """
        if self._rule.top is None:
            assert self.limit is not None
            decided = ((value, self.limit.stays(value)) for value in values)
        else:
            everything = np.fromiter(values, np.float64)
            stays, self.limit = best(everything, self._rule.count(everything.size))
            decided = ((float(value), bool(is_kept)) for value, is_kept in zip(everything, stays, strict=True))
        for value, is_kept in decided:
            self.lines += 1
            self.kept += is_kept
            # Both are false for NaN.
            self.lowest = value if value < self.lowest else self.lowest
            self.highest = value if value > self.highest else self.highest
            yield value, is_kept


def best(values: np.ndarray, count: int) -> tuple[np.ndarray, Limit]:
    """Return which lines have the lowest values, [lines] bool, at most `count`, and the limit of their values.

    Of equal values at the limit the first stay. A line without a value never stays. The limit of no lines is NaN.
    """
    count = min(count, int(np.count_nonzero(~np.isnan(values))))
    if not count:
        return np.zeros(values.size, bool), Limit("at most", math.nan)
    # NaN is sorted to the end.
    limit = float(np.partition(values, count - 1)[count - 1])
    stays = values < limit
    ties = np.flatnonzero(values == limit)
    stays[ties[: count - int(np.count_nonzero(stays))]] = True
    return stays, Limit("at most", limit)


def filter_lines(
    model: LanguageModel,
    lines: Iterable[str],
    rule: Rule,
    *,
    of: Iterable[str] = (),
    minus: LanguageModel | None = None,
    by: str = DEFAULT,
    reverse: bool = False,
) -> Iterator[FilteredLine]:
    """Return an iterator over the lines that stay, in order.

    For `Rule.top` all lines are in memory.

    of: the clean text of `Rule.percentile`
    minus, by: as for `values_of`
    reverse: yield the lines that do not stay
    """
    texts, again = tee(lines)
    found = values_of(model, texts, minus=minus, by=by)
    clean = values_of(model, of, minus=minus, by=by)

    def kept() -> Iterator[FilteredLine]:
        decisions = Filter(rule, rule.limit(clean)).decisions(found)
        for number, ((value, stays), text) in enumerate(zip(decisions, again, strict=False), start=1):
            if stays != reverse:
                yield FilteredLine(number, text, value)

    return kept()

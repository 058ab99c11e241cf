"""The weights of a log-linear model that give a set of n-best lists the fewest errors.

A hypothesis with score s, log-probability l and w words has the total

    s + lm_weight l + word_bonus w

and of each list the hypothesis with the largest total is chosen. The errors of those chosen are constant in pieces of
the plane of the weights, so there is no gradient. Along a line each total is linear, and those chosen are the upper
envelope of lines. Its corners are computed, so the search along a line is exact (Och 2003, Minimum Error Rate Training
in Statistical Machine Translation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

_LINES = 64  # lines of the first scan, or more if the lists are small
_EFFORT = 1 << 19
_KEPT = 16  # points of the scan that are moved to the middle of their region
_ROUNDS = 8
_SLACKS = (0.1, 0.001, 0.0)  # by how much of the room around it a weight may be moved to a rounder number


@dataclass(frozen=True)
class NBest:
    """N-best lists as arrays [lists, longest list]; the scores are -inf behind the end of a list.

    scores, lnps, words: s, l and w of each hypothesis
    errors: what it costs to choose each hypothesis
    """

    scores: np.ndarray
    lnps: np.ndarray
    words: np.ndarray
    errors: np.ndarray

    @classmethod
    def of(cls, lists: Sequence[Sequence[tuple[float, float, float, int]]]) -> NBest:
        """Return lists of hypotheses (s, l, w, errors), at least one a list."""
        longest = max(map(len, lists), default=0)
        arrays = np.zeros((4, len(lists), longest))
        arrays[0] = -np.inf
        for at, one in enumerate(lists):
            arrays[:, at, : len(one)] = np.array(one).T
        return cls(*arrays)

    def errors_with(self, lm_weight: float, word_bonus: float) -> int:
        """Return the errors of the hypotheses chosen by two weights; of equal totals the first is chosen."""
        totals = self.scores + lm_weight * self.lnps + word_bonus * self.words
        return int(np.take_along_axis(self.errors, totals.argmax(1)[:, None], 1).sum())


@dataclass(frozen=True)
class Piece:
    """A part of a line within which the errors are the same; it may end at infinity."""

    low: float
    high: float
    errors: int


def corners(
    intercepts: np.ndarray, slopes: np.ndarray, errors: np.ndarray, low: float
) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the errors at t = low on the line of totals `intercepts + t slopes`, and how they change behind it.

    The changes are two arrays [N]: places, in any order, and by how much the errors grow there.

    intercepts, slopes, errors [lists, hypotheses]: of each hypothesis; an intercept of -inf is never chosen
    """
    values = intercepts + low * slopes
    chosen = _steepest(values >= values.max(1, keepdims=True), slopes)
    rows = np.arange(len(chosen))
    base = int(errors[rows, chosen].sum())
    places, changes = [np.empty(0)], [np.empty(0)]
    reached = np.full(len(chosen), low)
    while rows.size:
        a, b, of_each, here = intercepts[rows], slopes[rows], errors[rows], np.arange(rows.size)
        rise = b - b[here, chosen][:, None]
        drop = a[here, chosen][:, None] - a
        crossings = np.divide(drop, rise, out=np.full(rise.shape, np.inf), where=rise > 0.0)
        nearest = crossings.min(1)
        following = _steepest(crossings <= nearest[:, None], b)
        go_on = nearest < np.inf
        # Rounding must not put a corner before the one that led to it.
        reached = np.maximum(reached, nearest)[go_on]
        places.append(reached)
        changes.append((of_each[here, following] - of_each[here, chosen])[go_on])
        rows, chosen = rows[go_on], following[go_on]
    return base, np.concatenate(places), np.concatenate(changes)


def _steepest(allowed: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Return the first of the steepest among the allowed hypotheses of each list."""
    return np.asarray(np.where(allowed, slopes, -np.inf).argmax(1))


def pieces(intercepts: np.ndarray, slopes: np.ndarray, errors: np.ndarray, low: float) -> list[Piece]:
    """Return the pieces of a line from t = low to infinity; the arguments are those of `corners`."""
    errors_now, unsorted, changes = corners(intercepts, slopes, errors, low)
    places, which = np.unique(unsorted, return_inverse=True)
    growth = np.bincount(which, changes, places.size)
    found, start = [], low
    for place, change in zip(places.tolist(), growth.tolist(), strict=True):
        if change and place > start:
            found.append(Piece(start, place, errors_now))
            start = place
        errors_now += round(change)
    return [*found, Piece(start, math.inf, errors_now)]


@dataclass(frozen=True)
class _Point:
    """Weights in the plane of the search, their errors, and the size of the region around them with as few."""

    lm_weight: float
    bonus: float
    errors: int
    size: float = 0.0

    @property
    def rank(self) -> tuple[int, float]:
        return (self.errors, -self.size)


class WeightSearch:
    """Finds the weights with the fewest errors, in the middle of their region, where they suit other lists best.

    A longer text is less likely, so the two weights have to grow together. With c nats a word, the search therefore
    goes along other axes of the same plane:

        lm_weight (l + c w) + bonus w,   bonus = word_bonus - c lm_weight
    """

    def __init__(self, lists: NBest) -> None:
        self._lists = lists
        valid = lists.scores > -np.inf
        words, lnps = _centred(lists.words, valid), _centred(lists.lnps, valid)
        squares = float((words**2).sum())
        self._nats_per_word = -float((words * lnps).sum()) / squares if squares else 0.0
        self._lnps = lists.lnps + self._nats_per_word * lists.words
        # The scales against which the size of a region is measured.
        rest = lnps + self._nats_per_word * words
        self._deviation = math.sqrt(float((rest**2).sum()) / valid.sum()) or 1.0
        _, places, _ = corners(lists.scores, self._lnps, lists.errors, 0.0)
        self._corners = np.unique(places[places > 0.0])
        self._typical = float(np.median(self._corners)) if self._corners.size else 1.0

    def best(self) -> tuple[float, float]:
        """Return (lm_weight, word_bonus), with lm_weight >= 0; the same ones for the same lists."""
        lines = max(_LINES, min(4 * _LINES, _EFFORT // self._lists.scores.size))
        bounds = [0.0, *self._corners[:: max(1, self._corners.size // lines)].tolist()]
        low, high = np.quantile(self._corners, (0.1, 0.9)) if self._corners.size else (1.0, 1.0)
        scanned = [
            0.0,
            *((a + b) / 2.0 for a, b in pairwise(bounds)),
            *np.geomspace(max(low, 1e-3 * high) / 4.0, high * 4.0, _LINES),
        ]
        points = [self._on_line(float(lm_weight)) for lm_weight in scanned]
        for _ in range(2):
            center = min(points, key=lambda point: point.rank).lm_weight
            points += [self._on_line(center * factor) for factor in np.geomspace(0.5, 2.0, _LINES // 2).tolist()]
        points = sorted(points, key=lambda point: point.rank)[:_KEPT]
        return self._rounded(min((self._in_the_middle(point) for point in points), key=lambda point: point.rank))

    def _lm_line(self, bonus: float) -> list[Piece]:
        lists = self._lists
        return pieces(lists.scores + bonus * lists.words, self._lnps, lists.errors, 0.0)

    def _bonus_line(self, lm_weight: float) -> list[Piece]:
        lists = self._lists
        totals = lists.scores + lm_weight * self._lnps
        # Numbers of words differ by one at least, so no corner is farther from 0 than totals differ.
        valid = np.where(totals > -np.inf, totals, totals.max(1, keepdims=True))
        return pieces(totals, lists.words, lists.errors, -float(np.ptp(valid, axis=1).max()) - 1.0)

    def _on_line(self, lm_weight: float) -> _Point:
        """Return the middle of the widest of the best pieces for an lm_weight."""
        line = self._bonus_line(lm_weight)
        return self._in_piece(lm_weight, line, _best_piece(line))

    def _in_piece(self, lm_weight: float, line: list[Piece], piece: Piece) -> _Point:
        """Return the middle of a piece of a line of the bonus; a piece that does not end is used near its start."""
        width = 2.0 * (lm_weight + self._typical) * self._deviation
        low = piece.low if piece is not line[0] else -math.inf
        if low == -math.inf:
            low = piece.high - width if piece.high < math.inf else -width / 2.0
        high = min(piece.high, low + width) if piece.high == math.inf else piece.high
        return _Point(lm_weight, (low + high) / 2.0, piece.errors, min(1.0, (high - low) / width))

    def _in_the_middle(self, point: _Point) -> _Point:
        """Return the middle of a point's region, or of a better one that lies on a line through it."""
        point = replace(point, size=0.0)
        for _ in range(_ROUNDS):
            piece = _piece_at(point.lm_weight, self._lm_line(point.bonus))
            high = piece.high if piece.high < math.inf else 2.0 * piece.low + self._typical
            lm_weight = math.sqrt(piece.low * high) if piece.low else high / 2.0
            line = self._bonus_line(lm_weight)
            moved = self._in_piece(lm_weight, line, _piece_at(point.bonus, line))
            share = (high - piece.low) / (high + piece.low + self._typical)
            before, point = point, replace(moved, size=moved.size * share)
            if point.errors == before.errors and point.size < 1.01 * before.size:
                break
        return point

    def _rounded(self, point: _Point) -> tuple[float, float]:
        """Return weights near a point, with as few errors and with few digits."""
        lists, slope = self._lists, self._nats_per_word
        line = pieces(
            lists.scores + (point.bonus + slope * point.lm_weight) * lists.words, lists.lnps, lists.errors, 0.0
        )
        piece = _piece_at(point.lm_weight, line)
        room = min(point.lm_weight - piece.low, piece.high - point.lm_weight, point.lm_weight)
        for slack in _SLACKS:
            lm_weight = _rounder(point.lm_weight, slack * room)
            bonus_line = self._bonus_line(lm_weight)
            bonus = point.bonus + slope * (point.lm_weight - lm_weight)
            moved = self._in_piece(lm_weight, bonus_line, _piece_at(bonus, bonus_line))
            scale = 2.0 * (lm_weight + self._typical) * self._deviation
            word_bonus = _rounder(moved.bonus + slope * lm_weight, slack * moved.size * scale / 2.0)
            if lists.errors_with(lm_weight, word_bonus) <= point.errors:
                break
        return lm_weight, word_bonus


def _centred(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return values less their means over the lists, 0 behind the end of a list."""
    means = (values * valid).sum(1, keepdims=True) / valid.sum(1, keepdims=True)
    return np.where(valid, values - means, 0.0)


def _best_piece(line: list[Piece]) -> Piece:
    """Return the widest of the pieces with the fewest errors."""
    return min(line, key=lambda piece: (piece.errors, piece.low - piece.high))


def _piece_at(place: float, line: list[Piece]) -> Piece:
    """Return the piece with a place, or the best one if it has fewer errors."""
    here = next((piece for piece in line if piece.low <= place < piece.high), line[-1])
    best = _best_piece(line)
    return best if best.errors < here.errors else here


def _rounder(value: float, slack: float) -> float:
    """Return a number with as few decimals as possible, not farther from a value than the slack."""
    return next((number for digits in range(16) if abs((number := round(value, digits)) - value) <= slack), value)

"""Probabilities of n-gram models, with back-off."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from copy import copy
from itertools import pairwise

import numpy as np

from charlm.errors import ModelFileError
from charlm.storage.files import display_name
from charlm.text import UNK_ID, Splitter, Tokenizer
from charlm.text.arpa import NGrams, read_arpa
from charlm.text.lines.reading import windows
from charlm.text.tokens.closed import ClosedSplitter

_WINDOW = 2048  # lines whose tokens are looked up together
_LN10 = math.log(10.0)
_SMALLEST = 1e-100  # probability of a class
# Odd factors, the first two of splitmix64 (Steele et al. 2014).
_FACTORS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
_SHIFT = np.uint64(31)
_NO_HASH = np.iinfo(np.uint64).max


class NGramModel:
    """An n-gram model of an ARPA file, which reads each line from `<s>`.

    With h' for h without its first word, and with p and the back-off weight b of the file,

        P(w | h) = p(h, w) if the file has the n-gram h w, else b(h) P(w | h'),   b(h) = 1 if the file has no weight

    (Katz 1987, in the form of SRILM's ngram-format(5)). N-grams are found by hashes of 64 bits, as in KenLM. Among ten
    million n-grams, one lookup in 10^12 finds a wrong one.

    path: of the file; splitter: what splits lines into its tokens
    Raises ModelFileError as `read_arpa` does, and for an n-gram that occurs twice.
    """

    def __init__(self, path: str, splitter: Splitter) -> None:
        arpa = read_arpa(path, splitter)
        self.tokenizer = Tokenizer(splitter, arpa.vocabulary)
        # Such a splitter has ids of its own: that of the file for each of them.
        self._id_of: np.ndarray | None = None
        if isinstance(splitter, ClosedSplitter):
            ids = (arpa.vocabulary.ids.get(token, UNK_ID) for token in splitter.vocabulary.tokens)
            self._id_of = np.fromiter(ids, np.int32)
        self._begin = len(arpa.vocabulary)
        self._nothing, self._class = self._begin + 1, self._begin + 2
        self._weights: np.ndarray | None = None
        self._ngrams = arpa.ngrams
        self._tables = [_Table.of(ngrams) for ngrams in arpa.ngrams]
        names = (*arpa.vocabulary.tokens, "<s>")
        for table, ngrams in zip(self._tables, self._ngrams, strict=True):
            if (key := table.double) is not None:
                row = int(np.flatnonzero(_hashes(ngrams.words) == key)[0])
                words = " ".join(names[word] for word in ngrams.words[row].tolist())
                raise ModelFileError(f"the n-gram {words!r} occurs twice, {display_name(path)}", hint="remove one")

    def with_class(self, weights: np.ndarray) -> NGramModel:
        """Return the model with a class c of tokens, P(c | h) = sum_w weights[w] P(w | h), as a figure of `measured`.

        If the file has n-grams h w with words w of the class, then

            P(c | h) = sum over these of weights[w] (p(h, w) - b(h) P(w | h')) + b(h) P(c | h')

        else P(c | h) = b(h) P(c | h'). So the n-grams h c of these h are all that is added.

        weights [V]: of the tokens in the vocabulary, 0 outside the class
        """
        made = copy(self)
        made._tables, made._weights = [], np.append(weights, 0.0)
        for table, ngrams in zip(self._tables, self._ngrams, strict=True):
            chosen = made._weights[ngrams.words[:, -1]] > 0.0
            words, gains = ngrams.words[chosen], 10.0 ** ngrams.log10p[chosen].astype(np.float64)
            _, first, group = np.unique(_hashes(words[:, :-1]), return_index=True, return_inverse=True)
            with_class = words[first]
            with_class[:, -1] = self._class
            lower = np.zeros(len(first))
            if made._tables:
                backoff = made._tables[-1].backoff(words[:, :-1])
                gains -= 10.0 ** (backoff + made.log10p(words[:, 1:]))
                lower = 10.0 ** (backoff[first] + made.log10p(with_class[:, 1:]))
            sums = np.bincount(group, made._weights[words[:, -1]] * gains, len(first)) + lower
            # The digits of the file may make a small sum negative.
            log10p = np.log10(np.maximum(sums, _SMALLEST))
            made._tables.append(table.extended(NGrams(with_class, log10p, np.zeros(len(first)))))
        return made

    def log10p(self, words: np.ndarray) -> np.ndarray:
        """Return log10 P(last word | words before), float64 [N]; words [N, n], n at most the order."""
        found = self._tables[0].log10p(words[:, -1:], np.zeros(len(words)))
        for length in range(2, words.shape[1] + 1):
            ngrams = words[:, -length:]
            found = self._tables[length - 1].log10p(ngrams, self._tables[length - 2].backoff(ngrams[:, :-1]) + found)
        return found

    def measured(self, lines: Iterable[str]) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
        """Yield "", the text of each line, the ids [n] of its tokens and `<EOS>`, and -ln P of each [n].

        With a class there are two figures of each, [n, 2]. The second is -ln P of the class if the token is in it.
        """
        for window in windows(lines, _WINDOW, size=len):
            ids, offsets = self.tokenizer.encode_lines(window)
            if self._id_of is not None:
                ids = self._id_of[ids]
            figures = self._figures(ids, offsets)
            for line, (start, end) in zip(window, pairwise(offsets.tolist()), strict=True):
                yield "", line, ids[start:end], figures[start:end]

    def _figures(self, ids: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        order = len(self._tables)
        before = max(order - 1, 1)
        lines = np.arange(len(offsets) - 1)
        # In front of each line are places without a token, and <s>.
        places = np.arange(len(ids)) + before * np.repeat(lines + 1, np.diff(offsets))
        padded = np.full(len(ids) + before * len(lines), self._nothing, np.int32)
        padded[offsets[:-1] + before * (lines + 1) - 1] = self._begin
        padded[places] = ids
        ngrams = np.lib.stride_tricks.sliding_window_view(padded, order)[places - order + 1]
        nats = -_LN10 * self.log10p(ngrams) + 0.0
        if self._weights is None:
            return nats
        in_class = self._weights[ids] > 0.0
        ngrams = ngrams[in_class]
        ngrams[:, -1] = self._class
        of_class = nats.copy()
        of_class[in_class] = -_LN10 * self.log10p(ngrams) + 0.0
        return np.stack([nats, of_class], axis=1)


class _Table:
    """The n-grams of one length, sorted by their hashes; behind them is a key that no hash exceeds."""

    def __init__(self, keys: np.ndarray, log10p: np.ndarray, backoff: np.ndarray) -> None:
        order = np.argsort(keys, kind="stable")
        self._keys, self._log10p, self._backoff = keys[order], log10p[order], backoff[order]

    @classmethod
    def of(cls, ngrams: NGrams) -> _Table:
        """Return a table of n-grams."""
        none = np.zeros(1, np.float32)
        return cls(np.array([_NO_HASH], np.uint64), none, none).extended(ngrams)

    def extended(self, ngrams: NGrams) -> _Table:
        """Return a table with more n-grams."""
        return _Table(
            np.concatenate([_hashes(ngrams.words), self._keys]),
            np.concatenate([ngrams.log10p.astype(np.float32), self._log10p]),
            np.concatenate([ngrams.backoff.astype(np.float32), self._backoff]),
        )

    @property
    def double(self) -> int | None:
        """A hash that occurs twice, None if all differ."""
        doubles = self._keys[:-1][self._keys[1:] == self._keys[:-1]]
        return int(doubles[0]) if len(doubles) else None

    def log10p(self, words: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
        """Return log10 p of n-grams, float64 [N]; `otherwise` [N] for those that are not in the table."""
        at, is_found = self._found(words)
        return np.where(is_found, self._log10p[at], otherwise)

    def backoff(self, words: np.ndarray) -> np.ndarray:
        """Return log10 of the back-off weights of contexts, float64 [N]; 0 for those that are not in the table."""
        at, is_found = self._found(words)
        return np.where(is_found, self._backoff[at], np.float64(0.0))

    def _found(self, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        keys = _hashes(words)
        at = np.searchsorted(self._keys, keys)
        return at, self._keys[at] == keys


def _hashes(words: np.ndarray) -> np.ndarray:
    """Return a hash of each row of ids [N, n], uint64 [N]."""
    hashes = np.zeros(len(words), np.uint64)
    for column in words.T:
        hashes += column.astype(np.uint64) + np.uint64(1)
        for factor in _FACTORS:
            hashes *= factor
            hashes ^= hashes >> _SHIFT
    return hashes

"""Write an n-gram model of a text, split at white space, as an ARPA file: interpolated modified Kneser-Ney.

python -m tests.benchmarks.kneser_ney train.txt 5 kn5.arpa

With adjusted counts c, h' for h without its first word, and discounts D(1), D(2) and D(3) for 3 and more,

    P(w | h) = (c(h, w) - D(c(h, w))) / sum_v c(h, v) + g(h) P(w | h'),   g(h) = sum_v D(c(h, v)) / sum_v c(h, v)

(Chen and Goodman 1998). The adjusted count of an n-gram is how often it occurs if it is of the highest order or begins
with <s>; else it is the number of words that it follows. As in KenLM's lmplz, the 1-grams end in the uniform
distribution over all words, </s> and <unk>, and nothing is pruned.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

END, UNK, BEGIN = 0, 1, 2  # ids of </s>, <unk> and <s>


class Grams(NamedTuple):
    """All n-grams of one length: their words [N, n], counts, and the rows of the shorter ones before and behind."""

    words: np.ndarray
    counts: np.ndarray
    prefixes: np.ndarray
    suffixes: np.ndarray


def read(path: Path) -> tuple[list[bytes], np.ndarray, np.ndarray]:
    """Return the words by id, the ids of all lines with both tags, and how many tokens of its line precede each."""
    words = {b"</s>": END, b"<unk>": UNK, b"<s>": BEGIN}
    ids: list[int] = []
    depths: list[int] = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        found = [words.setdefault(word, len(words)) for word in line.split()]
        ids += [BEGIN, *found, END]
        depths += range(len(found) + 2)
    return list(words), np.array(ids), np.array(depths)


def grams_of(ids: np.ndarray, depths: np.ndarray, order: int, size: int) -> list[Grams]:
    """Return the n-grams of each length up to the order; size: of the vocabulary."""
    row_at = ids  # the row of the n-gram that ends at each place
    none = np.zeros(size, np.int64)
    found = [Grams(np.arange(size)[:, None], np.bincount(ids, minlength=size), none, none)]
    for length in range(2, order + 1):
        ends = np.flatnonzero(depths >= length - 1)
        keys = row_at[ends - 1] * size + ids[ends]
        _, first, rows, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        at = ends[first]
        words = np.stack([ids[at - back] for back in range(length - 1, -1, -1)], axis=1)
        found.append(Grams(words, counts, row_at[at - 1], row_at[at]))
        row_at = np.zeros_like(ids)
        row_at[ends] = rows
    return found


def discounts(counts: np.ndarray) -> np.ndarray:
    """Return D(0) to D(3); 1/2 for all counts if the text is too small to estimate them."""
    n = np.bincount(np.minimum(counts, 5), minlength=6).astype(float)
    if not n[1:5].all():
        return np.array([0.0, 0.5, 0.5, 0.5])
    y = n[1] / (n[1] + 2.0 * n[2])
    return np.clip([0.0, *(k - (k + 1.0) * y * n[k + 1] / n[k] for k in (1, 2, 3))], 0.0, [0.0, 1.0, 2.0, 3.0])


def write(text: Path, order: int, path: Path) -> None:
    """Write the model of a text."""
    words, ids, depths = read(text)
    grams = grams_of(ids, depths, order, len(words))
    probabilities: list[np.ndarray] = []
    weights: list[np.ndarray] = []  # g(h), by the length of h
    for length, one in enumerate(grams, start=1):
        counts = one.counts
        if length < order:
            followed = np.bincount(grams[length].suffixes, minlength=len(counts))
            counts = np.where(one.words[:, 0] == BEGIN, counts, followed)
        if length == 1:
            counts[BEGIN] = 0
        discount = discounts(counts)[np.minimum(counts, 3)]
        size = len(probabilities[-1]) if probabilities else 1
        totals = np.maximum(np.bincount(one.prefixes, counts, size), 1.0)
        weight = np.bincount(one.prefixes, discount, size) / totals
        lower = probabilities[-1][one.suffixes] if probabilities else 1.0 / (len(words) - 1)
        weights.append(weight)
        probabilities.append((counts - discount) / totals[one.prefixes] + weight[one.prefixes] * lower)
    probabilities[0][BEGIN] = 1e-99
    with path.open("wb") as file:
        file.write(b"\\data\\\n")
        file.writelines(b"ngram %d=%d\n" % (at, len(one.counts)) for at, one in enumerate(grams, start=1))
        for length, (one, p) in enumerate(zip(grams, probabilities, strict=True), start=1):
            file.write(b"\n\\%d-grams:\n" % length)
            backoff = weights[length].tolist() if length < order else [0.0] * len(p)
            for log, row, weight in zip(np.log10(p).tolist(), one.words.tolist(), backoff, strict=True):
                last = b"\t%.7g" % np.log10(weight) if weight else b""
                file.write(b"%.7g\t%s%s\n" % (log, b" ".join([words[word] for word in row]), last))
        file.write(b"\n\\end\\\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))

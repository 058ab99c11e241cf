"""Word errors: the edits that turn a reference into a hypothesis, and the rate that they give."""

from __future__ import annotations

from collections.abc import Sequence


def word_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Return the least number of words to substitute, insert and delete, the Levenshtein distance of two sentences.

        D(i, 0) = i,  D(0, j) = j
        D(i, j) = min(D(i-1, j-1) + [r_i != h_j], D(i-1, j) + 1, D(i, j-1) + 1)

    (Wagner and Fischer 1974). Memory holds one row. Words that both begin or end with cost no time.

    reference, hypothesis: words, r_1 to r_n and h_1 to h_m
    """
    start, ends = 0, (len(reference), len(hypothesis))
    while start < min(ends) and reference[start] == hypothesis[start]:
        start += 1
    while start < min(ends) and reference[ends[0] - 1] == hypothesis[ends[1] - 1]:
        ends = (ends[0] - 1, ends[1] - 1)
    row = list(range(ends[1] - start + 1))
    for i, word in enumerate(reference[start : ends[0]], start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(hypothesis[start : ends[1]], start=1):
            diagonal, row[j] = row[j], min(diagonal + (word != other), row[j] + 1, row[j - 1] + 1)
    return row[-1]

"""Odd runs: the parts of a line that the model did not expect, smoothed so that no single characters are left."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from charlm.inference.scoring import Score
from charlm.language_model import LanguageModel
from charlm.text import EOS_ID, NOTHING, Splitter
from charlm.text.batches.lanes import Batch
from charlm.text.dataset import joined

# Chosen on logs of another kind than that of the README (`tests/benchmarks/odd_lines.py`).
_EXPECTED_BITS = 1.0  # of a token: what a token may exceed its expectation by
_RUN_BITS = 14.0  # what a run has to exceed the expectation of its tokens by

_STEPS = 128  # tokens that one call of the network reads
_LONGEST = 1 << 16  # tokens of a line; what follows is not marked
_LONGEST_PIECE = 100  # characters of a text that are normalised together
# A run of letters, digits and underscores is marked as a whole, but not in scripts without spaces between words: Thai
# and Lao, Chinese and Japanese.
_WORD = re.compile(r"[^\W\u0e00-\u0eff\u3040-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]+")


@dataclass(frozen=True)
class Run:
    """A part of a line that is odd: `text[start:end]`.

    bits: by how many bits its tokens exceed what the model expected there
    """

    start: int
    end: int
    bits: float


def odd_runs(language_model: LanguageModel, score: Score) -> list[Run]:
    """Return the odd runs of a line, in order.

    A token costs s<t> = -log2 P(y<t>) bits, and the model expects H<t> = -sum_y P(y) log2 P(y). The difference is large
    for a surprise. It is small for a digit of a number that can be any, because the model knows that it cannot know.
    The runs are those parts of the line that maximise

        sum over all runs of (sum over t in the run of (s<t> - H<t> - 1) - 14)

    which a search over two states, odd and ordinary, finds in one pass (Viterbi 1967). Runs then grow to whole words,
    and lose the white space at their ends.

    score: of the line. A line of more than 65,536 tokens is searched up to there.
    """
    text, splitter = score.text, language_model.tokenizer.splitter
    excess = excess_bits(language_model, score)
    if not excess.size:
        return []
    odd = np.zeros(len(text), bool)
    bits = np.zeros(len(text))
    spans = token_spans(text, splitter)
    for (first, last), (start, end) in _found(excess, spans):
        odd[start:end] = True
        bits[start] += float(excess[first:last].sum())
    for word in _WORD.finditer(text):
        part = slice(*word.span())
        if odd[part].any():
            odd[part] = True
    edges = np.flatnonzero(np.diff(odd, prepend=False, append=False)).tolist()
    return list(_trimmed(text, zip(edges[::2], edges[1::2], strict=True), bits))


def excess_bits(language_model: LanguageModel, score: Score) -> np.ndarray:
    """Return s<t> - H<t> in bits, float64 [n], of the first 65,536 tokens of a line, without `<EOS>`."""
    tokenizer = language_model.tokenizer
    ids = tokenizer.encode(score.text)[:_LONGEST]
    parts = [_excess(log_probs, targets) for log_probs, targets in _log_probs(language_model, ids, score.label)]
    return np.concatenate(parts) if parts else np.empty(0)


def _excess(log_probs: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return s - H in bits, [n], from ln P of every choice, [V, n], and the ids [n] of those that came."""
    nats = log_probs.astype(np.float64)
    entropy = -np.einsum("vn,vn->n", np.exp(nats), nats)
    excess: np.ndarray = (-nats[ids, np.arange(ids.size)] - entropy) / math.log(2.0)
    return excess


def _log_probs(language_model: LanguageModel, ids: np.ndarray, label: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield ln P of every choice at some places of a line, [V, n], and the ids [n] of its tokens there."""
    model, ws = language_model.model, language_model.model.workspace()
    if language_model.facts.is_cloze:
        for batch, _, begins, lanes in joined([ids]).batches(1, _STEPS).placed() if ids.size else ():
            _, choices = model.choices(batch, ws)
            for start in range(0, ids.size, _STEPS):
                steps = np.arange(start, min(start + _STEPS, ids.size))
                yield choices(begins[0] + steps, np.full_like(steps, lanes[0])), ids[steps]
        return
    before = EOS_ID if language_model.is_stream else NOTHING
    if language_model.is_conditioned:
        before = int(language_model.codec.first_inputs([label])[0])
    state = model.zero_state(1)
    for start in range(0, ids.size, _STEPS):
        targets = ids[start : start + _STEPS].astype(np.int32)
        inputs = np.concatenate([[before], targets[:-1]]).astype(np.int32)
        _, choices, state = model.read(Batch(inputs[:, None], targets[:, None]), state, ws)
        steps = np.arange(targets.size)
        yield choices(steps, np.zeros_like(steps)), targets
        before = int(targets[-1])


def _found(excess: np.ndarray, spans: list[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield the odd runs as tokens, from the first to before the last, and as characters."""
    for first, last in best_segments((excess - _EXPECTED_BITS).tolist(), _RUN_BITS):
        yield (first, last), (spans[first][0], spans[last - 1][1])


def best_segments(gains: list[float], cost: float) -> list[tuple[int, int]]:
    """Return the segments with the largest sum of gains, less a cost for each segment; the first of equal ones.

    gains: of each place
    Returns start and end of each segment, in order.
    """
    outside, inside = 0.0, -math.inf
    entered, left = [], []
    for gain in gains:
        entered.append(outside - cost > inside)
        inside = max(inside, outside - cost) + gain
        left.append(inside > outside)
        outside = max(outside, inside)
    # `outside` is now the best of all that end here, in or out of a segment.
    segments, at = [], len(gains)
    while at:
        if not left[at - 1]:
            at -= 1
            continue
        end = at
        while not entered[at - 1]:
            at -= 1
        at -= 1
        segments.append((at, end))
    return segments[::-1]


def token_spans(text: str, splitter: Splitter) -> list[tuple[int, int]]:
    """Return start and end in a text of each of its tokens, which spell it in the splitter's Unicode form and case."""
    spelled = splitter.spelled(text)
    spans = splitter.spans(text)
    if spelled == text:
        return spans
    origins = _origins(text, spelled, splitter)
    return [(origins[start][0], origins[end - 1][1]) for start, end in spans]


def _origins(text: str, spelled: str, splitter: Splitter) -> list[tuple[int, int]]:
    """Return for each character of `spelled` the part of the text that became it: the smallest that does so alone."""
    pieces: list[tuple[int, int]] = []
    start, so_far = 0, ""
    for at, character in enumerate(text):
        alone, together = splitter.spelled(character), splitter.spelled(text[start : at + 1])
        if at == start or together != so_far + alone:
            so_far = together
        else:
            pieces.append((start, at))
            start, so_far = at, alone
        if at - start > _LONGEST_PIECE:
            break
    pieces.append((start, len(text)))
    origins = [piece for piece in pieces for _ in splitter.spelled(text[slice(*piece)])]
    if "".join(splitter.spelled(text[slice(*piece)]) for piece in pieces) != spelled:
        return [(0, len(text))] * len(spelled)
    return origins


def _trimmed(text: str, edges: Iterator[tuple[int, int]], bits: np.ndarray) -> Iterator[Run]:
    """Yield runs without the white space at their ends, which may be all that they have."""
    for start, end in edges:
        part = text[start:end]
        if part.strip():
            first = start + len(part) - len(part.lstrip())
            yield Run(first, first + len(part.strip()), float(bits[start:end].sum()))

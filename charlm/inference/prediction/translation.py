"""Translation: the encoder reads the source, and a beam search finds a likely output of the decoder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from charlm.backends import Backend
from charlm.inference.prediction.base import Prediction
from charlm.language_model import LanguageModel
from charlm.nn.layer import State
from charlm.nn.outputs import checked
from charlm.text import EOS_ID, NOTHING, UNK_ID
from charlm.text.batches.whole import groups_of_like_length, padded
from charlm.text.lines.reading import windows

_WINDOW = 8  # batches of lines read ahead
_LONGEST = (2, 20)  # a, b: a translation of a source of n tokens has at most a n + b
_LENGTH_POWER = 1.0  # log-probabilities are divided by length ** power: 0 favours short translations


class Translator:
    """Translates lines by beam search (Sutskever et al. 2014); a beam of 1 is greedy search.

    `<UNK>` is masked and the rest renormalised. A translation with token log-probabilities l_1 ... l_n ranks by
    sum(l) / n, so that length alone is no disadvantage (Wu et al. 2016, without coverage, as there is no attention).

    beam: partial translations kept at each step
    batch_size: lines side by side at a beam of 1; a larger beam reduces it
    window: lines read ahead at most, None for eight batches
    """

    def __init__(
        self, language_model: LanguageModel, *, beam: int = 1, batch_size: int = 64, window: int | None = None
    ) -> None:
        assert language_model.codec.target is not None
        self.language_model, self.model, self.target = language_model, language_model.model, language_model.codec.target
        self.beam = beam
        self.batch_size = max(1, batch_size // beam)
        self.window = window or _WINDOW * batch_size
        self._encoder_workspace, self._step_workspace = self.model.workspace(), self.model.workspace()

    def predict(self, lines: Iterable[str]) -> Iterator[Prediction]:
        """Yield the translation of each line, in order, with its probability under the model."""
        for texts in windows(lines, self.window, size=len):
            ids, offsets = self.language_model.tokenizer.encode_lines(texts)
            found: list[Prediction] = [Prediction("", "", 0.0)] * len(texts)
            for group in groups_of_like_length(np.diff(offsets).tolist(), self.batch_size):
                sources, starts = padded(ids, offsets, np.array(group), NOTHING)
                for i, (tokens, log_prob) in zip(group, self._search(sources, starts), strict=True):
                    words = [self.target.vocabulary.token_of(token) for token in tokens if token != EOS_ID]
                    log10p = log_prob / math.log(10.0)
                    found[i] = Prediction(
                        texts[i], self.target.join(words), math.exp(log_prob), {"log10p": log10p, "tokens": words}
                    )
            yield from found

    def _search(self, sources: np.ndarray, starts: np.ndarray) -> list[tuple[list[int], float]]:
        """Return the best sequence of tokens found for each source, and its ln P under the model.

        sources [T, B]: padded with NOTHING
        starts [T, B]: where a source begins
        """
        count, K = sources.shape[1], self.beam
        state = self.model.encode(sources, starts, self._encoder_workspace)
        state = _taken(state, np.repeat(np.arange(count), K), self.model.ops)
        inputs = np.full((1, count * K), NOTHING, np.int32)
        limits = (_LONGEST[0] * (sources != NOTHING).sum(axis=0) + _LONGEST[1])[:, None]
        most = int(limits.max())
        path: list[tuple[np.ndarray, np.ndarray]] = []  # for each step, the beam that each one continues, and its token
        found = np.full((count, K), -math.inf)  # sum of ln P with `<UNK>` masked, by which beams rank
        found[:, 0] = 0.0
        truly = np.zeros((count, K))  # sum of ln P under the model
        lengths, ended = np.zeros((count, K), np.int64), np.zeros((count, K), bool)
        for _ in range(most):
            columns, state = self.model.next_log_probs(inputs, state, self._step_workspace)
            log_probs = columns.T.reshape(count, K, -1).astype(np.float64)
            given_known = log_probs - np.log1p(-np.minimum(np.exp(log_probs[:, :, UNK_ID]), 1 - 1e-12))[:, :, None]
            given_known[:, :, UNK_ID] = -math.inf
            given_known[ended] = -math.inf
            given_known[ended, EOS_ID] = 0.0  # a finished translation does not change
            new_lengths = lengths + ~ended
            totals = found[:, :, None] + given_known
            ranks = totals / np.maximum(new_lengths, 1)[:, :, None] ** _LENGTH_POWER
            flat = ranks.reshape(count, -1)
            best = np.argsort(-flat, axis=1, kind="stable")[:, :K] if K > 1 else flat.argmax(axis=1)[:, None]
            origin, token = np.divmod(best, log_probs.shape[2])
            rows = np.arange(count)[:, None]
            was_ended = ended[rows, origin]
            truly = truly[rows, origin] + np.where(was_ended, 0.0, log_probs[rows, origin, token])
            found, lengths = totals[rows, origin, token], new_lengths[rows, origin]
            path.append((origin.astype(np.int16), token.astype(np.int32)))
            ended = was_ended | (token == EOS_ID) | (lengths >= limits)
            if ended.all():
                break
            state = _taken(state, (rows * K + origin).ravel(), self.model.ops)
            inputs = token.astype(np.int32).reshape(1, -1)
        winner = (found / np.maximum(lengths, 1) ** _LENGTH_POWER).argmax(axis=1)
        tokens = _traced(path, winner)
        of_winner = checked(truly[np.arange(count), winner])  # a sum of finite numbers may overflow
        return [(tokens[: lengths[i, k], i].tolist(), float(of_winner[i])) for i, k in enumerate(winner.tolist())]


def _traced(path: list[tuple[np.ndarray, np.ndarray]], beam: np.ndarray) -> np.ndarray:
    """Return the tokens `[steps, lines]` of one beam of each line, traced from the last step back."""
    tokens = np.empty((len(path), beam.size), np.int32)
    lines = np.arange(beam.size)
    for step in range(len(path) - 1, -1, -1):
        origin, token = path[step]
        tokens[step] = token[lines, beam]
        beam = origin[lines, beam]
    return tokens


def _taken(state: State, columns: np.ndarray, ops: Backend) -> State:
    """Return a copy of a state with the given columns, which may repeat."""

    first, each = np.zeros_like(columns), np.arange(len(columns))

    def take(part: Any) -> Any:
        if isinstance(part, tuple):
            return tuple(map(take, part))
        taken = ops.empty((len(part), len(columns)), part.dtype)
        ops.move_columns(part[None], (first, columns), out=taken[None], to=(first, each))
        return taken

    return tuple(map(take, state))

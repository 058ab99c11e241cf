"""The vanishing gradient: how much of the gradient of a step's loss reaches the steps before it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from charlm.errors import CorpusError, UsageError
from charlm.language_model import LanguageModel
from charlm.nn.layer import Stack
from charlm.nn.outputs import checked
from charlm.nn.recurrent import Recurrent
from charlm.text import NOTHING
from charlm.text.batches.lanes import NO_TARGET, Batch

_LINES = 256  # read at most: a mean over that many is stable
_PLACES = 16  # steps of the longest sequence whose losses are propagated back


@dataclass(frozen=True)
class Decay:
    """The norm of the gradient by the distance in time, k = 0 ... K.

    norms [K + 1]: mean of |dL<t>/da<t-k>| over steps t and sequences
    counts [K + 1]: number of such pairs
    """

    norms: np.ndarray
    counts: np.ndarray

    @property
    def half_life(self) -> float:
        """The number of steps in which the norm halves: a line is fitted to its logarithm from k = 1 on.

        Each k is weighted by its count. Infinity if the norm does not fall, NaN with fewer than two points.
        """
        k = np.arange(1, len(self.norms))
        there = (self.norms[1:] > 0) & (self.counts[1:] > 0)
        if there.sum() < 2:
            return math.nan
        weight = np.sqrt(self.counts[1:][there])
        slope = float(np.polyfit(k[there], np.log2(self.norms[1:][there]), 1, w=weight)[0])
        return -1.0 / slope if slope < 0 else math.inf


def gradient_decay(language_model: LanguageModel, lines: Iterable[str], *, longest: int = 32) -> Decay:
    """Measure |dL<t>/da<t-k>| for k = 0 ... `longest`, as a mean over steps t and lines.

    L<t> is the loss of step t alone. a<t-k> stacks the outputs of all recurrent layers at step t - k, and its gradient
    is the one that arrives through time. At k = 0 it is the gradient that the output layer passes to the top layer. The
    norm is Euclidean, per sequence.

    lines: a text as the model reads it; the first 256 lines are used
    longest: largest k
    Raises UsageError if the model is not a language model, CorpusError for an empty text or an unknown label.
    """
    if not language_model.facts.is_language_model or not isinstance(language_model.model.body, Stack):
        raise UsageError(f"--gradients with a --task {language_model.task} model", hint="name models of --task lm")
    records = language_model.reader.read(_some(lines), set(language_model.labels) or None)
    texts = [text for _, text in records] if language_model.is_conditioned else records
    ids, offsets = language_model.tokenizer.encode_lines(texts)
    first = np.full(len(texts), NOTHING, np.int32)
    if language_model.is_conditioned:
        first = language_model.codec.first_inputs(label for label, _ in records)
    norms, counts = np.zeros(longest + 1), np.zeros(longest + 1, np.int64)
    lengths = np.diff(offsets)
    steps = np.unique(np.linspace(1, int(lengths.max()), _PLACES).round().astype(np.int64))
    for t in steps.tolist():
        chosen = np.flatnonzero(lengths >= t)
        tokens = ids[offsets[chosen] + np.arange(t)[:, None]]
        inputs = np.concatenate([first[chosen][None], tokens[:-1]])
        targets = np.full_like(tokens, NO_TARGET)
        targets[-1] = tokens[-1]
        of_t = _norms(language_model, Batch(inputs, targets), min(longest, t - 1))
        norms[: len(of_t)] += of_t.sum(axis=1)
        counts[: len(of_t)] += chosen.size
    there = counts > 0
    return Decay(norms[there] / counts[there], counts[there])


def _some(lines: Iterable[str]) -> list[str]:
    chosen = [line for line, _ in zip(lines, range(_LINES), strict=False)]
    if not chosen:
        raise CorpusError("no text to measure gradients on", hint="name a file with at least one line")
    return chosen


@np.errstate(all="ignore")  # exploded weights overflow here, and `checked` raises
def _norms(language_model: LanguageModel, batch: Batch, most: int) -> np.ndarray:
    """Return |dL<T>/da<T-k>| `[most + 1, B]` for k = 0 ... `most`, with L<T> the loss of the last step."""
    model, body = language_model.model, language_model.model.body
    assert isinstance(body, Stack)
    ws = model.workspace()
    y, _ = body.forward(batch.inputs, model.zero_state(batch.lanes), ws)
    loss, dy = model.head.loss_and_grad(y, batch.targets, 1.0, ws.scope("head"))
    checked(np.array(float(loss)))
    squares = np.zeros((most + 1, batch.lanes))
    for name, layer in reversed(body.layers.items()):
        if isinstance(layer, Recurrent):
            if not squares.any():  # the top layer: its gradient from the output layer
                squares[0] = (model.ops.numpy(dy[-1]).astype(np.float64) ** 2).sum(axis=0)
            dy, _ = layer.backward(dy, (), ws.scope(name))
            back = model.ops.numpy(layer.scan(ws.scope(name)).state_grads()).astype(np.float64)
            squares[1:] += (back[len(back) - most :] ** 2).sum(axis=1)[::-1]
        else:
            dy, _ = layer.backward(dy, (), ws.scope(name))
    return checked(np.sqrt(squares))

"""The loss of a model over a whole corpus."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from charlm.errors import CorpusError
from charlm.language_model import LanguageModel
from charlm.nn.model import Model
from charlm.nn.outputs import total
from charlm.nn.workspace import Workspace
from charlm.text import EOS_ID, UNK_ID
from charlm.text.batches.lanes import Batches

_STEPS = 64
CONTEXT = 256  # tokens that a lane of a stream reads before its own, to warm up its state


@dataclass(frozen=True)
class Evaluation:
    """The loss over a corpus.

    tokens, nats: number of targets, and the sum of their losses
    oov, oov_nats: the same for the targets that are `<UNK>`
    words, right: targets except `<EOS>`, and how many of them were the likeliest choice; counted on request
    """

    tokens: int
    oov: int
    nats: float
    oov_nats: float
    words: int = 0
    right: int = 0

    @property
    def nats_per_token(self) -> float:
        """The cross-entropy; NaN for an empty corpus."""
        return self.nats / self.tokens if self.tokens else math.nan

    @property
    def perplexity(self) -> float:
        """exp(cross-entropy), `<UNK>` counted as a token like any other."""
        return perplexity(self.nats, self.tokens)

    @property
    def perplexity_without_oov(self) -> float:
        """The perplexity over the targets that are not `<UNK>`."""
        return perplexity(self.nats - self.oov_nats, self.tokens - self.oov)


def perplexity(nats: float, tokens: int) -> float:
    """Return exp(nats / tokens): infinity if that overflows, NaN without tokens."""
    if not tokens:
        return math.nan
    try:
        return math.exp(nats / tokens)
    except OverflowError:
        return math.inf


def evaluate(model: Model, batches: Batches, ws: Workspace, *, count_right: bool = False) -> Evaluation:
    """Run the model over one epoch of `batches` without learning, and return its loss.

    The state is carried from batch to batch if `batches.carries`.

    count_right: count the tokens that are the likeliest choice; `<UNK>` never counts as right
    """
    state = model.zero_state(batches.batch_size)
    are_tokens = model.config.facts.targets == "tokens"
    tokens = oov = words = right = 0
    nats = oov_nats = 0.0
    for batch in batches.epoch():
        best = np.empty(batch.targets.shape, np.int32) if count_right else None
        before = state if batches.carries else model.zero_state(batch.lanes)
        of_each, state = model.nats(batch, before, ws, best=best)
        unknown = (batch.targets == UNK_ID) if are_tokens else np.zeros(of_each.shape, bool)
        tokens += batch.count
        oov += int(np.count_nonzero(unknown))
        nats = total(of_each, nats)
        oov_nats += float(of_each[unknown].sum())
        if best is not None:
            is_word = batch.targets > EOS_ID
            words += int(np.count_nonzero(is_word))
            right += int(np.count_nonzero(is_word & (best == batch.targets) & ~unknown))
    return Evaluation(tokens, oov, nats, oov_nats, words, right)


def evaluate_text(language_model: LanguageModel, lines: Iterable[str], *, batch_size: int = 64) -> dict[str, float]:
    """Return the figures of a text: tokens, OOVs, nats a token, perplexities, accuracy, bits a character, speed.

    Characters and bytes are those of the text; the end of a line counts as one if it is predicted. Accuracy is the
    share of tokens, except `<EOS>`, that are the likeliest choice. A cloze model computes pseudo-probabilities, so the
    names of its figures begin with `pseudo_`.

    Raises CorpusError for a text without lines, or with a label that a conditioned model does not know.
    """
    records = language_model.reader.read(lines, set(language_model.labels) or None)
    text = [record[1] for record in records] if language_model.is_conditioned else records
    if not text:
        raise CorpusError("nothing to evaluate: the text is empty", hint="name a file with at least one line")
    dataset = language_model.reader.encode(records, language_model.codec)
    if not dataset.size:
        raise CorpusError("nothing to evaluate: no line has a token", hint="name a file with at least one word")
    lanes, steps = dataset.fit(batch_size, _STEPS)
    model = language_model.model
    begin = time.perf_counter()
    figures = evaluate(model, dataset.batches(lanes, steps, context=CONTEXT), model.workspace(), count_right=True)
    seconds = time.perf_counter() - begin
    bits, ends = figures.nats / math.log(2.0), not language_model.facts.is_cloze
    pseudo = "" if ends else "pseudo_"
    characters = sum(len(line) + ends for line in text)
    size = sum(len(line.encode("utf-8", "surrogateescape")) + ends for line in text)
    return {
        "tokens": figures.tokens,
        "oov": figures.oov,
        f"{pseudo}nats_per_token": figures.nats_per_token,
        f"{pseudo}perplexity": figures.perplexity,
        f"{pseudo}perplexity_without_oov": figures.perplexity_without_oov,
        "accuracy": figures.right / figures.words if figures.words else math.nan,
        f"{pseudo}bits_per_char": bits / max(1, characters),
        f"{pseudo}bits_per_byte": bits / max(1, size),
        "tokens_per_second": round(figures.tokens / seconds, 1),
    }

"""How well a model predicts a whole corpus."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from charlm.errors import CorpusError
from charlm.language_model import LanguageModel
from charlm.nn.model import Model
from charlm.nn.workspace import Workspace
from charlm.text import UNK_ID
from charlm.text.batches import Batches
from charlm.text.dataset import encode

_STEPS = 64
CONTEXT = 256  # tokens that a lane of a stream reads before its own: enough for the state to forget the cut


@dataclass(frozen=True)
class Evaluation:
    """The loss over a corpus: number of targets, of those that are `<UNK>`, and the nats of both."""

    tokens: int
    oov: int
    nats: float
    oov_nats: float

    @property
    def nats_per_token(self) -> float:
        """The cross-entropy; not a number for an empty corpus."""
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
    """Give exp(nats / tokens): infinite where that is too large a number, not a number without tokens."""
    if not tokens:
        return math.nan
    try:
        return math.exp(nats / tokens)
    except OverflowError:
        return math.inf


def evaluate(model: Model, batches: Batches, ws: Workspace) -> Evaluation:
    """Run the model over one epoch of `batches`, the state carried where it is to be; nothing is learned."""
    state = model.zero_state(batches.batch_size)
    are_tokens = model.config.task in ("lm", "cloze", "translate")
    tokens = oov = 0
    nats = oov_nats = 0.0
    for batch in batches.epoch():
        of_each, state = model.nats(batch, state if batches.carries else model.zero_state(batch.lanes), ws)
        unknown = (batch.targets == UNK_ID) if are_tokens else np.zeros(of_each.shape, bool)
        tokens += batch.count
        oov += int(np.count_nonzero(unknown))
        nats += float(of_each.sum())
        oov_nats += float(of_each[unknown].sum())
    return Evaluation(tokens, oov, nats, oov_nats)


def evaluate_text(language_model: LanguageModel, lines: Iterable[str], *, batch_size: int = 64) -> dict[str, float]:
    """Give the figures of a corpus: tokens, OOVs, nats a token, perplexities, bits a character and a byte, speed.

    Characters and bytes are those of the text, the end of each line counted as one.
    Raises CorpusError for a corpus without lines.
    """
    text = list(lines)
    if not text:
        raise CorpusError("nothing to evaluate: the text is empty", hint="name a file with at least one line")
    dataset = encode(language_model.tokenizer, text, language_model.text.unit)
    lanes, steps = dataset.fit(batch_size, _STEPS)
    model = language_model.model
    begin = time.perf_counter()
    figures = evaluate(model, dataset.batches(lanes, steps, context=CONTEXT), model.workspace())
    seconds = time.perf_counter() - begin
    bits = figures.nats / math.log(2.0)
    return {
        "tokens": figures.tokens,
        "oov": figures.oov,
        "nats_per_token": figures.nats_per_token,
        "perplexity": figures.perplexity,
        "perplexity_without_oov": figures.perplexity_without_oov,
        "bits_per_char": bits / sum(len(line) + 1 for line in text),
        "bits_per_byte": bits / sum(len(line.encode("utf-8", "surrogateescape")) + 1 for line in text),
        "tokens_per_second": round(figures.tokens / seconds, 1),
    }

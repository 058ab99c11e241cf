"""The likeliest next tokens after a text."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from charlm.config import SampleConfig
from charlm.inference.generation import Sampler
from charlm.language_model import LanguageModel


@dataclass(frozen=True)
class NextToken:
    """A token that may come next.

    token: its spelling in the vocabulary, `<EOS>` for the end of the line and `<UNK>` for all unknown tokens together
    nats: -ln P(token | prompt)
    """

    token: str
    nats: float
    token_id: int

    @property
    def prob(self) -> float:
        """P(token | prompt); 0 if it underflows."""
        return math.exp(-self.nats)

    @property
    def log10p(self) -> float:
        """log10 P(token | prompt)."""
        return -self.nats / math.log(10.0) + 0.0


def next_tokens(
    language_model: LanguageModel, prompt: str = "", *, candidates: int = 10, label: str | None = None
) -> list[NextToken]:
    """Return the likeliest tokens after a prompt, the likeliest first, equally likely ones in the vocabulary's order.

    P is the model's own: nothing is masked, and over the whole vocabulary it sums to 1. The prompt is read as `Scorer`
    reads a line, so a stream model reads it as if it followed an `<EOS>`.

    candidates: number of tokens; all tokens if the vocabulary has fewer
    label: the first input of a conditioned model
    Raises UsageError as `Sampler` does, and for a prompt with a newline if the model was trained line by line.
    """
    sampler = Sampler(language_model, SampleConfig(), label=label)
    log_probs = sampler.next_log_probs(prompt).astype(np.float64)
    token_of = language_model.tokenizer.vocabulary.token_of
    best = np.argsort(-log_probs, kind="stable")[:candidates].tolist()
    return [NextToken(token_of(token_id), -float(log_probs[token_id]) + 0.0, token_id) for token_id in best]

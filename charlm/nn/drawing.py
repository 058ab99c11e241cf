"""How the next token is chosen: from log-probabilities to a distribution, and from that to an id."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from charlm.config import SampleConfig
from charlm.errors import ModelFileError, UsageError
from charlm.text import UNK_ID


def next_token_probs(
    log_probs: np.ndarray, config: SampleConfig, *, banned: Sequence[int] = (UNK_ID,)
) -> tuple[np.ndarray, float]:
    """Return the distribution of the next token, float64 [V], and the probability mass of the banned tokens.

    The steps are: ban, temperature, top-k, top-p, renormalise. A banned token has probability 0 before the draw, which
    is the distribution that rejection sampling would have. Temperature 0 leaves the likeliest token, ties by id.

    log_probs [V]: ln P of each token; not changed
    banned: ids of tokens that are not drawn
    Raises UsageError if no token is left, ModelFileError for NaN.
    """
    scores = np.array(log_probs, np.float64)
    banned_mass = 0.0
    for token_id in banned:
        banned_mass += math.exp(scores[token_id])
        scores[token_id] = -math.inf
    best = float(np.maximum.reduce(scores))
    if not math.isfinite(best):
        if math.isnan(best):
            raise ModelFileError("the model outputs NaN", hint="its training diverged: train it again")
        raise UsageError("no token is left to draw: the model expects nothing but <UNK>", hint="add --allow-unk")
    if config.temperature == 0.0:
        probs = np.zeros(scores.size)
        probs[int(np.argmax(scores))] = 1.0
        return probs, banned_mass
    scores -= best
    if config.temperature != 1.0:
        with np.errstate(over="ignore"):  # a tiny temperature yields -inf, whose probability is 0
            scores /= config.temperature
    probs = np.exp(scores, out=scores)
    for token_id in banned:
        probs[token_id] = 0.0
    if config.top_k is not None and config.top_k < probs.size:
        probs[np.argsort(-probs, kind="stable")[config.top_k :]] = 0.0
    probs /= np.add.reduce(probs)
    if config.top_p is not None:
        order = np.argsort(-probs, kind="stable")
        beyond = np.cumsum(probs[order]) - probs[order] >= config.top_p
        beyond[0] = False
        probs[order[beyond]] = 0.0
        probs /= probs.sum()
    return probs, banned_mass


def draw(probs: np.ndarray, rng: np.random.Generator) -> int:
    """Return an id drawn with probabilities probs [V]; takes one number of the generator."""
    edges = probs.cumsum()
    at = int(edges.searchsorted(rng.random() * edges[-1], side="right"))
    return at if at < probs.size and probs[at] else int(np.flatnonzero(probs)[-1])

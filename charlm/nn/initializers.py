"""Random distributions of initial weights."""

from __future__ import annotations

import math

import numpy as np

from charlm.backends import Shape


def glorot(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Draw from U(-r, r) with r = sqrt(6 / (n_in + n_out)), shape `[n_out, n_in]`. Glorot and Bengio 2010."""
    reach = math.sqrt(6.0 / sum(shape))
    return rng.uniform(-reach, reach, shape)


def orthogonal(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw an orthogonal matrix `[size, size]`: it preserves the length of vectors. Saxe et al. 2014."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diag(r)))


def unit_variance(shape: Shape, rms: float, rng: np.random.Generator) -> np.ndarray:
    """Draw W, shape `[n_out, n_in]`, such that the elements of W x have variance 1. LeCun et al. 1998.

    The gates then differ from token to token from the first step on. With weights a tenth as large, a two-layer network
    of characters needs its first epoch to distinguish the tokens.

    rms: root mean square of the elements of x
    """
    return normal(shape, 1.0 / (rms * math.sqrt(shape[1])) if shape[1] else 0.0, rng)


def normal(shape: Shape, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Draw from the normal distribution with mean 0."""
    return rng.normal(0.0, deviation, shape)

"""The weights that learning starts from."""

from __future__ import annotations

import math

import numpy as np

from charlm.backends import Shape


def glorot(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Draw from U(-r, r) with r = sqrt(6 / (n_in + n_out)), Glorot and Bengio 2010; shape `[n_out, n_in]`."""
    reach = math.sqrt(6.0 / sum(shape))
    return rng.uniform(-reach, reach, shape)


def orthogonal(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw an orthogonal matrix `[size, size]`: it keeps the length of what it multiplies, Saxe et al. 2014."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diag(r)))


def embedding(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Draw from U(-0.1, 0.1), Zaremba et al. 2014; shape `[V, D]`."""
    return rng.uniform(-0.1, 0.1, shape)

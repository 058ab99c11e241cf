"""What tests do with datasets and with the batches of an epoch."""

import numpy as np

from charlm.text.batches.lanes import Batch


def lines_of(dataset):
    """Return the lines of a dataset, in their order."""
    windows = [dataset.window(number) for number in range(dataset.store.windows)]
    ids, lengths, _ = (np.concatenate(parts) for parts in zip(*windows, strict=True))
    ends = np.cumsum(lengths)
    return [tuple(ids[end - length : end].tolist()) for end, length in zip(ends, lengths, strict=True)]


def joined(batches):
    """Put the batches of an epoch together again, each checked to be of one shape."""
    starts = []
    for batch in batches:
        assert batch.inputs.shape == batch.targets.shape
        assert batch.starts is None or (batch.starts.shape == batch.inputs.shape and batch.starts.any())
        starts.append(np.zeros(batch.inputs.shape, bool) if batch.starts is None else batch.starts)
    return Batch(
        np.concatenate([batch.inputs for batch in batches]),
        np.concatenate([batch.targets for batch in batches]),
        np.concatenate(starts),
    )


def same(one, other):
    """Return whether two lists of batches are equal in everything."""
    return len(one) == len(other) and all(
        np.array_equal(a.inputs, b.inputs)
        and np.array_equal(a.targets, b.targets)
        and (a.starts is None) == (b.starts is None)
        and (a.starts is None or np.array_equal(a.starts, b.starts))
        for a, b in zip(one, other, strict=True)
    )

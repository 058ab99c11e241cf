"""Starting a language model from the weights of another one, with tokens matched by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from charlm.backends import Array
from charlm.errors import UsageError
from charlm.nn.layer import Views
from charlm.nn.model import Model


def transfer(source: Model, source_tokens: Sequence[str], target: Model, target_tokens: Sequence[str]) -> int:
    """Copy the weights of `source` to `target`; the weights of a token go to the token of the same name.

    Tokens that are missing in `source` keep their weights. Returns the number of tokens that were matched.
    Raises UsageError if the networks differ in more than vocabulary, dropout and precision.
    """
    same = replace(
        source.config,
        vocabulary_size=target.config.vocabulary_size,
        dropout=target.config.dropout,
        dtype=target.config.dtype,
    )
    if same != target.config:
        theirs_of, ours_of = same.to_dict(), target.config.to_dict()
        name = next(key for key in ours_of if theirs_of[key] != ours_of[key])
        raise UsageError(
            f"--init-from: its {name.replace('_', ' ')} is {theirs_of[name]}, not {ours_of[name]}",
            hint="use the flags of the model to start from: charlm inspect MODEL prints them",
        )
    ids = {token: i for i, token in enumerate(source_tokens)}
    pairs = [(ids[token], i) for i, token in enumerate(target_tokens) if token in ids]
    old, new = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    ours_flat, theirs_flat = (model.ops.numpy(model.parameters.values) for model in (target, source))
    our_views, their_views = target.parameters.named(ours_flat), source.parameters.named(theirs_flat)
    for name in our_views.keys() & their_views.keys():
        ours, theirs = our_views[name], their_views[name]
        if name in ("input.E", "head.W_y", "head.b_y"):
            ours[new] = theirs[old]
        elif ours.shape == theirs.shape and name != "layer0.W":
            ours[...] = theirs
    _first_layer(source, target, their_views, our_views, old, new)
    target.parameters.values[...] = target.ops.array(ours_flat)
    return len(pairs)


def _first_layer(
    source: Model, target: Model, their_views: Views, our_views: Views, old: np.ndarray, new: np.ndarray
) -> None:
    """Copy W of the first layer. With one-hot input, each of its columns for x belongs to one token."""
    ours, theirs = our_views["layer0.W"], their_views["layer0.W"]
    hidden = target.config.hidden_size
    ours[:, :hidden], ours[:, -1] = theirs[:, :hidden], theirs[:, -1]
    if target.config.embedding_size:
        ours[...] = theirs
    else:
        _input_rows(target, our_views)[new] = _input_rows(source, their_views)[old]


def _input_rows(model: Model, views: Views) -> Array:
    """Return W_x of a model with one-hot input, a view `[V, G·H]`: of W, or of the table of a large vocabulary."""
    if "input.E" in views:
        return views["input.E"]
    return views["layer0.W"][:, model.config.hidden_size : -1].T

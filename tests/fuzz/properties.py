"""What the properties of models share: how one is stated, and what a model is tried on.

Figures that are equal but for rounding may differ by `models.TOLERANCE`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from charlm import checkpoint
from charlm.backends import NumpyBackend
from charlm.language_model import LanguageModel
from tests.fuzz import texts
from tests.fuzz.cases import Failed
from tests.fuzz.models import Drawn
from tests.fuzz.plain import Plain

_LONG = 150  # pieces of a very long line
WAYS = ((1, None, 1), (3, None, 1), (64, None, 1), (64, None, 2), (2, 1, 1))  # batch size, window, threads


def require(condition: bool, what: str, *values: object) -> None:
    """Raise `Failed` where a property does not hold."""
    if not condition:
        raise Failed(f"{what}: {', '.join(map(repr, values))}")


def plain_of(language_model: LanguageModel) -> Plain:
    """Return the same network, computed plainly."""
    parameters = language_model.model.parameters
    return Plain(language_model.model.config, parameters.named(parameters.values))


def lines_for(drawn: Drawn, count: int = 9) -> list[str]:
    """Draw lines as the commands take them that read text: with a label for a conditioned model."""
    rng, labels = drawn.rng, drawn.model.labels
    if drawn.kind == "conditioned":
        return [f"{rng.choice(labels)}\t{texts.field(rng)}" for _ in range(count)]
    many = 20 if rng.random() < 0.1 else count  # more lanes than one process takes
    return texts.lines(rng, many, long=_LONG if drawn.calm and rng.random() < 0.2 else 0)


def ids_of(drawn: Drawn, line: str) -> list[int]:
    """Return the ids of a line's tokens."""
    return drawn.model.tokenizer.encode(line).tolist()


def compare(drawn: Drawn, what: str, first: list, found: Callable[..., list]) -> None:
    """Check that each way of reading gives what one line at a time gave; a way may have no effect on some."""
    for batch_size, window, threads in WAYS[1:]:
        with drawn.model.model.ops.workers.limit(threads):
            other = found(batch_size=batch_size, window=window)
        require(len(first) == len(other), f"{what}: lines with batches of {batch_size}", len(first), len(other))
        for number, (one, another) in enumerate(zip(first, other, strict=True)):
            require(
                drawn.close(one, another),
                f"{what}: line {number} with batches of {batch_size}, window {window}, {threads} threads",
                one,
                another,
            )


def stored(drawn: Drawn, path: Path) -> LanguageModel:
    """Write the model and read it again: nothing of it may have changed."""
    checkpoint.save(path, drawn.model)
    again = checkpoint.load(path, NumpyBackend()).language_model
    one, other = (lm.model.parameters.values for lm in (drawn.model, again))
    require(np.array_equal(one, other), "weights that were saved and loaded")
    require(again.model.config == drawn.model.model.config and again.text == drawn.model.text, "a saved configuration")
    require(again.labels == drawn.model.labels, "saved labels", again.labels)
    names = [lm.tokenizer.vocabulary.tokens for lm in (drawn.model, again)]
    require(names[0] == names[1], "a saved vocabulary", *names)
    return again

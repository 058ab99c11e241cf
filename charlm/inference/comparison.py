"""Language models compared on the same text, in bits a character, with the uncertainty of a sample of lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from charlm.errors import CorpusError, UsageError
from charlm.inference.scoring import Score, Scorer
from charlm.language_model import LanguageModel

_QUANTILE = 1.959963984540054  # of the standard normal distribution, for an interval that holds in 95 % of samples


@dataclass(frozen=True)
class Compared:
    """One model among several.

    level: its token unit
    parameters: number of its weights
    tokens, oov: predicted tokens, and those of them that are `<UNK>`
    bits_per_char: -log2 P(text) over its characters, the end of each line counted as one
    standard_error: of bits_per_char, over samples of as many lines; NaN for fewer than two lines
    difference: bits_per_char less that of the best model; 0 for the best
    low, high: bounds of the 95 % interval of the difference
    """

    name: str
    level: str
    parameters: int
    tokens: int
    oov: int
    bits_per_char: float
    standard_error: float
    difference: float
    low: float
    high: float


def compare(models: Mapping[str, LanguageModel], lines: Iterable[str], *, batch_size: int = 64) -> list[Compared]:
    """Return one record for each model, the best first; equal ones stay in the order of `models`.

    Line i has c_i characters and costs a model b_i bits. With the sums over all n lines, bits_per_char is the ratio

        R = sum b_i / sum c_i,   se(R)^2 = n / (n - 1) sum (b_i - R c_i)^2 / (sum c_i)^2

    (Cochran 1977, Sampling Techniques, 2.41). The difference of two models is the same ratio of b_i - b'_i, so that
    lines that are hard for both do not blur it. Perplexities are not compared: each counts in the tokens of its model.

    A token that is `<UNK>` also costs its spelling. Without it a model that knows no word would seem the best. Each of
    its characters costs log2 A bits, and so does its end at the word level. A counts the text's distinct characters.

    models: language models, or cloze models alone, by name; stream models read the lines as one text
    lines: the text; lines of conditioned models are label TAB text
    Raises CorpusError for a text without characters, UsageError for models that cannot be compared.
    """
    _check(models)
    text = list(lines)
    of_character = math.log(max(2, len(set().union(*text))))
    bits: dict[str, np.ndarray] = {}
    of_text: np.ndarray | None = None
    counts = {}
    for name, model in models.items():
        scorer = Scorer(model, batch_size=batch_size, carry_state=model.is_stream, per_token=True)
        ends = model.text.level != "char"
        scores = [
            (one.nats + of_character * _unspelled(one, ends), len(one.text) + one.has_eos, one.tokens, one.oov)
            for one in scorer.score(text)
        ]
        nats, characters, tokens, oov = np.array(scores, float).reshape(-1, 4).T
        if not characters.sum():
            raise CorpusError("nothing to compare: the text is empty", hint="name a file with at least one line")
        if of_text is not None and not np.array_equal(characters, of_text):
            raise UsageError(
                f"{name} reads other characters of the text than {next(iter(models))}",
                hint="compare models with the same --normalize, and all or none with --condition",
            )
        bits[name], of_text = nats / math.log(2.0), characters
        counts[name] = int(tokens.sum()), int(oov.sum())
    assert of_text is not None
    order = sorted(models, key=lambda name: float(bits[name].sum()))
    return [
        Compared(
            name,
            models[name].text.level,
            models[name].model.parameters.count,
            *counts[name],
            *_ratio(bits[name], of_text),
            *_interval(bits[name] - bits[order[0]], of_text),
        )
        for name in order
    ]


def _check(models: Mapping[str, LanguageModel]) -> None:
    """Raise UsageError for models of other tasks, and for cloze models beside others."""
    for model in models.values():
        model.require("compare")
    kinds = {model.facts.is_cloze: name for name, model in models.items()}
    if len(kinds) > 1:
        raise UsageError(
            f"{kinds[True]} is a cloze model, and {kinds[False]} is not",
            hint="compare cloze models with each other: theirs are pseudo-probabilities",
        )


def _unspelled(score: Score, ends: bool) -> int:
    """Return the number of characters of the tokens that are `<UNK>`; ends: count the end of each, too."""
    return sum(len(one.token) + ends for one in score.token_scores if one.oov)


def _ratio(parts: np.ndarray, characters: np.ndarray) -> tuple[float, float]:
    """Return sum parts / sum characters, and its standard error; both [n], by line."""
    lines, total = len(parts), float(characters.sum())
    ratio = float(parts.sum()) / total
    if lines < 2:
        return ratio, math.nan
    squares = float(np.square(parts - ratio * characters).sum())
    return ratio, math.sqrt(lines / (lines - 1) * squares) / total


def _interval(parts: np.ndarray, characters: np.ndarray) -> tuple[float, float, float]:
    """Return the ratio and the bounds of its 95 % interval."""
    ratio, error = _ratio(parts, characters)
    return ratio, ratio - _QUANTILE * error, ratio + _QUANTILE * error

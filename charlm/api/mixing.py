"""Mixtures of models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from charlm.api.lines import plain_lines
from charlm.errors import UsageError
from charlm.inference.mixtures import Mixture, TunedMixture, member_of, tune
from charlm.inference.ngrams import NGramModel
from charlm.inference.scoring import Score, Scorer
from charlm.language_model import LanguageModel


def load_ngrams(path: str | Path, model: LanguageModel) -> NGramModel:
    """Read an n-gram model from an ARPA file, compressed by gzip or not, to be mixed with a model.

    Raises ModelFileError, with the line, if the file is missing, malformed or of other tokens than the model's.
    """
    return NGramModel(str(path), model.tokenizer.splitter)


def mix(
    models: Mapping[str, LanguageModel | NGramModel],
    lines: Iterable[str],
    *,
    weights: Sequence[float] | None = None,
) -> Iterator[Score]:
    """Yield the score of each line by a mixture: P(token) = sum_i w_i P_i(token).

    models: by name; the first is a language model, and its tokens are those of the scores
    weights: of all models, which sum to 1; None for equal ones
    Raises UsageError for invalid weights and for models that cannot be mixed.
    """
    return _mixture(models, weights).score(plain_lines(lines))


def tune_mix(models: Mapping[str, LanguageModel | NGramModel], lines: Iterable[str]) -> TunedMixture:
    """Return the weights with which a mixture predicts a text best: `weights`, `tokens`, `alone`, `perplexity`.

    models: as for `mix`
    Raises what `mix` raises, and CorpusError for a text without lines.
    """
    return tune(_mixture(models, None), plain_lines(lines))


def _mixture(models: Mapping[str, LanguageModel | NGramModel], weights: Sequence[float] | None) -> Mixture:
    (_, first), *others = models.items()
    if not isinstance(first, LanguageModel):
        raise UsageError("the first model of a mixture is an n-gram model", hint="name a charlm model first")
    return Mixture(Scorer(first), [member_of(first, other, name) for name, other in others], weights)

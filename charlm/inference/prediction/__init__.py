"""Predictions for each line of a text: tags, a class or a translation."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from charlm.inference.prediction.base import Prediction
from charlm.inference.prediction.classification import classify
from charlm.inference.prediction.tagging import tag, tag_columns
from charlm.inference.prediction.translation import Translator
from charlm.language_model import LanguageModel

__all__ = ["PREDICTORS", "Prediction", "Translator", "classify", "predict", "tag", "tag_columns"]


def _translate(language_model: LanguageModel, lines: Iterable[str], **options: Any) -> Iterator[Prediction]:
    return Translator(language_model, **options).predict(lines)


# By what a model answers, `Task.answers`.
PREDICTORS: dict[str, Callable[..., Iterator[Prediction]]] = {
    "tags": tag,
    "classes": classify,
    "translations": _translate,
}


def predict(language_model: LanguageModel, lines: Iterable[str], **options: Any) -> Iterator[Prediction]:
    """Yield the prediction for each line, in order; raise UsageError for a model of another task."""
    language_model.require("predict")
    return PREDICTORS[language_model.facts.answers](language_model, lines, **options)

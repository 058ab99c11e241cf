"""What the models of other tasks than language say of a line: tags, a class, a translation."""

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


PREDICTORS: dict[str, Callable[..., Iterator[Prediction]]] = {
    "tag": tag,
    "classify": classify,
    "translate": _translate,
}


def predict(language_model: LanguageModel, lines: Iterable[str], **options: Any) -> Iterator[Prediction]:
    """Yield the prediction for each line, in order; raises UsageError for a model that is for something else."""
    language_model.require("predict")
    return PREDICTORS[language_model.task](language_model, lines, **options)

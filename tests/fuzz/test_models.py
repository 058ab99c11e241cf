"""Random models of every task, cell and option agree with themselves and with the equations."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from tests.fuzz import of_columns, of_text
from tests.fuzz.cases import PARTS, Failed, check_all, numbers
from tests.fuzz.models import KINDS, draw
from tests.fuzz.of_columns import evaluating, playing, predicting
from tests.fuzz.of_text import filling, generating, scoring, suspecting
from tests.fuzz.of_training import learning
from tests.fuzz.properties import plain_of, stored

BY_TASK = {
    "lm": (scoring, generating, learning),
    "cloze": (scoring, filling, suspecting, learning),
    "tag": (predicting, evaluating, learning),
    "classify": (predicting, evaluating, learning),
    "translate": (predicting, evaluating, learning),
    "music": (playing, evaluating, learning),
}


@pytest.mark.parametrize("part", range(PARTS))
def test_models_agree_with_the_equations(part, tmp_path: Path, times, record_property):
    def check(number: int) -> None:
        drawn = draw(number)
        try:
            loaded = dataclasses.replace(drawn, model=stored(drawn, tmp_path / "m.safetensors"))
            for prove in BY_TASK[drawn.model.task]:
                prove(loaded)
        except Exception as error:
            error.add_note(str(drawn))
            raise

    with threadpool_limits(1), np.errstate(over="ignore", under="ignore"):
        check_all(numbers(part, times(9, 90)), check, f"{__file__}::test_models_agree", record_property)


@pytest.mark.parametrize("number", range(len(KINDS)), ids=KINDS)
def test_a_difference_is_seen(number, monkeypatch):
    """Weights that are others than the equations' by a hundredth make a property of every kind of model fail."""
    drawn = draw(number)
    first = BY_TASK[drawn.model.task][0]

    def other(language_model):
        plain = plain_of(language_model)
        plain.p["head.b_y"] = plain.p["head.b_y"] + 0.01 * np.arange(1, len(plain.p["head.b_y"]) + 1)[:, None]
        return plain

    for module in (of_text, of_columns):
        monkeypatch.setattr(module, "plain_of", other)
    with pytest.raises(Failed, match="the equations"):
        first(drawn)

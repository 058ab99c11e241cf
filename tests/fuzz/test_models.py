"""Random models of every task, cell and option agree with themselves and with the equations."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from tests.fuzz.cases import PARTS, Failed, check_all, numbers
from tests.fuzz.models import draw
from tests.fuzz.properties import BY_TASK, stored

each_part = pytest.mark.parametrize("part", range(PARTS))


@each_part
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
        check_all(numbers(part, times(36, 720)), check, f"{__file__}::test_models_agree", record_property)

"""Files that charlm 0.1.0 wrote, of the format's version 1: every later charlm reads them, to the same figures.

`fixtures/format1` holds a small model of each kind, what `expected.json` says of some lines, and a training that was
stopped at step 25 of 60 (`stopped`) beside what it ended in when it was not (`unbroken`).
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from charlm import api
from charlm.backends import NumpyBackend
from charlm.checkpoint import load
from tests.cli.shell import run

FOLDER = Path(__file__).parent / "fixtures" / "format1"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())


@pytest.mark.parametrize("name", [name for name in EXPECTED if "nats" in EXPECTED[name]])
def test_a_model_scores_as_it_did(name):
    model = api.load(FOLDER / f"{name}.safetensors")
    nats = [score.nats for score in api.score(model, EXPECTED[name]["lines"])]
    assert nats == pytest.approx(EXPECTED[name]["nats"], rel=1e-5)


@pytest.mark.parametrize("name", [name for name in EXPECTED if "prediction" in EXPECTED[name]])
def test_a_model_predicts_as_it_did(name):
    (prediction,) = api.predict(api.load(FOLDER / f"{name}.safetensors"), EXPECTED[name]["lines"])
    assert prediction.prediction == EXPECTED[name]["prediction"]
    assert prediction.prob == pytest.approx(EXPECTED[name]["prob"], rel=1e-4)


def weights_in(path):
    return load(path, NumpyBackend()).language_model.model.parameters.values


def test_a_training_goes_on_as_it_would_have(tmp_path):
    for name in ("stopped.safetensors", "stopped.ckpt.safetensors", "stopped.txt"):
        shutil.copy(FOLDER / name, tmp_path)
    run("train", "stopped.txt", "-o", "stopped.safetensors", "--threads", 1, "--resume", cwd=tmp_path).succeeded()
    unbroken = weights_in(FOLDER / "unbroken.safetensors")
    assert np.abs(weights_in(tmp_path / "stopped.safetensors") - unbroken).max() < 1e-4
    assert np.abs(weights_in(FOLDER / "stopped.safetensors") - unbroken).max() > 0.01

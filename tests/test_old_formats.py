"""Files of the format's earlier versions: every later charlm reads them, to the same figures.

`fixtures/format1` and `fixtures/format2` hold small models of several kinds, what `expected.json` says of some lines,
and a training that was stopped at step 25 of 60 (`stopped`) beside what it ended in when it was not (`unbroken`).
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

FOLDERS = [Path(__file__).parent / "fixtures" / name for name in ("format1", "format2")]
EXPECTED = {
    folder / f"{name}.safetensors": expected
    for folder in FOLDERS
    for name, expected in json.loads((folder / "expected.json").read_text()).items()
}


def named(path):
    return f"{path.parent.name}-{path.stem}"


@pytest.mark.parametrize("path", [path for path in EXPECTED if "nats" in EXPECTED[path]], ids=named)
def test_a_model_scores_as_it_did(path):
    nats = [score.nats for score in api.score(api.load(path), EXPECTED[path]["lines"])]
    assert nats == pytest.approx(EXPECTED[path]["nats"], rel=1e-5)


@pytest.mark.parametrize("path", [path for path in EXPECTED if "prediction" in EXPECTED[path]], ids=named)
def test_a_model_predicts_as_it_did(path):
    (prediction,) = api.predict(api.load(path), EXPECTED[path]["lines"])
    assert prediction.prediction == EXPECTED[path]["prediction"]
    assert prediction.prob == pytest.approx(EXPECTED[path]["prob"], rel=1e-4)


def weights_in(path):
    return load(path, NumpyBackend()).language_model.model.parameters.values


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_training_goes_on_as_it_would_have(tmp_path, folder):
    for name in ("stopped.safetensors", "stopped.ckpt.safetensors", "stopped.txt"):
        shutil.copy(folder / name, tmp_path)
    run("train", "stopped.txt", "-o", "stopped.safetensors", "--threads", 1, "--resume", cwd=tmp_path).succeeded()
    unbroken = weights_in(folder / "unbroken.safetensors")
    assert np.abs(weights_in(tmp_path / "stopped.safetensors") - unbroken).max() < 1e-4
    assert np.abs(weights_in(folder / "stopped.safetensors") - unbroken).max() > 0.01

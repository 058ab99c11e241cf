"""Damaged files of other programs are refused as such, or read: nothing else happens."""

import numpy as np
import pytest

import charlm
from charlm.errors import CharlmError
from tests.exchange.cases import model_of


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors"])
def test_bytes_that_are_changed_lost_or_missing(tmp_path, times, suffix):
    if suffix == ".onnx":
        pytest.importorskip("onnx")
    refused = 0
    for case in ("gru-simple", "cloze"):
        path, damaged = tmp_path / f"m{suffix}", tmp_path / f"damaged{suffix}"
        charlm.export(model_of(case), path)
        data, rng = path.read_bytes(), np.random.default_rng(7)
        for number in range(times(30, 1000)):
            changed, at = bytearray(data), int(rng.integers(len(data)))
            if number % 3 == 0:
                changed[at % 3000] = rng.integers(256)
            elif number % 3 == 1:
                del changed[at:]
            else:
                del changed[at : at + int(rng.integers(1, 200))]
            damaged.write_bytes(changed)
            try:
                charlm.import_model(damaged)
            except CharlmError as error:
                refused += 1
                assert error.hint and str(damaged) in error.message
    assert refused > times(30, 1000)

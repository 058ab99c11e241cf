"""Texts drawn on a compiled core are those that NumPy draws, and what is known of them ends where they end."""

import pytest

from charlm.backends import NumpyBackend
from charlm.backends.compiled import stream as stream_module
from charlm.config import ModelConfig, SampleConfig
from charlm.inference.generation import Sample, Sampler
from charlm.nn.build import build
from charlm.nn.stepping import DeviceStepper
from tests.compiled import BEST_CORE, compiled_backend
from tests.fakes import language_model

TOKENS = "abcde ,."


@pytest.fixture(params=BEST_CORE)
def ops(request):
    return compiled_backend(request.param)


def sampler(ops, *, unit="stream", **config):
    options = {"hidden_size": 9, "num_layers": 2, "dropout": 0.2, "dtype": "float64"}
    model = build(ModelConfig(len(TOKENS) + 2, cell="gru", **options), ops, seed=4)
    model.parameters.values[...] *= 4.0
    return Sampler(language_model(model, TOKENS, unit=unit), SampleConfig(**config))


@pytest.fixture(params=[1, 3, 1000])
def chunks(request, monkeypatch):
    """How many tokens a call draws at most."""
    monkeypatch.setattr(stream_module, "_MOST", request.param)


def check(found, expected):
    assert (found.text, found.tokens) == (expected.text, expected.tokens)
    assert found.log_prob == pytest.approx(expected.log_prob, abs=1e-9)
    assert found.unk_mass_rejected == pytest.approx(expected.unk_mass_rejected, abs=1e-9)


@pytest.mark.thinned(3)
@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("unit", ["line", "stream"])
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"stop": ("ab", "e")},
        {"stop": ("abcabcabc",)},
        {"allow_unk": True, "temperature": 1.3},
        {"top_k": 3, "top_p": 0.9},
        {"temperature": 0.0, "length": 7},
        {"length": 0},
    ],
    ids=str,
)
def test_texts_are_those_of_numpy(ops, unit, config):
    of_core, of_numpy = (sampler(one, unit=unit, **config) for one in (ops, NumpyBackend()))
    for prompt in ("", "abcde" * 60, "?"):
        for number in range(4):
            expected = of_numpy.sample(prompt, seed=1, number=number)
            check(of_core.sample(prompt, seed=1, number=number), expected)
    assert isinstance(of_core._steppers[0], DeviceStepper)


@pytest.mark.usefixtures("chunks")
def test_what_is_known_grows_with_the_pieces(ops):
    """A text that is not read to its end is known as far as it was read; the next one begins anew."""
    of_core, of_numpy = sampler(ops, length=50), sampler(NumpyBackend(), length=50)
    for count in (1, 5, 20):
        known = [Sample(), Sample()]
        for one, sample in zip((of_core, of_numpy), known, strict=True):
            pieces = one.pieces(seed=2, into=sample)
            sample.text = "".join(next(pieces) for _ in range(count))
            pieces.close()
        check(*known)
        assert len(known[0].tokens) == count
    check(of_core.sample(seed=3), of_numpy.sample(seed=3))


@pytest.mark.usefixtures("chunks")
def test_two_texts_at_the_same_time(ops):
    one = sampler(ops, length=30)
    alone = [one.sample(seed=5, number=number).text for number in range(2)]
    first, second = one.pieces(seed=5, number=0), one.pieces(seed=5, number=1)
    pairs = list(zip(first, second, strict=True))
    assert ["".join(pieces) for pieces in zip(*pairs, strict=True)] == alone
    assert alone[0] != alone[1]

"""`--dtype bfloat16` on machines with such products and without: what is written, what is refused."""

import numpy as np
import pytest

from charlm import backends
from charlm.backends.compiled import library
from charlm.backends.compiled.library import CORES, obstacle
from charlm.benchmark import measurement
from charlm.storage.container import Container, write
from tests.bfloat16 import RoundingBackend
from tests.cli.shell import files_of

TINY = ("--hidden-size", 6, "--num-layers", 1, "--batch-size", 4, "--seq-length", 8, "--seed", 3, "--max-steps", 6)
BFLOAT16 = ("--dtype", "bfloat16")
REFUSAL = ("--dtype bfloat16: ", "bfloat16", "use --dtype float32")
CPU = backends._cpu
QUICK = (*TINY[:8], "--seconds", 0.01, "--repeats", 1, "--threads", 1)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("".join(f"{a}{b}{a}\n" for a in "abcd" for b in "efghij"))
    return path


@pytest.fixture
def has_bfloat16(monkeypatch):
    """This machine computes in NumPy, and multiplies in bfloat16."""
    monkeypatch.setattr(backends, "_cpu", RoundingBackend)


@pytest.fixture(params=["NumPy", "an older processor"])
def lacks_bfloat16(request, monkeypatch, tmp_path_factory):
    """Return a function that makes this a machine without bfloat16 products."""

    def call():
        if request.param == "NumPy":
            monkeypatch.setattr(backends, "_cpu", backends.NumpyBackend)
            return
        if all(map(obstacle, CORES)):
            pytest.skip("no library of the compiled core is installed and runs here")
        features = library._processor_features() - {"avx512_bf16", "amx_bf16"}
        path = tmp_path_factory.mktemp("processor") / "cpuinfo"
        path.write_text(f"flags\t\t: {' '.join(sorted(features))}\n")
        monkeypatch.setattr(library, "_FEATURES", path)
        monkeypatch.setenv("CHARLM_CORE", "auto")
        monkeypatch.setattr(backends, "_cpu", CPU)
        library.open_library.cache_clear()

    yield call
    library.open_library.cache_clear()


@pytest.fixture
def trained(charlm, corpus, tmp_path, has_bfloat16):
    """A model that was trained in bfloat16."""
    path = tmp_path / "m.safetensors"
    charlm("train", corpus, "-o", path, *TINY, *BFLOAT16, "--keep-checkpoint").succeeded()
    return path


def test_the_files_have_the_precision_in_their_header_and_float32_arrays(trained):
    for path in (trained, trained.with_name("m.ckpt.safetensors")):
        file = Container(path)
        assert file.header["model"]["dtype"] == "bfloat16"
        assert {array.dtype.name for array in file.arrays().values()} == {"float32"}


def test_inspect_prints_the_precision(charlm, trained):
    (network,) = [line for line in charlm("inspect", trained).succeeded().lines if line.startswith("network")]
    assert network.endswith(", bfloat16")
    (record,) = charlm("inspect", trained, "--format", "jsonl").succeeded().records
    assert record["config"]["dtype"] == "bfloat16"


def test_any_machine_opens_the_model_and_scores_as_with_float32(charlm, trained, corpus, lacks_bfloat16):
    lacks_bfloat16()
    charlm("inspect", trained.with_name("m.ckpt.safetensors")).succeeded()
    assert charlm("generate", trained, "--seed", 1).succeeded().out
    plain = trained.with_name("plain.safetensors")
    file = Container(trained)
    write(plain, {**file.header, "model": {**file.header["model"], "dtype": "float32"}}, file.arrays())
    scores = [charlm("score", path, corpus).succeeded().out for path in (trained, plain)]
    assert scores[0] == scores[1]


def test_training_is_refused_and_nothing_is_written(charlm, corpus, tmp_path, lacks_bfloat16):
    lacks_bfloat16()
    before = files_of(tmp_path)
    charlm("train", corpus, "-o", tmp_path / "m", *TINY, *BFLOAT16).failed(6, *REFUSAL)
    charlm("train", tmp_path / "missing.txt", "-o", tmp_path / "m", *TINY, *BFLOAT16).failed(6, *REFUSAL)
    assert files_of(tmp_path) == before


def test_resuming_is_refused_before_the_corpus_is_read(charlm, trained, tmp_path, lacks_bfloat16):
    lacks_bfloat16()
    before = files_of(tmp_path)
    for corpus in (tmp_path / "corpus.txt", tmp_path / "missing.txt"):
        charlm("train", corpus, "-o", trained, "--resume", "--max-steps", 9).failed(6, *REFUSAL)
    assert files_of(tmp_path) == before


def test_the_weights_start_a_training_in_float32(charlm, trained, corpus, tmp_path, lacks_bfloat16):
    lacks_bfloat16()
    other = tmp_path / "other.safetensors"
    charlm("train", corpus, "-o", other, *TINY, "--init-from", trained).succeeded()
    assert Container(other).header["model"]["dtype"] == "float32"
    before = files_of(tmp_path)
    charlm("train", corpus, "-o", tmp_path / "m2", *TINY, *BFLOAT16, "--init-from", other).failed(6, *REFUSAL)
    assert files_of(tmp_path) == before


def test_a_training_is_resumed_in_its_precision(charlm, corpus, trained, tmp_path):
    """Without the flag too, and in other bytes than a training that stays in float32."""
    more = ("--resume", "--max-steps", 9, "--keep-checkpoint")
    charlm("train", corpus, "-o", trained, *more).succeeded()
    files = {name: tmp_path / name for name in ("bfloat16.safetensors", "float32.safetensors")}
    for dtype in ("bfloat16", "float32"):
        path = files[f"{dtype}.safetensors"]
        charlm("train", corpus, "-o", path, *TINY, "--dtype", dtype, "--keep-checkpoint").succeeded()
        charlm("train", corpus, "-o", path, *TINY[:-2], "--dtype", dtype, *more).succeeded()
    assert trained.read_bytes() == files["bfloat16.safetensors"].read_bytes()
    arrays = [Container(path).arrays() for path in files.values()]
    assert not any(np.array_equal(arrays[0][name], arrays[1][name]) for name in arrays[0])
    charlm("train", corpus, "-o", trained, "--resume", "--dtype", "float32").failed(2, "--dtype float32", "bfloat16")


# ---- generate


def test_a_text_is_drawn_in_the_precision_that_is_asked_for(charlm, trained):
    drawn = ("generate", trained, "--seed", 1, "-l", 40, "--format", "jsonl")
    plain, same, other = (
        charlm(*drawn, *flags).succeeded().records for flags in ((), ("--dtype", "float32"), BFLOAT16)
    )
    assert plain == same
    assert plain[0]["log10p"] != other[0]["log10p"]


def test_a_text_in_bfloat16_is_refused(charlm, trained, corpus, lacks_bfloat16):
    lacks_bfloat16()
    charlm("generate", trained, *BFLOAT16).failed(6, *REFUSAL)
    charlm("train", corpus, "-o", trained, "--force", *TINY, "--dtype", "float64").succeeded()
    charlm("generate", trained, *BFLOAT16).failed(2, "--dtype bfloat16", "float64", "leave out --dtype")


# ---- bench


@pytest.mark.slow
def test_bench_measures_training_and_a_text_in_bfloat16(charlm, monkeypatch, has_bfloat16):
    """Each case is counted against the peak of its precision."""
    monkeypatch.setattr(
        measurement, "best_rate", lambda ops, dtype, seconds: {"float32": 3e12, "bfloat16": 6e12}[dtype]
    )
    records = charlm("bench", "--format", "jsonl", *BFLOAT16, *QUICK).succeeded().records
    assert [(record["case"], record["dtype"]) for record in records] == [
        *((case, "bfloat16") for case in ("train", "generate")),
        *((case, "float32") for case in ("score", "start")),
    ]
    assert [record["peak_gflops"] for record in records] == [6e3, 6e3, 3e3, None]


@pytest.mark.slow
def test_benchs_text_has_the_sizes_of_each_precision(charlm, has_bfloat16):
    lines = charlm("bench", *BFLOAT16, *QUICK).succeeded().lines
    assert [line.split()[0] for line in lines] == [
        *("network", "machine", "train", "generate"),
        *("network", "machine", "score", "start"),
    ]
    assert lines[0].endswith("bfloat16") and lines[4].endswith("float32")


def test_bench_refuses_what_it_measures_in_bfloat16(charlm, lacks_bfloat16):
    lacks_bfloat16()
    for case in ((), ("train",), ("generate",)):
        assert charlm("bench", *case, *BFLOAT16, *QUICK).failed(6, *REFUSAL).out == b""
    charlm("bench", "score", *BFLOAT16, *QUICK).succeeded()

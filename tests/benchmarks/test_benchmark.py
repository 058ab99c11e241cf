"""What `charlm bench` measures."""

from __future__ import annotations

import itertools
import statistics
import threading
from types import SimpleNamespace

import pytest

from charlm import benchmark
from charlm.backends import NumpyBackend
from charlm.backends.compiled.library import fastest_library
from charlm.benchmark import measurement, peak
from charlm.config import TrainConfig
from charlm.errors import CorpusError, UsageError
from tests.bfloat16 import RoundingBackend

H, V, D = 16, 20, 8
TRAIN = TrainConfig(batch_size=4, seq_length=8)
QUICK = benchmark.BenchmarkConfig(seconds=0.01, repeats=3, threads=1)


def work(level="word", cell="lstm", embedding_size=D, ops=None, **network):
    sizes = {"cell": cell, "hidden_size": H, "embedding_size": embedding_size, **network}
    return benchmark.synthetic_workload(sizes, level, TRAIN, vocabulary_size=V, ops=ops)


def test_each_case_is_measured():
    results = list(benchmark.measure(work(), ("train", "generate", "score"), QUICK))
    assert [result.case for result in results] == ["train", "generate", "score"]
    for result in results:
        assert result.tokens_per_second > 0
        assert 0 < result.peak_share < 1.2
        assert result.peak_gflops > 0 and result.threads == 1 and result.seconds is None
        assert (result.hidden_size, result.vocabulary_size, result.embedding_size) == (H, V, D)
    assert [result.batch_size for result in results] == [4, 1, 4]


@pytest.mark.slow
def test_a_whole_process_has_seconds_and_no_share():
    (result,) = benchmark.measure(
        work("char", embedding_size=0), ("start",), benchmark.BenchmarkConfig(seconds=0.01, repeats=1, threads=1)
    )
    assert result.peak_share is None and result.peak_gflops is None
    assert result.seconds == pytest.approx(benchmark.STARTED / result.tokens_per_second)


def test_the_speed_is_the_median_of_the_repeats(monkeypatch):
    speeds = itertools.cycle([100.0, 900.0, 300.0])
    monkeypatch.setattr(measurement, "rate", lambda step, seconds: next(speeds))
    (result,) = benchmark.measure(work(), ("train",), QUICK)
    assert result.tokens_per_second == statistics.median([100.0, 900.0, 300.0])
    operations = benchmark.operations_per_token(work().language_model.model, "train")
    assert result.peak_share == pytest.approx(operations * 300.0 / (result.peak_gflops * 1e9))


def test_rate_counts_what_a_step_says():
    steps = []

    def step():
        steps.append(7)
        return 7

    assert benchmark.rate(step, 0.01) > 0
    steps.clear()
    benchmark.rate(step, 1e-9)
    assert len(steps) == 1


NETWORKS = [
    {"cell": "rnn"},
    {"cell": "gru"},
    {"cell": "gru", "reset": "before"},
    {"cell": "gru-simple"},
    {"cell": "lstm"},
    {"cell": "lstm", "relevance_gate": True},
    {"cell": "lstm-peephole"},
    {"cell": "lstm", "num_layers": 3, "dense": (12, 9)},
    {"cell": "lstm", "embedding_size": H, "tie_weights": True},
]


class Counting(NumpyBackend):
    """Counts the operations of matrix products: 2 m n k for `[m, k] @ [k, n]`."""

    operations = 0.0

    def matmul(self, a, b, *, out, add=False):
        self.operations += 2.0 * a.shape[-1] * out.size
        super().matmul(a, b, out=out, add=add)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
@pytest.mark.parametrize("case", ["generate", "score", "train"])
def test_operations_are_those_of_the_reference_scan(case, network):
    """What the reference multiplies beyond them are biases, and in scoring the padding of lines side by side."""
    ops = Counting()
    of_work = work(ops=ops, **network)
    with ops.workers.limit(1):
        step, _, _ = measurement._step_of(case, of_work, None, None)
        ops.operations = 0.0
        tokens = step()
    needed = benchmark.operations_per_token(of_work.language_model.model, case)
    padding = 1.35 if case == "score" else 1.0
    assert needed <= ops.operations / tokens < needed * 1.15 * padding


@pytest.mark.parametrize("case, passes", [("generate", 1), ("score", 1), ("train", 3)])
def test_operations_are_two_for_each_weight_and_pass(case, passes):
    """A one-hot vector is not multiplied with: it chooses a column."""
    weights = 4 * H * H + 4 * H * (H + H) + V * H
    one_hot = work("char", embedding_size=0).language_model.model
    assert benchmark.operations_per_token(one_hot, case) == 2 * passes * weights
    embedded = weights + (4 * H * D if case != "generate" else 0)
    assert benchmark.operations_per_token(work().language_model.model, case) == 2 * passes * embedded


def test_the_peak_is_the_faster_of_squares_and_the_core(monkeypatch):
    monkeypatch.setattr(peak, "best_product", lambda ops, dtype, seconds: 5e9)
    monkeypatch.setattr(peak, "fastest_library", lambda: None)
    for ops, dtype in ((NumpyBackend(), "float32"), (RoundingBackend(), "bfloat16")):
        assert benchmark.best_rate(ops, dtype, 0.01) == 5e9
    monkeypatch.setattr(peak, "fastest_library", lambda: SimpleNamespace(bfloat16="v4"))
    for of_core, wanted in ((7e9, 7e9), (3e9, 5e9)):
        monkeypatch.setattr(peak, "core_rate", lambda library, workers, dtype, seconds, rate=of_core: rate)
        assert benchmark.best_rate(NumpyBackend(), "float32", 0.01) == wanted
        assert benchmark.best_rate(RoundingBackend(), "bfloat16", 0.01) == wanted
    monkeypatch.setattr(peak, "fastest_library", lambda: SimpleNamespace(bfloat16=""))
    monkeypatch.setattr(peak, "core_rate", lambda library, workers, dtype, seconds: 7e9)
    assert benchmark.best_rate(RoundingBackend(), "bfloat16", 0.01) == 5e9


@pytest.mark.parametrize("threads", [1, 2])
def test_the_loop_of_the_core_runs_on_all_workers_at_the_same_time(monkeypatch, threads):
    """A library whose rounds wait for those of all workers, and take so long by a clock of their own."""
    pause, operations, now = 1e-4, 1000, [0.0]
    together = threading.Barrier(threads, timeout=60)

    class Library:
        bfloat16 = ""

        def __init__(self):
            def core_peak_f32(rounds):
                if together.wait() == 0:
                    now[0] += pause * rounds

            def core_peak_operations_f32():
                return operations

            self.core_peak_f32, self.core_peak_operations_f32 = core_peak_f32, core_peak_operations_f32

    monkeypatch.setattr(peak, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    ops = NumpyBackend()
    with ops.workers.limit(threads):
        rate = benchmark.core_rate(Library(), ops.workers, "float32", 0.2)
    assert rate == pytest.approx(threads * operations / pause)


@pytest.mark.thinned(2)
@pytest.mark.skipif(fastest_library() is None, reason="this machine has no compiled core")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_compiled_core_has_a_loop_for_the_peak(monkeypatch, dtype):
    """Whatever computes here, the peak is the machine's."""
    monkeypatch.setenv("CHARLM_CORE", "numpy")
    ops, library = NumpyBackend(), fastest_library()
    with ops.workers.limit(1):
        square = benchmark.best_product(ops, dtype, 0.01)
        assert benchmark.core_rate(library, ops.workers, dtype, 0.3) > 0.5 * square


def test_best_product_multiplies_with_as_many_threads_as_are_asked_for():
    ops, seen = NumpyBackend(), []

    class Watched(NumpyBackend):
        def matmul(self, a, b, *, out):
            seen.append(self.workers.count)
            super().matmul(a, b, out=out)

    watched = Watched()
    with watched.workers.limit(1):
        assert benchmark.best_product(watched, "float32", 0.001) > 0
    assert set(seen) == {1}
    assert ops.workers.count >= 1


def test_synthetic_text_uses_the_whole_vocabulary_but_its_ends():
    for level in ("char", "word"):
        made = work(level, embedding_size=0)
        assert set(made.ids) == set(range(2, V))
        tokenizer = made.language_model.tokenizer
        lengths = [len(tokenizer.encode(line)) - 1 for line in made.lines]
        assert min(lengths) >= benchmark.SHORTEST and max(lengths) <= benchmark.LONGEST
        assert all(tokenizer.encode(line)[:-1].min() >= 2 for line in made.lines)


def test_given_text_is_worked_on():
    lines = ["the cook fed the duck", "", "no", "the maid saw the old cook near the sink"]
    made = benchmark.text_workload(lines, {"hidden_size": H}, "word", TRAIN, vocabulary_size=6)
    assert len(made.language_model.tokenizer.vocabulary) == 6
    assert set(made.lines) == {lines[0], lines[3]}  # of 5 to 40 tokens
    assert next(iter(benchmark.measure(made, ("train",), QUICK))).vocabulary_size == 6


@pytest.mark.parametrize("lines", [[], [""], ["too short"]])
def test_text_without_tokens_or_lines_is_refused(lines):
    with pytest.raises(CorpusError):
        benchmark.text_workload(lines, {"hidden_size": H}, "word", TRAIN)


@pytest.mark.parametrize("wrong", [{"seconds": 0.0}, {"seconds": float("nan")}, {"repeats": 0}])
def test_a_measurement_that_cannot_be_is_refused(wrong):
    with pytest.raises(UsageError):
        benchmark.BenchmarkConfig(**wrong)

"""What `charlm bench` measures, and the table of the speed beside PyTorch's."""

from __future__ import annotations

import itertools
import statistics

import pytest

from charlm import benchmark
from charlm.backends import NumpyBackend
from charlm.benchmark import measurement
from charlm.config import TrainConfig
from charlm.errors import CorpusError, UsageError
from tests.benchmarks.speed_cases import CASES
from tests.benchmarks.speed_table import FILE, Row, row_line, rows_head, updated
from tests.readme import README

H, V, D = 16, 20, 8
TRAIN = TrainConfig(batch_size=4, seq_length=8)
QUICK = benchmark.BenchmarkConfig(seconds=0.01, repeats=3, threads=1)


def work(level="word", cell="lstm", embedding_size=D, **network):
    sizes = {"cell": cell, "hidden_size": H, "embedding_size": embedding_size, **network}
    return benchmark.synthetic_workload(sizes, level, TRAIN, vocabulary_size=V)


def test_each_case_is_measured():
    results = list(benchmark.measure(work(), ("train", "generate", "score"), QUICK))
    assert [result.case for result in results] == ["train", "generate", "score"]
    for result in results:
        assert result.tokens_per_second > 0
        assert 0 < result.peak_share < 1.2
        assert result.peak_gflops > 0 and result.threads == 1 and result.seconds is None
        assert (result.hidden_size, result.vocabulary_size, result.embedding_size) == (H, V, D)
    assert [result.batch_size for result in results] == [4, 1, 4]


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
    operations = benchmark.operations_per_token(work(), "train")
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


@pytest.mark.parametrize("cell, gates", [("lstm", 4), ("gru", 3), ("rnn", 1)])
@pytest.mark.parametrize("case, passes", [("generate", 1), ("score", 1), ("train", 3)])
def test_operations_are_those_of_the_equations(cell, gates, case, passes):
    """2 for each weight and token; training multiplies thrice with each, but never with what lies before the first.

    Generating, the product of the first layer with a token's vector is computed once for each token.
    """
    first = gates * H * (H + (D if case != "generate" else 0))
    weights = first + gates * H * (H + H) + V * H
    counted = benchmark.operations_per_token(work(cell=cell), case)
    padding = 1.35 if case == "score" else 1.0  # lines side by side differ in length
    biases = 1.15  # and sums done by products
    assert 0.9 * 2 * weights * passes < counted < 2 * weights * passes * padding * biases


def test_counting_changes_nothing_of_what_is_measured():
    of_work = work()
    before = of_work.language_model.model.parameters.values.copy()
    benchmark.operations_per_token(of_work, "train")
    assert (of_work.language_model.model.parameters.values == before).all()


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


def test_the_readme_has_the_table_as_it_was_measured():
    text = README.read_text()
    assert "<!-- speed -->" in text
    assert updated(text, FILE.read_text()) == text, "run: make bench, which writes both"


def test_a_row_shows_the_median_ratio_and_its_spread():
    row = Row(CASES[0], 1300.0, 1000.0, [1.1, 1.25, 1.3], 100.0, 400.0, {"adam": "fused", "threads": 2})
    cells = [cell.strip() for cell in row_line(row).strip("|").split("|")]
    assert cells[1:] == ["1,300", "1,000", "1.25 (1.10 to 1.30)", "1.2", "100 / 400", "adam fused"]
    assert len(cells) == rows_head()[0].count("|") - 1

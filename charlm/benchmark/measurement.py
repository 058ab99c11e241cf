"""Measuring tokens per second, and their share of this machine's peak."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from charlm.benchmark.peak import best_rate
from charlm.benchmark.workload import (
    GENERATED,
    LONGEST,
    STARTED,
    Step,
    Workload,
    generation,
    scoring,
    starting,
    training,
)
from charlm.errors import ResourceError, UsageError
from charlm.nn.build import parameter_shapes
from charlm.nn.model import Model
from charlm.storage.files import hint_for

CASES = ("train", "generate", "score", "start")


@dataclass(frozen=True)
class BenchmarkConfig:
    """How long and how often a case is measured.

    seconds: minimum time of one repeat
    threads: of the matrix products, None for all
    """

    seconds: float = 1.0
    repeats: int = 5
    threads: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.seconds <= 1e6:
            raise UsageError(f"--seconds is {self.seconds!r}", hint="use a number above 0, at most 1e+06")
        if self.repeats < 1:
            raise UsageError(f"--repeats is {self.repeats!r}", hint="use a whole number from 1 on")


@dataclass(frozen=True)
class Measurement:
    """The speed of one case.

    core: what computed, as in `Backend.core`
    batch_size: sequences side by side
    seq_length: tokens of the longest sequence
    dtype: precision of the products; bfloat16 only in training, the other cases are then computed in float32
    tokens_per_second: median of the repeats
    peak_gflops: 1e9 operations a second of the fastest arithmetic of this precision and number of threads
    peak_share: rate of the operations that the case's equations need over the peak; None for `start`, as is peak_gflops
    seconds: of one whole process, for `start`; None for the other cases
    """

    case: str
    core: str
    cell: str
    hidden_size: int
    num_layers: int
    embedding_size: int
    vocabulary_size: int
    batch_size: int
    seq_length: int
    dtype: str
    threads: int
    tokens_per_second: float
    peak_share: float | None
    peak_gflops: float | None
    seconds: float | None


def measure(work: Workload, cases: Sequence[str], config: BenchmarkConfig) -> Iterator[Measurement]:
    """Yield the measurement of each case as soon as it is complete.

    cases: some of `CASES`
    Raises DivergenceError, CorpusError or ResourceError if the work itself fails.
    """
    model = work.language_model.model
    peaks: dict[str, float] = {}
    with model.ops.workers.limit(config.threads), contextlib.ExitStack() as folders:
        for case in cases:
            has_share = case != "start"
            dtype = model.config.dtype if case in ("train", "generate") else model.config.array_dtype
            # Before the peak is measured: it raises ResourceError without this precision.
            folder = Path() if has_share else folders.enter_context(_temporary_folder())
            step, batch_size, seq_length = _step_of(case, work, folder, config.threads)
            if has_share and dtype not in peaks:
                peaks[dtype] = best_rate(model.ops, dtype, config.seconds)
            step()  # the first step allocates the buffers
            speed = statistics.median(rate(step, config.seconds) for _ in range(config.repeats))
            yield Measurement(
                case=case,
                core=model.ops.in_precision(dtype).core,
                cell=model.config.cell,
                hidden_size=model.config.hidden_size,
                num_layers=model.config.num_layers,
                embedding_size=model.config.embedding_size,
                vocabulary_size=model.config.vocabulary_size,
                batch_size=batch_size,
                seq_length=seq_length,
                dtype=dtype,
                threads=model.ops.workers.count,
                tokens_per_second=speed,
                peak_share=operations_per_token(model, case) * speed / peaks[dtype] if has_share else None,
                peak_gflops=peaks[dtype] / 1e9 if has_share else None,
                seconds=None if has_share else STARTED / speed,
            )


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Create a folder for a model file, and remove it after the block."""
    try:
        made = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    except OSError as error:
        raise ResourceError(
            f"cannot create a temporary folder: {error.strerror or error}",
            hint=hint_for(error, "name a writable folder: TMPDIR=FOLDER charlm bench start"),
        ) from error
    with made as folder:
        yield Path(folder)


def rate(step: Step, seconds: float) -> float:
    """Return the tokens per second of a step that is repeated for `seconds`, at least once."""
    tokens, begin, elapsed = 0, time.perf_counter(), 0.0
    while elapsed < seconds or not tokens:
        tokens += step()
        elapsed = time.perf_counter() - begin
    return tokens / elapsed


def operations_per_token(model: Model, case: str) -> float:
    """Return the operations a token that the equations of a case other than `start` need in matrix products.

    They are 2 for each weight that a token is multiplied with, and 6 in training: forward, for dL/dx and for dL/dW.
    The product of the first layer with a one-hot vector needs none: it is a column of W. Nor does that product with
    an embedded token while a text is drawn: it is computed once for each token of the vocabulary.
    """
    config, weights = model.config, 0
    reads_columns = not config.embedding_size or case == "generate"
    for name, (rows, columns) in parameter_shapes(config, model.ops).items():
        if name.startswith("layer") and name.endswith(".W"):  # [W_a, W_x, b]
            weights += rows * (config.hidden_size if name == "layer0.W" and reads_columns else columns - 1)
        elif name.startswith("dense") and name.endswith(".W"):
            weights += rows * columns
    weights += config.vocabulary_size * config.top
    return weights * (6.0 if case == "train" else 2.0)


def _step_of(case: str, work: Workload, folder: Path, threads: int | None) -> tuple[Step, int, int]:
    """Return a case's step, the number of its sequences side by side, and the tokens of the longest."""
    if case == "train":
        return training(work)
    if case == "generate":
        return generation(work.language_model), 1, GENERATED
    if case == "score":
        return scoring(work), work.language_model.train.batch_size, LONGEST
    return starting(work.language_model, folder, threads), 1, STARTED

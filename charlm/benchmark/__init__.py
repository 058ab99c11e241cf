"""How fast a network of given sizes works on this machine: tokens per second, and the share of its best products."""

from charlm.benchmark.measurement import (
    CASES,
    BenchmarkConfig,
    Measurement,
    best_product,
    measure,
    operations_per_token,
    rate,
)
from charlm.benchmark.workload import (
    GENERATED,
    LONGEST,
    SHORTEST,
    STARTED,
    Step,
    Workload,
    generation,
    scoring,
    start_command,
    starting,
    synthetic_workload,
    text_workload,
    training,
)

__all__ = [
    "CASES",
    "GENERATED",
    "LONGEST",
    "SHORTEST",
    "STARTED",
    "BenchmarkConfig",
    "Measurement",
    "Step",
    "Workload",
    "best_product",
    "generation",
    "measure",
    "operations_per_token",
    "rate",
    "scoring",
    "start_command",
    "starting",
    "synthetic_workload",
    "text_workload",
    "training",
]

"""Speed of a network of given sizes on this machine: tokens per second, and the share of the machine's peak."""

from charlm.benchmark.measurement import (
    CASES,
    BenchmarkConfig,
    Measurement,
    measure,
    operations_per_token,
    rate,
)
from charlm.benchmark.peak import best_product, best_rate, core_rate
from charlm.benchmark.workload import (
    GENERATED,
    LONGEST,
    SHORTEST,
    STARTED,
    Step,
    Workload,
    compiled_once,
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
    "best_rate",
    "compiled_once",
    "core_rate",
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

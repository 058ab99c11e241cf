"""The configurations of a run: frozen, and checked once, when they are made."""

from charlm.config.network import (
    ACTIVATIONS,
    CELL_NAMES,
    CELL_VARIANTS,
    DROPOUT_KINDS,
    DTYPES,
    MOST_LAYERS,
    OF_TRAINING,
    RESETS,
    SOFTMAXES,
    ModelConfig,
    cell_fields,
)
from charlm.config.record import LARGEST_SIZE, Record
from charlm.config.sampling import SampleConfig
from charlm.config.text import (
    LEVELS,
    NORMALIZATIONS,
    SPLITS,
    TAG_SCHEMES,
    UNITS,
    TextConfig,
    check_text,
    check_vocabulary,
)
from charlm.config.training import KEPT, OPTIMIZERS, SCHEDULES, TrainConfig

__all__ = [
    "ACTIVATIONS",
    "CELL_NAMES",
    "CELL_VARIANTS",
    "DROPOUT_KINDS",
    "DTYPES",
    "KEPT",
    "LARGEST_SIZE",
    "LEVELS",
    "MOST_LAYERS",
    "NORMALIZATIONS",
    "OF_TRAINING",
    "OPTIMIZERS",
    "RESETS",
    "SCHEDULES",
    "SOFTMAXES",
    "SPLITS",
    "TAG_SCHEMES",
    "UNITS",
    "ModelConfig",
    "Record",
    "SampleConfig",
    "TextConfig",
    "TrainConfig",
    "cell_fields",
    "check_text",
    "check_vocabulary",
]

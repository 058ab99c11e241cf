"""The Python API: functions that train, save, load and use models."""

from charlm.api.drawing import generate, generate_many, next_tokens
from charlm.api.exchange import export, import_model
from charlm.api.mixing import load_ngrams, mix, tune_mix
from charlm.api.models import load, save, train
from charlm.api.reading import (
    activations,
    adapt,
    compare,
    fill,
    filter_lines,
    predict,
    rank,
    rescore,
    score,
    score_pairs,
    surprisal,
    trace,
    tune_rescoring,
)

__all__ = [
    "activations",
    "adapt",
    "compare",
    "export",
    "fill",
    "filter_lines",
    "generate",
    "generate_many",
    "import_model",
    "load",
    "load_ngrams",
    "mix",
    "next_tokens",
    "predict",
    "rank",
    "rescore",
    "save",
    "score",
    "score_pairs",
    "surprisal",
    "trace",
    "train",
    "tune_mix",
    "tune_rescoring",
]

"""charlm: recurrent language models for the command line and for Python.

import charlm
model = charlm.load("names.safetensors")
print(charlm.generate(model, "Tri", temperature=0.8, seed=1))
print([score.log10p for score in charlm.score(model, ["Triceratops", "qqq"])])
"""

from __future__ import annotations

from typing import Any

from charlm.version import __version__

__all__ = [
    "__version__",
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


def __getattr__(name: str) -> Any:
    """Return a public name, imported when it is first used: `import charlm`, and so `charlm --help`, need no NumPy."""
    if name in __all__:
        from charlm import api

        return getattr(api, name)
    raise AttributeError(f"module 'charlm' has no attribute {name!r}")

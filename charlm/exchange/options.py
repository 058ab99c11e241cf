"""What a person may choose when a model is exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# The formats by the name that --to has, with the suffix of their files. What writes them is in `formats.FORMATS`.
SUFFIXES = {"onnx": ".onnx", "torch": ".safetensors", "page": ".html"}

# How an ONNX file is called, the default first.
SIGNATURES = ("sequence", "step", "sherpa")

# Of the weights in a page, the default first.
PRECISIONS = ("float32", "float16")


@dataclass(frozen=True)
class Options:
    """The choices of an export.

    signature: one of the format's; None for its default
    tokens: a file with the tokens of the acoustic model that the language model goes with, for sherpa-onnx
    precision: of the weights, one of the format's; None for its default
    """

    signature: str | None = None
    tokens: Path | None = None
    precision: str | None = None

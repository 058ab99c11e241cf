"""What a person may choose when a model is exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """The choices of an export.

    signature: one of the format's; None for its default
    tokens: a file with the tokens of the acoustic model that the language model goes with, for sherpa-onnx
    """

    signature: str | None = None
    tokens: Path | None = None

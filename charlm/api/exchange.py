"""Models of other programs, written and read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charlm.exchange import formats
from charlm.exchange.options import Options
from charlm.exchange.state_dict import Reading
from charlm.language_model import LanguageModel


def export(
    model: LanguageModel,
    path: str | Path,
    *,
    to: str | None = None,
    signature: str | None = None,
    tokens: str | Path | None = None,
    precision: str | None = None,
) -> None:
    """Write a model for another program, atomically.

    to: "onnx", "torch" for a safetensors file with the arrays of torch.nn, or "page" for HTML that runs the model;
        None for that of the suffix
    signature: of an ONNX file: "sequence", the default, "step" or "sherpa"
    tokens: tokens.txt of the acoustic model that the signature "sherpa" goes with
    precision: of the weights of a page: "float32", the default, or "float16" for half the size
    Raises UsageError for a model that the other program cannot compute, ResourceError if writing fails.
    """
    options = Options(signature, None if tokens is None else Path(tokens), precision)
    formats.export(model, Path(path), to=to, options=options)


def import_model(path: str | Path, vocabulary: Sequence[str] | None = None, **options: Any) -> LanguageModel:
    """Read a model that `export` has written, or the state_dict of another model of PyTorch in a safetensors file.

    vocabulary: of a state_dict, its tokens in the order of their ids
    options: other fields of `charlm.exchange.state_dict.Reading`
    Raises ModelFileError for a file of another kind, UsageError for a state_dict whose vocabulary does not fit.
    """
    reading = None if vocabulary is None else Reading(vocabulary, **options)
    return formats.import_from(Path(path), reading=reading)

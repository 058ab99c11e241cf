"""What follows from the token unit of a training: how its files are read, and pieces that are given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def reading_of(settings: Mapping[str, Any]) -> str:
    """Return how files are read for a training, see `TextConfig.reading`; raise UsageError for invalid settings."""
    from charlm.config import TextConfig

    names = ("level", "raw")
    return TextConfig(**{name: settings[name] for name in names if name in settings}).reading


def strict(reading: str) -> Any:
    """Return how `read_lines` reads a corpus, see `TextConfig.reading`: what is not text is refused, or is bytes."""
    return "strict" if reading == "text" else reading


def given_pieces(file: str | Path | None) -> dict[str, str]:
    """Return the setting that a SentencePiece model is; raise UsageError if the file is not one that fits."""
    if file is None:
        return {}
    from charlm.text.tokens.subword import read_pieces

    return {"piece_model": read_pieces(Path(file))}

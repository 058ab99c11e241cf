"""Corpora kept on the disk, however small they are."""

from pathlib import Path

import pytest


def keep_on_disk(
    monkeypatch: pytest.MonkeyPatch, cache: Path, *, block: int = 200, group: int = 600, together: int = 64
) -> None:
    """Encode every corpus to `cache`.

    block: bytes of a window; group: tokens of lines that are shuffled together; together: tokens of a stream that are
    read or counted at a time
    """
    monkeypatch.setenv("CHARLM_CACHE", str(cache))
    monkeypatch.setattr("charlm.text.learning.MOST_IN_MEMORY", 0)
    monkeypatch.setattr("charlm.text.lines.lines_of_bytes.BLOCK_BYTES", block)
    monkeypatch.setattr("charlm.text.lines.reading.BLOCK_BYTES", block)
    monkeypatch.setattr("charlm.text.batches.lanes.GROUP_TOKENS", group)
    monkeypatch.setattr("charlm.text.batches.stream._READ_AHEAD", together)
    monkeypatch.setattr("charlm.text.dataset._COUNTED_TOGETHER", together)


def entries(cache: Path) -> list[str]:
    """Return the names of the files in a cache's folder, in order."""
    return sorted(path.name for path in cache.iterdir())


def encodings(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that gets one item for each corpus that is encoded from now on."""
    from charlm.text import learning

    made: list[object] = []
    make = learning.make_encoder
    monkeypatch.setattr(learning, "make_encoder", lambda splitter: made.append(splitter) or make(splitter))
    return made

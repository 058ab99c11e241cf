"""Corpora kept on the disk, however small they are."""

from pathlib import Path

import pytest


def keep_on_disk(
    monkeypatch: pytest.MonkeyPatch, cache: Path, *, block: int = 200, group: int = 600, together: int = 64
) -> None:
    """Make every corpus be encoded to `cache`.

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

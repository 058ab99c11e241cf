"""Encoded corpora that are kept from one run to the next, by the text that they were made from."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
import unicodedata
from pathlib import Path

from charlm.files import cache_folder
from charlm.text.corpus import Lines
from charlm.text.splitter import Splitter
from charlm.text.store import FORMAT, TEMPORARY, Store

_DAY = 24 * 60 * 60  # seconds
_KEPT = {".corpus": 30 * _DAY, ".tmp": _DAY}  # how long, since last used, or since last written to
# Nothing else is removed: the folder may be one that others use too.
_OURS = re.compile(rf"\d+-[a-z-]+-\d+-[\d.]+-[0-9a-f]{{64}}\.corpus|{TEMPORARY}\w+\.tmp")


class Entry:
    """Where the cache has, or will have, some lines as a splitter splits them.

    A name begins with the size of the files, so that they are hashed only where they may be there, and ends with a
    digest of what was read from them. `name` is None where they cannot be read twice, and then nothing is kept.
    """

    def __init__(self, lines: Lines, splitter: Splitter) -> None:
        self.folder = cache_folder()
        self._lines = lines
        if lines.digest is None:
            lines.digest = hashlib.sha256()
        self._before = lines.digest.hexdigest()
        self._size = lines.size
        # What a letter is, and its lower case, change with Python's tables of Unicode.
        self._begin = f"{self._size}-{splitter.rule}-{FORMAT}-{unicodedata.unidata_version}-"

    @property
    def name(self) -> str | None:
        """The name of the file, once all lines are read."""
        assert self._lines.digest is not None
        return None if self._size is None else self._name(self._lines.digest.hexdigest())

    def find(self) -> Store | None:
        """Open what the cache has of the lines, which then count as read, or leave them unread.

        Raises CorpusError for a file that cannot be read.
        """
        if self._size is None or not any(path.name.startswith(self._begin) for path in _entries(self.folder)):
            return None
        digest = self._lines.hash_all()
        path = self.folder / self._name(digest.hexdigest())
        with contextlib.suppress(OSError, ValueError):
            store = Store(os.open(path, os.O_RDONLY))
            if store.is_whole():
                self._lines.digest = digest
                os.utime(path)
                return store
        return None

    def _name(self, after: str) -> str:
        # What was read lies between the two digests; another text before it makes it another entry.
        return f"{self._begin}{hashlib.sha256(f'{self._before} {after}'.encode()).hexdigest()}.corpus"


def evict() -> None:
    """Remove from the cache what was not used for thirty days, and what was broken off."""
    for path in _entries(cache_folder()):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _KEPT[path.suffix]:
                path.unlink()


def _entries(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]
    except OSError:
        return []

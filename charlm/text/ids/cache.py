"""Encoded corpora that are kept from one run to the next, by the text that they were made from."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import time
import unicodedata
from pathlib import Path

from charlm.errors import CharlmError
from charlm.storage.files import cache_folder
from charlm.text.ids.disk_store import FORMAT, TEMPORARY, DiskStore
from charlm.text.lines.reading import Lines
from charlm.text.tokens.splitter import Splitter

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing is locked there
    fcntl = None  # type: ignore[assignment]

_DAY = 24 * 60 * 60  # seconds
_KEPT = {".corpus": 30 * _DAY, ".tmp": _DAY}  # how long, since last used, or since last written to
# Nothing else is removed: the folder may be one that others use too.
_OURS = re.compile(rf"\d+-[a-z-]+-\d+-[\d.]+-[0-9a-f]{{64}}\.corpus|{TEMPORARY}\w+\.tmp")
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_USER = os.geteuid() if hasattr(os, "geteuid") else 0
# What a damaged file may raise while it is read.
_DAMAGE = (OSError, ValueError, RecursionError, MemoryError, CharlmError)


class Entry:
    """Where the cache has, or will have, some lines as a splitter splits them.

    A name begins with the size of the files, so that they are hashed only where they may be there, and ends with a
    digest of what was read from them and of the user: nobody's entry is in the way of another's in a shared folder.
    `name` is None where they cannot be read twice, and then nothing is kept.
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
    def is_kept(self) -> bool:
        """Whether the lines can be read twice, and so may be found again."""
        return self._size is not None

    @property
    def name(self) -> str | None:
        """The name of the file, once all lines are read."""
        assert self._lines.digest is not None
        return None if self._size is None else self._name(self._lines.digest.hexdigest())

    def find(self) -> DiskStore | None:
        """Open what the cache has of the lines, which then count as read, or leave them unread.

        An entry is not trusted: it is a regular file of this user's, names the lines, and all of it is checked.
        Raises CorpusError for a file that cannot be read.
        """
        if self.folder is None or self._size is None:
            return None
        if not any(path.name.startswith(self._begin) for path in _entries(self.folder)):
            return None
        digest = self._lines.hash_all()
        path = self.folder / self._name(digest.hexdigest())
        store = _opened(path)
        if store is not None:
            with contextlib.suppress(OSError):  # it may be a folder that cannot be written
                os.utime(path)
            self._lines.digest = digest
        return store

    def _name(self, after: str) -> str:
        # What was read lies between the two digests; another text before it makes it another entry.
        return f"{self._begin}{hashlib.sha256(f'{self._before} {after} {_USER}'.encode()).hexdigest()}.corpus"


def evict() -> None:
    """Remove from the cache what was not used for thirty days, and what was broken off."""
    folder = cache_folder()
    for path in [] if folder is None else _entries(folder):
        with contextlib.suppress(OSError):
            is_old = time.time() - path.lstat().st_mtime > _KEPT[path.suffix]
            if is_old or (path.suffix == ".tmp" and _is_abandoned(path)):
                path.unlink()


def lock(file: int) -> None:
    """Mark a temporary file as being written, until it is closed or the process ends, however it ends."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_abandoned(path: Path) -> bool:
    """Return whether nobody writes a temporary file any more; raise OSError where that cannot be known."""
    if fcntl is None:
        return False
    file = os.open(path, _FLAGS)
    try:
        if not _is_own(file):
            return False
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(file)
    return True


def _opened(path: Path) -> DiskStore | None:
    """Open an entry; return None where it is missing, or not what a writer has written."""
    try:
        file = os.open(path, _FLAGS)
    except OSError:
        return None
    if not _is_own(file):
        os.close(file)
        return None
    with contextlib.suppress(*_DAMAGE):
        store = DiskStore(file)
        if store.name == path.name and store.is_whole():
            return store
    return None


def _is_own(file: int) -> bool:
    """Return whether an open file is a regular one of this user's that nobody else may write."""
    found = os.fstat(file)
    return stat.S_ISREG(found.st_mode) and found.st_uid == _USER and not found.st_mode & 0o022


def _entries(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]
    except OSError:
        return []

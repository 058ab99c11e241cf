"""A cache of encoded corpora, which are found again by the digest of their text."""

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
from charlm.text.ids.store import FORMAT, TEMPORARY, DiskStore
from charlm.text.lines.reading import Lines
from charlm.text.tokens.splitter import Splitter

try:
    import fcntl
except ImportError:
    # Not a POSIX system: nothing is locked there.
    fcntl = None  # type: ignore[assignment]

_DAY = 24 * 60 * 60  # seconds
_KEPT = {".corpus": 30 * _DAY, ".tmp": _DAY}  # since the last use, or the last write to an unfinished file
# No other file is removed: the folder may be used by other programs too.
_OURS = re.compile(rf"\d+-[a-z-]+-\d+-[\d.]+-[0-9a-f]{{64}}\.corpus|{TEMPORARY}\w+\.tmp")
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_USER = os.geteuid() if hasattr(os, "geteuid") else 0
# Reading a damaged file may raise these.
_DAMAGE = (OSError, ValueError, RecursionError, MemoryError, CharlmError)


class Entry:
    """The place in the cache of a corpus that a splitter splits.

    A name begins with the size of the files: only if an entry has this size are the files hashed. It ends with a digest
    of their text and of the user, so that users can share a folder.

    lines: of files that can be read twice
    """

    def __init__(self, lines: Lines, splitter: Splitter) -> None:
        self._lines = lines
        if lines.digest is None:
            lines.digest = hashlib.sha256()
        self._before = lines.digest.hexdigest()
        # Letters and their lower case depend on the Unicode tables of this Python.
        self._begin = f"{lines.size}-{splitter.rule}-{FORMAT}-{unicodedata.unidata_version}-"

    @property
    def name(self) -> str:
        """The name of the file once all lines are read."""
        assert self._lines.digest is not None
        return self._name(self._lines.digest.hexdigest())

    def find(self) -> DiskStore | None:
        """Return the store of the lines if the cache has it; the lines then count as read.

        An entry is not trusted: it must be a regular file of this user, have the right name, and pass all checks.
        Raises CorpusError for a file of the corpus that cannot be read.
        """
        of_this_size = [path for path in _entries() if path.name.startswith(self._begin)]
        if not of_this_size:
            return None
        digest = self._lines.hash_all()
        path = of_this_size[0].with_name(self._name(digest.hexdigest()))
        with contextlib.suppress(*_DAMAGE):
            store = DiskStore(_open_own(path))
            if store.name == path.name and store.is_whole():
                self._lines.digest = digest
                # The folder may be read-only.
                with contextlib.suppress(OSError):
                    os.utime(path)
                return store
        return None

    def _name(self, after: str) -> str:
        # The text lies between the two digests: after another text it is another entry.
        return f"{self._begin}{hashlib.sha256(f'{self._before} {after} {_USER}'.encode()).hexdigest()}.corpus"


def evict() -> None:
    """Remove entries that were not used for thirty days, and unfinished files that nobody writes any more."""
    for path in _entries():
        with contextlib.suppress(OSError):
            is_old = time.time() - path.lstat().st_mtime > _KEPT[path.suffix]
            if is_old or (path.suffix == ".tmp" and _is_abandoned(path)):
                path.unlink()


def lock(file: int) -> None:
    """Lock a temporary file until it is closed or the process ends, however it ends."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_abandoned(path: Path) -> bool:
    """Return whether nobody writes a temporary file any more; raise OSError if that cannot be known."""
    if fcntl is None:
        return False
    with os.fdopen(_open_own(path), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


def _open_own(path: Path) -> int:
    """Open a regular file of this user that nobody else may write; raise OSError if it is not one."""
    file = os.open(path, _FLAGS)
    found = os.fstat(file)
    if stat.S_ISREG(found.st_mode) and found.st_uid == _USER and not found.st_mode & 0o022:
        return file
    os.close(file)
    raise PermissionError("not a file of this user alone")


def _entries() -> list[Path]:
    """Return the files of the cache."""
    folder = cache_folder()
    try:
        return [] if folder is None else [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]
    except OSError:
        return []

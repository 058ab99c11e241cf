"""Files by name: written so that they are the old one or the new one, whatever happens in between."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from charlm.errors import ResourceError

_LONGEST_NAME = 200  # bytes: file systems end at 255, and what belongs to a file has a name a little longer


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file at `path`, or make it: written beside it, synchronised to the disk, then renamed over it.

    A symbolic link stays one, and what it points to is replaced; the mode of an existing file is kept. Raises
    ResourceError where the disk is full or the folder cannot be written; the old file is then as it was.
    """
    target = Path(os.path.realpath(path))
    temporary: str | None = None
    try:
        # Named before it is there, so that whatever interrupts from here on, it is removed.
        temporary = str(target.with_name(f"{hidden_prefix(target)}{os.urandom(4).hex()}.tmp"))
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), _mode(target))
            os.fsync(file.fileno())
        os.replace(temporary, target)
        temporary = None
        _sync_folder(target.parent)
    except OSError as error:
        raise ResourceError(
            f"cannot write {display_name(path)}: {error.strerror or error}", hint=_hint(target.parent, len(data))
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def display_name(path: str | Path) -> str:
    """Give a file's name as messages show it: on one line, with nothing in it that a terminal would obey."""
    name = str(path)
    if name == "-":
        return "standard input"
    return name if name and name.isprintable() else repr(name)


def check_writable(path: Path) -> None:
    """Raise ResourceError, before any work is done, where `write_atomically` could not write `path`."""
    target = Path(os.path.realpath(path))
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a directory")
        with tempfile.NamedTemporaryFile(prefix=hidden_prefix(target), suffix=".tmp", dir=target.parent):
            target.exists()  # raises where the name is too long for a file
    except OSError as error:
        raise ResourceError(
            f"cannot write {display_name(path)}: {error.strerror or error}",
            hint="name a file in a folder that can be written",
        ) from error


def hidden_prefix(target: Path) -> str:
    """Give what the names of the files begin with that belong to a file and lie beside it for a while."""
    name = target.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = name[:40] + "-" + hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{name}."


def _mode(target: Path) -> int:
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hint(folder: Path, size: int) -> str:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return "name a file in a folder that can be written"
    return f"{size:,} bytes are needed and {free:,} are free there; what was there before is unchanged"


def cache_folder() -> Path:
    """Give the folder for what can be made again: `$CHARLM_CACHE`, else `charlm` where the system keeps such files."""
    if named := os.environ.get("CHARLM_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME", "")
    # A relative one is to be passed over, says the XDG Base Directory Specification.
    return Path(base if os.path.isabs(base) else os.path.expanduser("~/.cache")) / "charlm"

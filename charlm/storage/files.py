"""Atomic writes, names of files in messages, and hints for errors of the operating system."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from charlm.errors import ResourceError, UsageError

# Bytes: file systems allow 255, and temporary files and locks add a few to the name.
_LONGEST_NAME = 200
# Errors of file systems that cannot synchronise a file.
_NOT_SYNCHRONISED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_WITHOUT_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HINTS = {
    errno.EMFILE: "raise the limit of open files: ulimit -n 1024",
    errno.ENFILE: "too many files are open on this machine: close other programs",
    errno.EAGAIN: "raise the limit of processes (ulimit -u), or use --threads 1",
    errno.ENOMEM: "close other programs, or use --threads 1",
    errno.ENOSPC: "free disk space",
    errno.EDQUOT: "free disk space: your quota is used up",
    errno.EFBIG: "raise the limit of file sizes: ulimit -f unlimited",
    errno.EIO: "the disk reports an error: use another disk",
    errno.ENAMETOOLONG: "use a shorter name",
}
_WRITABLE = "name a file in a writable folder"


def write_atomically(path: Path, data: bytes) -> None:
    """Create or replace the file at `path`: write a temporary file beside it, synchronise it, rename it.

    A symbolic link is kept, and its target replaced. An existing file keeps its mode. Setting the mode and
    synchronising the folder are best effort, because some file systems support neither.

    Raises ResourceError if the disk is full, the folder is not writable, or `path` is not a regular file. The old file
    is then unchanged, because nothing after the rename can fail.
    """
    target, before = _regular(path)
    temporary: str | None = None
    try:
        # Named before it exists, so that it is removed whatever interrupts from here on.
        temporary = str(target.with_name(f"{hidden_prefix(target)}{os.urandom(4).hex()}.tmp"))
        mode = 0o666 if before is None else stat.S_IMODE(before.st_mode)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode & 0o777)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if before is not None:
                with contextlib.suppress(OSError):
                    os.fchmod(file.fileno(), mode)
            _synchronise(file.fileno())
        _regular(path)  # it may have become a device while the data was written
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        unchanged = "" if before is None else "; the old file is unchanged"
        raise ResourceError(
            f"cannot write {display_name(path)}: {error.strerror or error}",
            hint=_room(error, target.parent, len(data)) + unchanged,
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    _synchronise_folder(target.parent)


def display_name(path: str | Path) -> str:
    """Return a file's name for a message: on one line, without control characters."""
    name = str(path)
    if name == "-":
        return "standard input"
    return name if name and name.isprintable() else repr(name)


def hint_for(error: OSError, otherwise: str = _WRITABLE) -> str:
    """Return the hint for an error of the operating system, `otherwise` if there is no special one."""
    return _HINTS.get(error.errno or 0, otherwise)


def check_writable(path: Path) -> None:
    """Check before any work that `write_atomically` can write `path`.

    Raises ResourceError if it cannot, UsageError if standard output is that file, because one of the two would be lost.
    """
    target, before = _regular(path)
    if before is not None and _is_standard_output(before):
        raise UsageError(f"output file is also standard output, {display_name(path)}", hint="name two different files")
    try:
        with tempfile.NamedTemporaryFile(prefix=hidden_prefix(target), suffix=".tmp", dir=target.parent):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise ResourceError(f"cannot write {display_name(path)}: {reason}", hint=hint_for(error)) from error


def check_regular(path: Path) -> None:
    """Raise ResourceError if `path` exists and is neither a regular file nor a link to one."""
    _regular(path)


def hidden_prefix(target: Path) -> str:
    """Return the first part of the names of a file's temporary files and of its lock, which lie beside it."""
    name = target.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = name[:40] + "-" + hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{name}."


def _regular(path: Path) -> tuple[Path, os.stat_result | None]:
    """Return the file that `path` leads to, with its status if it exists.

    Raises ResourceError if it is not a regular file: a device, a pipe or a socket is never replaced.
    """
    target = Path(os.path.realpath(path))
    try:
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(found.st_mode):
            kind = "a pipe" if stat.S_ISFIFO(found.st_mode) else "a socket" if stat.S_ISSOCK(found.st_mode) else ""
            raise ResourceError(
                f"cannot write {display_name(path)}: it is {kind or 'a device'}, not a regular file",
                hint="name a new file, or a regular file to replace",
            )
        # A link in /proc can lead to a file that has been deleted.
        if not os.path.samestat(found, os.stat(target)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    except FileNotFoundError as error:
        if not os.path.exists(path):
            return target, None
        raise ResourceError(f"cannot write {display_name(path)}: it was deleted", hint="name a new file") from error
    except OSError as error:
        reason = error.strerror or error
        raise ResourceError(f"cannot write {display_name(path)}: {reason}", hint=hint_for(error)) from error
    return target, found


def _is_standard_output(found: os.stat_result) -> bool:
    try:
        return os.path.samestat(found, os.fstat(1))
    except OSError:
        return False


def _synchronise(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_SYNCHRONISED:
            raise


def _synchronise_folder(folder: Path) -> None:
    """Synchronise a rename if possible: some folders cannot be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _room(error: OSError, folder: Path, size: int) -> str:
    if error.errno in _WITHOUT_ROOM:
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(folder).free
            return f"{hint_for(error)}; {size:,} bytes are needed, {free:,} are free"
    return hint_for(error)


def cache_folder() -> Path | None:
    """Return the folder for cached files: `$CHARLM_CACHE`, or `charlm` in the user's cache folder.

    Return None if neither the environment nor the system names a home folder.
    """
    if named := os.environ.get("CHARLM_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG Base Directory Specification says that relative paths are to be ignored.
    if os.path.isabs(base):
        return Path(base, "charlm")
    home = os.path.expanduser("~")
    has_home = os.path.isabs(home) and os.environ.get("HOME") != ""
    return Path(home, ".cache", "charlm") if has_home else None

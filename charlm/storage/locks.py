"""Locks, so that an output has one writer at a time, and the removal of what killed writers have left."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from charlm.errors import ResourceError
from charlm.quoting import shell_argument
from charlm.storage.files import display_name, hidden_prefix, hint_for

try:
    import fcntl
except ImportError:  # not a POSIX system: locks do nothing
    fcntl = None  # type: ignore[assignment]

_CONTENT = re.compile(rb"\d{0,19}\n?")  # of a lock: empty, or a process id
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


_POLL_SECONDS = 0.05


class InUseError(ResourceError):
    """Another process holds the lock."""


@contextlib.contextmanager
def held(path: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Lock the file at `path`, which need not exist yet, for this process inside the block.

    The lock is a file beside it that contains the process id. It is a POSIX record lock: the system releases it when
    the process ends, and forked processes do not inherit it. A file system without locks locks nothing.

    wait: seconds to wait for another process
    Raises InUseError if another process holds the lock, ResourceError if another file has its name.
    """
    target = Path(os.path.realpath(path))
    lock = target.with_name(hidden_prefix(target) + "lock")
    descriptor = None if fcntl is None else _awaited(lock, path, wait)
    try:
        yield
    finally:
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.unlink(lock)
            os.close(descriptor)


def sweep(path: Path) -> list[str]:
    """Remove the temporary files that killed writers of `path` have left, and return their names.

    Call it only while holding the lock: it would also remove the temporary file of a running writer. A folder that
    cannot be listed is left as it is.
    """
    target = Path(os.path.realpath(path))
    left = re.compile(re.escape(hidden_prefix(target)) + r"[a-z0-9_]{8}\.tmp")
    try:
        names = [name for name in os.listdir(target.parent) if left.fullmatch(name)]
    except OSError:
        return []
    for name in names:
        with contextlib.suppress(OSError):
            os.unlink(target.with_name(name))
    return names


def _awaited(lock: Path, path: Path, seconds: float) -> int | None:
    """Lock a file as `_locked` does, waiting for another process."""
    end = time.monotonic() + seconds
    while True:
        try:
            return _locked(lock, path)
        except InUseError:
            if time.monotonic() >= end:
                raise
        time.sleep(_POLL_SECONDS)


def _locked(lock: Path, path: Path) -> int | None:
    """Open and lock a file; try again if its last owner removed it in between."""
    while True:
        try:
            descriptor = os.open(lock, _FLAGS, 0o666)
        except OSError as error:
            if os.path.lexists(lock) and error.errno not in (errno.EMFILE, errno.ENFILE):
                raise _foreign(lock, path) from error
            reason = error.strerror or error
            raise ResourceError(f"cannot write {display_name(lock)}: {reason}", hint=hint_for(error)) from error
        try:
            if not _is_ours(descriptor):
                raise _foreign(lock, path)
            if not _is_locked(descriptor, path):
                os.close(descriptor)
                with contextlib.suppress(OSError):
                    os.unlink(lock)
                return None
            if _is_named(descriptor, lock):
                with contextlib.suppress(OSError):  # on a full disk the lock stays empty
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_locked(descriptor: int, path: Path) -> bool:
    """Lock an open file; return False if its file system has no locks."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            return False
        owner = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        raise InUseError(
            f"in use by process {owner or 'unknown'}, {display_name(path)}",
            hint="wait until it ends, or name another --output",
        ) from None
    return True


def _is_ours(descriptor: int) -> bool:
    """Return whether an open file is a lock that we may write: a regular file with one name and a process id."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        return False
    # Root may take over the lock of a user's killed process.
    return os.geteuid() in (0, found.st_uid) and _CONTENT.fullmatch(os.pread(descriptor, 21, 0)) is not None


def _foreign(lock: Path, path: Path) -> ResourceError:
    """Return the error for a file that is not ours and has the name of the lock."""
    name = display_name(lock)
    try:
        found = os.lstat(lock)
        is_lock = stat.S_ISREG(found.st_mode) and found.st_uid != os.geteuid()
    except OSError:
        is_lock = False
    what = "its lock belongs to another user" if is_lock else "a file that is not a lock has the name of its lock"
    return ResourceError(
        f"cannot lock {display_name(path)}: {what}, {name}",
        hint=f"if no training is writing there, remove it: rm {shell_argument(str(lock))}",
    )


def _is_named(descriptor: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(lock))
    except FileNotFoundError:
        return False

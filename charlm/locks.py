"""One writer at a time for an output, and what writers that were killed have left beside it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from charlm.errors import ResourceError
from charlm.files import display_name, hidden_prefix

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing is locked there
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep the file at `path`, which need not be there yet, to this process.

    The lock is a file beside it that holds the number of the process. It is a record lock of POSIX's, so the system
    lets go of it when the process ends, however it ends, and processes that are forked off do not have it.

    Raises ResourceError where another process keeps it. Where the file system knows no locks, nothing is kept.
    """
    target = Path(os.path.realpath(path))
    lock = target.with_name(hidden_prefix(target) + "lock")
    descriptor = None if fcntl is None else _locked(lock, path)
    try:
        yield
    finally:
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.unlink(lock)
            os.close(descriptor)


def sweep(path: Path) -> list[str]:
    """Remove what writers of `path` that were killed have left beside it, and give the names.

    Only for who keeps the file: the temporary file of a writer that is alive would go too.
    """
    target = Path(os.path.realpath(path))
    left = re.compile(re.escape(hidden_prefix(target)) + r"[a-z0-9_]{8}\.tmp")
    names = [name for name in os.listdir(target.parent) if left.fullmatch(name)]
    for name in names:
        with contextlib.suppress(OSError):
            os.unlink(target.with_name(name))
    return names


def _locked(lock: Path, path: Path) -> int | None:
    """Open and lock a file; try again where its last owner has removed it in between."""
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            reason = error.strerror or error
            hint = "name a file in a folder that can be written"
            raise ResourceError(f"cannot write {display_name(lock)}: {reason}", hint=hint) from error
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise ResourceError(
                    f"in use by process {owner or 'unknown'}, {display_name(path)}",
                    hint="wait until it has ended, or name another --output",
                ) from None
            return None
        if _is_named(descriptor, lock):
            with contextlib.suppress(OSError):  # on a full disk it is locked all the same
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
            return descriptor
        os.close(descriptor)


def _is_named(descriptor: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(lock))
    except FileNotFoundError:
        return False

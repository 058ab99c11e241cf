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

from charlm.errors import ResourceError, UsageError

_LONGEST_NAME = 200  # bytes: file systems end at 255, and what belongs to a file has a name a little longer
# What a file system answers that does not know how to synchronise a file.
_NOT_SYNCHRONISED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_WITHOUT_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HINTS = {
    errno.EMFILE: "raise the limit of open files: ulimit -n 1024",
    errno.ENFILE: "too many files are open on this machine: end other programs",
    errno.EAGAIN: "raise the limit of processes (ulimit -u), or use --threads 1",
    errno.ENOMEM: "end other programs, or use --threads 1",
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room: the quota of this user is used up",
    errno.EFBIG: "raise the limit of file sizes: ulimit -f unlimited",
    errno.EIO: "the disk reports an error: use another one",
    errno.ENAMETOOLONG: "use a shorter name",
}
_WRITABLE = "name a file in a folder that can be written"


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file at `path`, or make it: written beside it, synchronised to the disk, then renamed over it.

    A symbolic link stays one, and what it points to is replaced; the mode of an existing file is kept. The mode and
    the folder's own synchronisation are best effort: some file systems know neither.

    Raises ResourceError where the disk is full, the folder cannot be written, or `path` is not a regular file. The
    old file is then as it was: nothing that is done after the rename can fail.
    """
    target, before = _regular(path)
    temporary: str | None = None
    try:
        # Named before it is there, so that whatever interrupts from here on, it is removed.
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
        _regular(path)  # what stands there may have changed while the data was written
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        unchanged = "" if before is None else "; what was there before is unchanged"
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
    """Give a file's name as messages show it: on one line, with nothing in it that a terminal would obey."""
    name = str(path)
    if name == "-":
        return "standard input"
    return name if name and name.isprintable() else repr(name)


def hint_for(error: OSError, otherwise: str = _WRITABLE) -> str:
    """Return what a person can do about an error of the machine."""
    return _HINTS.get(error.errno or 0, otherwise)


def check_writable(path: Path) -> None:
    """Raise ResourceError, before any work is done, where `write_atomically` could not write `path`.

    Raises UsageError where standard output goes to that file: one of the two would be lost.
    """
    target, before = _regular(path)
    if before is not None and _is_standard_output(before):
        raise UsageError(f"standard output goes there, too, {display_name(path)}", hint="name two different files")
    try:
        with tempfile.NamedTemporaryFile(prefix=hidden_prefix(target), suffix=".tmp", dir=target.parent):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise ResourceError(f"cannot write {display_name(path)}: {reason}", hint=hint_for(error)) from error


def check_regular(path: Path) -> None:
    """Raise ResourceError where `path` is there and is not a regular file, nor a link to one."""
    _regular(path)


def hidden_prefix(target: Path) -> str:
    """Give what the names of the files begin with that belong to a file and lie beside it for a while."""
    name = target.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = name[:40] + "-" + hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{name}."


def _regular(path: Path) -> tuple[Path, os.stat_result | None]:
    """Return the file that `path` leads to, and what is known of it where it exists.

    Raises ResourceError where it is not a regular file: a device, a pipe or a socket is not replaced.
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
                hint="name a new file, or one to replace",
            )
        # A link of /proc leads to a file that has no name any more.
        if not os.path.samestat(found, os.stat(target)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    except FileNotFoundError as error:
        if not os.path.exists(path):
            return target, None
        raise ResourceError(f"cannot write {display_name(path)}: it has no name", hint="name a new file") from error
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
    """Synchronise a rename as far as that is possible: a folder may be one that cannot be opened."""
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
            return f"{hint_for(error)}; {size:,} bytes are needed and {free:,} are free there"
    return hint_for(error)


def cache_folder() -> Path | None:
    """Return the folder for what can be made again: `$CHARLM_CACHE`, else `charlm` where the system keeps such files.

    None where there is no such place: neither the environment nor the system names a home folder.
    """
    if named := os.environ.get("CHARLM_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME", "")
    # A relative one is to be passed over, says the XDG Base Directory Specification.
    if os.path.isabs(base):
        return Path(base, "charlm")
    home = os.path.expanduser("~")
    has_home = os.path.isabs(home) and os.environ.get("HOME") != ""
    return Path(home, ".cache", "charlm") if has_home else None

"""What may stand where a regular file is expected."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

KINDS = ["fifo", "socket", "device", "folder", "link to fifo", "link to device", "link to link"]


def make_special(path: Path, kind: str) -> None:
    """Make something that is no regular file; what a link leads to lies beside it."""
    if kind == "link to link":
        make_special(path.with_name("first link"), "link to fifo")
        path.symlink_to("first link")
    elif kind.startswith("link to "):
        make_special(path.with_name("beside"), kind.removeprefix("link to "))
        path.symlink_to("beside")
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(path.parent)  # the name of a socket has a hundred bytes at most
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
        os.chdir(here)
    elif os.geteuid():
        path.symlink_to(os.devnull)
    else:  # not the one in /dev, which root could lose by a test
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except OSError as error:
            pytest.skip(f"no device can be made here: {error}")


def looks_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the mode and the number of all that is in a folder, links themselves."""
    return {path.name: (path.lstat().st_mode, path.lstat().st_ino) for path in folder.iterdir()}

"""A file that changes while it is read: told where what was read may be of two texts, and only there."""

from __future__ import annotations

import gzip
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from charlm.errors import CorpusError
from charlm.text import read_lines

LINES = [f"line {number:06}" for number in range(40_000)]  # more than is read at a time
TEXT = "".join(f"{line}\n" for line in LINES).encode()
LATER = 1_000_000_000  # nanoseconds: the clock of a disk may be slow


def written_later(path: Path, content: bytes) -> None:
    """Write into a file that stays the same one, some time after it was last written to."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.write(content)
        file.truncate()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + LATER))


def one_by_one(paths: list[str], meanwhile: Callable[[], None]) -> list[str]:
    lines = read_lines(paths)
    read = [next(lines)]
    meanwhile()
    return [*read, *lines]


def in_blocks(paths: list[str], meanwhile: Callable[[], None]) -> list[str]:
    blocks = read_lines(paths).blocks()
    read = [next(blocks)]
    meanwhile()
    return "".join([*read, *blocks]).split("\n")[:-1]


ways = pytest.mark.parametrize("read", [one_by_one, in_blocks])


@ways
@pytest.mark.parametrize("how", ["file", "gzip", "without an end", "second", "standard input"])
def test_a_file_that_is_rewritten_in_place_is_told(tmp_path, monkeypatch, read, how):
    path, paths = tmp_path / "a", [str(tmp_path / "a")]
    content = gzip.compress(TEXT, mtime=0) if how == "gzip" else TEXT.rstrip() if how == "without an end" else TEXT
    path.write_bytes(content)
    if how == "second":
        (tmp_path / "first").write_bytes(TEXT)
        paths.insert(0, str(tmp_path / "first"))
        path = tmp_path / "first"
    other = gzip.compress(TEXT, mtime=0) if how == "gzip" else content.replace(b"line", b"LINE")
    with open(path, "rb") as opened:
        if how == "standard input":
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(opened))
            paths = ["-"]
        with pytest.raises(CorpusError) as caught:
            read(paths, lambda: written_later(path, other))
    assert caught.value.message.startswith("was written to while it was read, ")
    assert caught.value.message.endswith("standard input" if how == "standard input" else str(path))


@ways
def test_one_that_is_cut_off_still_is(tmp_path, read):
    path = tmp_path / "a"
    path.write_bytes(TEXT * 8)
    with pytest.raises(CorpusError, match="was cut off while it was read"):
        read([str(path)], lambda: written_later(path, TEXT))


@ways
def test_one_that_grows_is_read_to_its_new_end(tmp_path, read):
    path = tmp_path / "a"
    path.write_bytes(TEXT)
    assert read([str(path)], lambda: written_later(path, TEXT + b"more\n")) == [*LINES, "more"]


def renamed(path: Path) -> None:
    path.rename(path.with_name("other"))


def replaced(path: Path) -> None:
    path.with_name("new").write_bytes(TEXT.upper())
    path.with_name("new").rename(path)


@ways
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: path.chmod(0o600), id="mode"),
        pytest.param(lambda path: os.link(path, path.with_name("link")), id="link"),
        pytest.param(lambda path: path.unlink(), id="removed"),
        pytest.param(lambda path: os.utime(path, ns=(1, path.stat().st_mtime_ns)), id="read"),
        renamed,
        replaced,
    ],
)
def test_what_leaves_the_bytes_as_they_were_is_not_told(tmp_path, read, change):
    path = tmp_path / "a"
    path.write_bytes(TEXT)
    assert read([str(path)], lambda: change(path)) == LINES


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_the_kernels_own_files_can_be_read():
    assert len(list(read_lines(["/proc/self/status", "/proc/version"]))) > 3

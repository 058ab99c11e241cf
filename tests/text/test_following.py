"""Files that grow, are truncated or replaced, and pipes, read as they arrive."""

import io
import os
import sys

import pytest

from charlm.errors import CorpusError
from charlm.text import read_lines
from charlm.text.lines import following
from charlm.text.lines.following import Arrived, FollowedFile, arrivals, arrivals_of_pipe, is_pipe


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\n")
    return path


@pytest.fixture
def followed():
    """Open a file to be followed; it is closed at the end of the test."""
    files = []

    def opened(path, errors="keep"):
        files.append(FollowedFile(str(path), errors))
        return files[-1]

    yield opened
    for file in files:
        file.close()


def append(path, data):
    with path.open("ab") as file:
        file.write(data)


def read(file):
    return [(line.number, line.text) for line in file.read()]


def test_what_is_appended_is_read_once_in_whole_lines(log, followed):
    file = followed(log)
    assert file.read() == [Arrived(str(log), 1, "one"), Arrived(str(log), 2, "two")]
    assert read(file) == []
    append(log, b"thr")
    assert read(file) == []
    append(log, b"ee\r\nf\xff\n\nfi")
    assert read(file) == [(3, "three"), (4, "f\udcff"), (5, "")]
    append(log, b"ve\n")
    assert read(file) == [(6, "five")] and read(file) == []


@pytest.mark.parametrize("count", [0, 1, 5])
def test_the_lines_that_are_there_are_the_last_ones(log, followed, count, monkeypatch):
    monkeypatch.setattr(following, "_BYTES", 3)
    file = followed(log)
    assert [line.text for line in file.last_lines(count)] == ["one", "two"][2 - min(count, 2) :]
    append(log, b"three\n")
    found = []
    while not found:
        found = read(file)
    assert found == [(3, "three")]


def test_a_truncated_file_begins_anew(log, followed):
    file = followed(log)
    append(log, b"begun")
    file.read()
    log.write_bytes(b"")
    assert read(file) == []
    append(log, b"new\n")
    assert read(file) == [(1, "new")]
    log.write_bytes(b"x\n")
    assert read(file) == [] and read(file) == [(1, "x")]


def test_a_file_that_was_rotated_is_read_to_its_end_first(log, followed, tmp_path):
    file = followed(log)
    file.read()
    log.rename(tmp_path / "log.1")
    append(tmp_path / "log.1", b"three\nunfinished")
    assert read(file) == [(3, "three")] and read(file) == []
    log.write_bytes(b"four\n")
    append(tmp_path / "log.1", b" line")
    assert read(file) == [(4, "unfinished line")]
    assert read(file) == [(1, "four")]
    log.unlink()
    assert read(file) == []
    log.write_bytes(b"\xef\xbb\xbffive\n")
    while not (found := read(file)):
        pass
    assert found == [(1, "five")]


def test_a_line_longer_than_what_is_read_at_a_time(log, followed, tmp_path, monkeypatch):
    monkeypatch.setattr(following, "_BYTES", 4)
    file = followed(log)
    append(log, b"a long line\n")
    found = []
    while len(found) < 3:
        found += read(file)
    assert found[2] == (3, "a long line")
    append(log, b"another unfinished one")
    log.rename(tmp_path / "log.1")
    log.write_bytes(b"")
    while len(found) < 4:
        found += read(file)
    assert found[3] == (4, "another unfinished one")
    monkeypatch.setattr(following, "LONGEST_LINE", 9)
    append(log, b"too long a line")
    with pytest.raises(CorpusError, match=r"line longer than 9 bytes, .*log line 1"):
        for _ in range(4):
            file.read()


def test_several_files_are_looked_at_in_turn(log, followed, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.write_bytes(b"")
    waits = []

    def wait(seconds):
        waits.append(seconds)
        append(other, b"later\n")

    monkeypatch.setattr(following.time, "sleep", wait)
    batches = arrivals([followed(log), followed(other)])
    assert [line.text for line in next(batches)] == ["one", "two"]
    assert next(batches) == [Arrived(str(other), 1, "later")]
    batches.close()
    assert len(waits) == 1 and 0 < waits[0] < 0.5  # of the second in which a line is to be seen


def test_what_is_no_text_is_refused(followed, tmp_path):
    for name, data in (("zipped", b"\x1f\x8b\x08"), ("utf16", "one\n".encode("utf-16"))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CorpusError, match=name):
            followed(tmp_path / name).read()
    for name in ("missing", "."):
        with pytest.raises(CorpusError):
            followed(tmp_path / name)


def test_lines_arrive_as_they_are_read_elsewhere(followed, tmp_path, monkeypatch):
    (path := tmp_path / "file").write_bytes(b"\xff\xfea\r\nb\r\n")
    for errors in ("bytes", "raw"):
        expected = list(read_lines([str(path)], errors=errors))
        assert [line.text for line in followed(path, errors).read()] == expected
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
        assert [line.text for batch in arrivals_of_pipe("-", errors) for line in batch] == expected
    path.write_bytes(zipped := b"\x1f\x8b\x08\n")
    assert followed(path, "raw").read()[0].text.encode("utf-8", "surrogateescape") + b"\n" == zipped
    with pytest.raises(CorpusError, match="gzip"):
        followed(path, "bytes")


def test_a_pipe_is_read_to_its_end(log, tmp_path, monkeypatch):
    assert is_pipe("-") and is_pipe(os.devnull) and not is_pipe(str(log)) and not is_pipe(str(tmp_path / "missing"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"\xef\xbb\xbfone\ntwo"))))
    assert [line for batch in arrivals_of_pipe("-") for line in batch] == [
        Arrived("-", 1, "one"),
        Arrived("-", 2, "two"),
    ]
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    both = os.open(fifo, os.O_RDWR)
    os.write(both, b"one\ntw")
    batches = arrivals_of_pipe(str(fifo))
    assert [line.text for line in next(batches)] == ["one"]
    os.write(both, b"o\nthree")
    assert [line.text for line in next(batches)] == ["two"]
    os.close(both)
    assert [line.text for line in next(batches)] == ["three"]
    assert next(batches, None) is None

"""One writer at a time, and what those that were killed have left."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charlm.errors import ResourceError
from charlm.storage.files import hidden_prefix, write_atomically
from charlm.storage.locks import held, sweep

HOLD = """
import sys, pathlib
from charlm.storage.locks import held
with held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
FORK = """
import os, sys, time, pathlib
from charlm.storage.locks import held
with held(pathlib.Path(sys.argv[1])):
    if not os.fork():
        time.sleep(60)
    print("held", flush=True)
    sys.stdin.read()
"""
RACE = """
import os, sys, time, pathlib
from charlm.errors import ResourceError
from charlm.storage.locks import held
path, alone = pathlib.Path(sys.argv[1]), sys.argv[2]
taken = 0
while taken < 20:
    try:
        with held(path):
            os.close(os.open(alone, os.O_CREAT | os.O_EXCL))  # fails where another is in here too
            taken += 1
            os.unlink(alone)
    except ResourceError:
        time.sleep(0.0005)
"""


def holding(path, code=HOLD):
    """Start a process that holds a path."""
    process = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    return process


def refused(path):
    with pytest.raises(ResourceError) as refusal, held(path):
        pass
    assert refusal.value.exit_code == 6
    return refusal.value


def test_a_second_process_is_refused_and_told_who_has_it(tmp_path):
    path = tmp_path / "m.safetensors"
    with holding(path) as process:
        refusal = refused(path)
        assert f"process {process.pid}, {path}" in refusal.message and "--output" in refusal.hint
        with held(tmp_path / "n.safetensors"):
            pass
        process.communicate()
    with held(path):
        assert [p.name for p in tmp_path.iterdir()] == [".m.safetensors.lock"]
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_killed_process_is_none(tmp_path):
    path = tmp_path / "m"
    with holding(path) as process:
        process.kill()
        process.wait()
        assert (tmp_path / ".m.lock").exists()
        with held(path):
            pass
    assert not list(tmp_path.iterdir())


def test_a_process_that_was_forked_off_does_not_keep_it(tmp_path):
    """Those that share a training's work may outlive it by a moment, and it may be resumed in that moment."""
    path = tmp_path / "m"
    process = holding(path, FORK)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    try:
        process.kill()
        process.wait()
        assert Path(f"/proc/{child}").exists()
        with held(path):
            pass
    finally:
        os.kill(int(child), signal.SIGKILL)
        process.stdin.close()
        process.stdout.close()


def test_a_link_and_what_it_points_to_are_one(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(Path("there") / "m")
    with holding(tmp_path / "link") as process:
        refused(tmp_path / "there" / "m")
        process.communicate()


def test_two_are_never_in_at_the_same_time(tmp_path):
    """Also where the file goes away between one's opening and locking it."""
    arguments = [sys.executable, "-c", RACE, str(tmp_path / "m"), str(tmp_path / "alone")]
    processes = [subprocess.Popen(arguments) for _ in range(4)]
    deadline = time.monotonic() + 600
    assert [process.wait(deadline - time.monotonic()) for process in processes] == [0] * 4


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    assert "cannot write" in refused(tmp_path / "missing" / "m").message


def test_what_killed_writers_left_is_swept_and_nothing_else(tmp_path):
    ours = [f"{hidden_prefix(tmp_path / 'm.st')}{letters}.tmp" for letters in ("abcd_123", "zzzzzzzz")]
    others = [
        "m.st", "m.st.abcd_123.tmp", ".m.st.abcd_123", ".m.st.abc.tmp", ".m.st.ABCDEFGH.tmp", ".mxst.abcd_123.tmp",
        ".n.st.abcd_123.tmp", ".m.st.x.abcd_123.tmp", ".m.st.lock", "a.m.st.abcd_123.tmp",
    ]  # fmt: skip
    for name in [*ours, *others]:
        (tmp_path / name).write_bytes(b"x")
    assert sorted(sweep(tmp_path / "m.st")) == sorted(ours)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(others)


@pytest.mark.parametrize("name", ["m", "m" * 255, "é" * 120, "a.b.c"])
def test_the_names_are_those_that_writers_use(tmp_path, monkeypatch, name):
    def die(_):
        raise SystemExit

    monkeypatch.setattr(os, "fsync", die)
    monkeypatch.setattr(os, "unlink", lambda _: None)  # as if killed there and then
    with pytest.raises(SystemExit):
        write_atomically(tmp_path / name, b"x")
    monkeypatch.undo()
    assert len(sweep(tmp_path / name)) == 1
    assert not list(tmp_path.iterdir())
    with held(tmp_path / name):
        pass


# --- what has the lock's name and is none -----------------------------------------------------------------------------


def put_in_the_way(lock, kind):
    """Put something where the lock would be; return what must not change, and how it looks now."""
    precious = lock.with_name("precious.txt")
    precious.write_bytes(b"12 pages of a book")
    if kind == "link":
        lock.symlink_to(precious)
    elif kind == "link to nothing":
        lock.symlink_to("nothing")
    elif kind == "device":
        lock.symlink_to(os.devnull)
    elif kind == "hard link":
        os.link(precious, lock)
    elif kind == "fifo":
        os.mkfifo(lock)
    elif kind == "folder":
        lock.mkdir()
    elif kind == "text":
        lock.write_bytes(b"a file of somebody's")
    else:
        lock.write_bytes(b"1234\n5678\n")
    return lambda: (
        sorted((path.name, path.lstat().st_mode) for path in lock.parent.iterdir()),
        precious.read_bytes(),
        lock.read_bytes() if kind in ("text", "numbers") else None,
    )


@pytest.mark.parametrize(
    "kind", ["link", "link to nothing", "device", "hard link", "fifo", "folder", "text", "numbers"]
)
def test_what_is_no_lock_is_neither_followed_nor_written(tmp_path, kind):
    lock = tmp_path / ".m.lock"
    look = put_in_the_way(lock, kind)
    before = look()
    refusal = refused(tmp_path / "m")
    assert str(lock) in refusal.message and "not a lock" in refusal.message
    assert refusal.hint.endswith(f"rm {lock}")
    assert look() == before


@pytest.mark.parametrize("content", [b"", b"99999\n", b"4194304"])
def test_a_stale_lock_of_ours_is_taken(tmp_path, content):
    (tmp_path / ".m.lock").write_bytes(content)
    with held(tmp_path / "m"):
        assert (tmp_path / ".m.lock").read_bytes() == b"%d\n" % os.getpid()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("opens", [True, False], ids=["may be opened", "may not be opened"])
def test_the_stale_lock_of_another_user_is_named(tmp_path, monkeypatch, opens):
    """The folder can be written, and to say that it cannot would send a person elsewhere."""
    lock = tmp_path / ".m.lock"
    lock.write_bytes(b"99999\n")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1000)
    if not opens:
        open_file = os.open

        def refuse(path, *rest):
            if Path(path) == lock:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return open_file(path, *rest)

        monkeypatch.setattr(os, "open", refuse)
    refusal = refused(tmp_path / "m")
    assert "another user" in refusal.message and str(lock) in refusal.message
    assert refusal.hint.endswith(f"rm {lock}")
    assert lock.read_bytes() == b"99999\n"


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.EMFILE, "ulimit -n"), (errno.ENOSPC, "disk space"), (errno.EROFS, "folder")]
)
def test_what_the_machine_refuses_is_told_as_that(tmp_path, monkeypatch, number, hint):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    refusal = refused(tmp_path / "m")
    assert os.strerror(number) in refusal.message and hint in refusal.hint


def test_a_folder_that_cannot_be_listed_is_not_swept(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "listdir", refuse)
    assert sweep(tmp_path / "m") == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EINVAL])
def test_where_there_are_no_locks_nothing_is_kept_and_nothing_left(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.lockf", refuse)
    before = len(os.listdir("/dev/fd"))
    with held(tmp_path / "m"):
        pass
    assert len(os.listdir("/dev/fd")) == before and not list(tmp_path.iterdir())

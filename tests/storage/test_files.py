"""Writing a file: the old one or the new one, whatever happens in between."""

import errno
import os
import stat
import tempfile
from pathlib import Path

import pytest

from charlm.errors import ResourceError
from charlm.storage.files import check_writable, write_atomically
from tests.special import KINDS, looks_of, make_special

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
BROKEN = OSError(errno.EIO, os.strerror(errno.EIO))


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def refusal_of(work):
    with pytest.raises(ResourceError) as refusal:
        work()
    assert refusal.value.exit_code == 6
    assert refusal.value.hint
    assert "\n" not in refusal.value.message + refusal.value.hint
    return refusal.value


@pytest.fixture
def umask():
    """Return a function that sets the umask until the test ends."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("data", [b"", b"new", bytes(range(256)) * 5000])
def test_what_is_written_is_there(tmp_path, data):
    path = tmp_path / "m.safetensors"
    write_atomically(path, data)
    assert path.read_bytes() == data
    write_atomically(path, b"another")
    assert path.read_bytes() == b"another"
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_a_relative_name_is_of_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_atomically(Path("m"), b"new")
    check_writable(Path("m"))
    assert (tmp_path / "m").read_bytes() == b"new"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o444, 0o755])
def test_the_mode_of_an_existing_file_is_kept(tmp_path, umask, mode):
    umask(0o077)
    path = tmp_path / "m"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_atomically(path, b"new")
    assert (path.read_bytes(), mode_of(path)) == (b"new", mode)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0, 0o666)])
def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path, umask, mask, mode):
    umask(mask)
    path = tmp_path / "m"
    write_atomically(path, b"new")
    assert mode_of(path) == mode
    assert umask(mask) == mask  # and the umask is what it was


def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "real", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(Path("there") / "real")
    write_atomically(link, b"new")
    assert link.is_symlink() and os.readlink(link) == "there/real"
    assert (target.read_bytes(), mode_of(target)) == (b"new", 0o640)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["link", "real", "there"]


def test_a_link_to_nothing_gets_something(tmp_path):
    (tmp_path / "link").symlink_to("real")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_another_name_of_the_old_file_keeps_the_old_content(tmp_path):
    """The file is replaced, not written over: whoever has it open goes on reading the old one."""
    path = tmp_path / "m"
    path.write_bytes(b"old")
    os.link(path, tmp_path / "hard")
    with open(path, "rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old"
    assert (tmp_path / "hard").read_bytes() == b"old"


def test_the_data_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    """Write, fsync, rename, fsync of the folder: after a power failure the name is that of whole data."""
    done = []
    fsync, replace = os.fsync, os.replace
    path = tmp_path / "m"
    path.write_bytes(b"old")

    def watched_fsync(descriptor):
        where = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        done.append(("fsync folder", where) if where.is_dir() else ("fsync", where, where.read_bytes()))
        fsync(descriptor)

    def watched_replace(source, target):
        done.append(("replace", Path(source), Path(target), path.read_bytes()))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    write_atomically(path, b"new")
    temporary = done[0][1]
    assert done == [
        ("fsync", temporary, b"new"),
        ("replace", temporary, path, b"old"),
        ("fsync folder", tmp_path),
    ]
    assert temporary.parent == tmp_path and temporary.name.startswith(".m.") and temporary.suffix == ".tmp"


@pytest.mark.parametrize("error", [FULL, BROKEN], ids=["full", "broken"])
@pytest.mark.parametrize("broken", ["fsync", "replace"])
@pytest.mark.parametrize("existed", [True, False])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error, broken, existed):
    path = tmp_path / "m.safetensors"
    if existed:
        path.write_bytes(b"old")
        path.chmod(0o640)

    def fail(*_):
        raise error

    monkeypatch.setattr(os, broken, fail)
    refusal = refusal_of(lambda: write_atomically(path, b"new and longer"))
    assert str(path) in refusal.message and error.strerror in refusal.message
    assert refusal.__cause__ is error
    assert ("14 bytes" in refusal.hint) == (error is FULL)
    assert ("the old file is unchanged" in refusal.hint) == existed
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == (["m.safetensors"] if existed else [])
    if existed:
        assert (path.read_bytes(), mode_of(path)) == (b"old", 0o640)


def test_a_write_that_fails_is_not_tried_again(tmp_path, monkeypatch):
    """After a failed fsync the pages are gone, and a second one would succeed."""
    calls = []

    def fail(descriptor):
        calls.append(descriptor)
        raise BROKEN

    monkeypatch.setattr(os, "fsync", fail)
    refusal_of(lambda: write_atomically(tmp_path / "m", b"new"))
    assert len(calls) == 1


def test_a_disk_that_is_full_while_writing(tmp_path, monkeypatch):
    path = tmp_path / "m"
    path.write_bytes(b"old")
    fdopen = os.fdopen

    class Full:
        def __init__(self, descriptor, mode):
            self.file = fdopen(descriptor, mode)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            self.file.write(data[:3])
            raise FULL

    monkeypatch.setattr(os, "fdopen", Full)
    refusal_of(lambda: write_atomically(path, b"new and longer"))
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "m"
    path.write_bytes(b"old")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def on_folders(monkeypatch, name, error):
    """Make a function of `os` fail for folders, and only for them."""
    genuine = getattr(os, name)

    def fail(where, *rest):
        if os.path.isdir(f"/proc/self/fd/{where}" if isinstance(where, int) else where):
            raise error
        return genuine(where, *rest)

    monkeypatch.setattr(os, name, fail)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO, errno.ENOSPC, errno.EACCES, errno.ENOSYS])
@pytest.mark.parametrize("name", ["fsync", "open"])
@pytest.mark.parametrize("existed", [True, False])
def test_a_file_that_was_replaced_is_not_called_unwritten(tmp_path, monkeypatch, name, number, existed):
    """What fails after the rename is the folder's own synchronisation, which some file systems do not know."""
    path = tmp_path / "m"
    if existed:
        path.write_bytes(b"old")
    on_folders(monkeypatch, name, OSError(number, os.strerror(number)))
    write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
@pytest.mark.parametrize("missing", [["fsync"], ["fchmod"], ["fsync", "fchmod"]])
@pytest.mark.parametrize("existed", [True, False])
def test_a_file_system_without_modes_or_synchronisation(tmp_path, umask, monkeypatch, missing, number, existed):
    umask(0o022)
    path = tmp_path / "m"
    if existed:
        path.write_bytes(b"old")
        path.chmod(0o600)

    def fail(*_):
        raise OSError(number, os.strerror(number))

    for name in missing:
        monkeypatch.setattr(os, name, fail)
    write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"new"
    assert mode_of(path) == (0o600 if existed else 0o644)  # also without fchmod nobody may read it who might not before


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "bytes are needed"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "disk reports an error"),
        (errno.EACCES, "writable folder"),
        (errno.EXDEV, "writable folder"),
    ],
)
def test_the_hint_is_that_of_the_error(tmp_path, monkeypatch, number, hint):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fail)
    refusal = refusal_of(lambda: write_atomically(tmp_path / "m", b"new"))
    assert os.strerror(number) in refusal.message and hint in refusal.hint
    assert "unchanged" not in refusal.hint  # nothing was there


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_may_be_written_and_not_listed(tmp_path):
    tmp_path.chmod(0o333)
    try:
        check_writable(tmp_path / "m")
        write_atomically(tmp_path / "m", b"new")
        write_atomically(tmp_path / "m", b"newer")
        assert (tmp_path / "m").read_bytes() == b"newer"
    finally:
        tmp_path.chmod(0o755)


# --- what is no regular file ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_read", [False, True], ids=["", "read"])
@pytest.mark.parametrize("work", [check_writable, lambda path: write_atomically(path, b"new")], ids=["check", "write"])
def test_what_is_no_regular_file_is_never_replaced(tmp_path, kind, work, is_read):
    path = tmp_path / "special"
    make_special(path, kind)
    reader = None
    if is_read and "socket" not in kind:
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    before = looks_of(tmp_path)
    refusal = refusal_of(lambda: work(path))
    assert str(path) in refusal.message
    assert looks_of(tmp_path) == before
    if reader is not None:
        os.close(reader)


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_come_to_stand_there_meanwhile_is_not_replaced(tmp_path, monkeypatch, kind):
    """Between the look at it and the rename lie the hours of a training, or the writing of a large file."""
    check_writable(tmp_path / "special")
    fsync = os.fsync

    def late(descriptor):
        fsync(descriptor)
        make_special(tmp_path / "special", kind)

    monkeypatch.setattr(os, "fsync", late)
    refusal_of(lambda: write_atomically(tmp_path / "special", b"new"))
    assert not stat.S_ISREG((tmp_path / "special").lstat().st_mode)
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here")
def test_a_file_without_a_name_is_refused(tmp_path):
    """A link of /proc leads to a file that was removed; its name would be that of another file."""
    path = tmp_path / "m"
    with path.open("wb") as file:
        path.unlink()
        for work in (check_writable, lambda path: write_atomically(path, b"new")):
            refusal_of(lambda work=work: work(Path(f"/proc/self/fd/{file.fileno()}")))
    assert not list(tmp_path.iterdir())


def bad_places(folder):
    """Return names that cannot be written, for root either."""
    (folder / "file").write_bytes(b"a file")
    (folder / "folder").mkdir()
    return {
        "under a file": folder / "file" / "m",
        "in no folder": folder / "missing" / "m",
        "too long": folder / ("m" * 300),
        "a folder": folder / "folder",
    }


@pytest.mark.parametrize("where", ["under a file", "in no folder", "too long", "a folder"])
@pytest.mark.parametrize("work", [check_writable, lambda path: write_atomically(path, b"new")], ids=["check", "write"])
def test_where_nothing_can_be_written(tmp_path, where, work):
    """What `write_atomically` could not write, `check_writable` refuses before any work is done."""
    path = bad_places(tmp_path)[where]
    before = sorted(tmp_path.rglob("*"))
    assert str(path) in refusal_of(lambda: work(path)).message
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("work", [check_writable, lambda path: write_atomically(path, b"new")], ids=["check", "write"])
def test_a_folder_that_is_read_only(tmp_path, work):
    tmp_path.chmod(0o555)
    try:
        refusal_of(lambda: work(tmp_path / "m"))
    finally:
        tmp_path.chmod(0o755)


def test_checking_changes_nothing(tmp_path):
    path = tmp_path / "m"
    check_writable(path)
    assert not list(tmp_path.iterdir())
    path.write_bytes(b"old")
    check_writable(path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_checking_a_full_disk(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise FULL

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", fail)
    assert "No space left" in refusal_of(lambda: check_writable(tmp_path / "m")).message

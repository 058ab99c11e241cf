"""Whatever ends a training and whenever it does: the files are the old ones or the new ones, and it goes on exactly."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from charlm.backends import NumpyBackend
from charlm.checkpoint import checkpoint_path, load
from charlm.storage import container
from tests.cli.shell import SECONDS, Result, environment, read_line, run, started, wait_until

TINY = (
    "--keep-checkpoint",
    "--hidden-size",
    6,
    "--num-layers",
    1,
    "--batch-size",
    4,
    "--seq-length",
    8,
    "--seed",
    3,
    "--threads",
    1,
)
STEPS = ("--max-steps", 60)

# `charlm` that saves after every step; what it is to do besides comes in front.
SAVING = """
import sys
from charlm import saving
from charlm.cli import app
saving.SAVE_SECONDS, saving.SAVE_RATIO = {True: 0.0, False: 0.0}, 0.0
sys.exit(app.main(sys.argv[1:]))
"""
FILLING = """
import pathlib
from charlm.training import Trainer
run_of = Trainer.run
def run(self):
    for progress in run_of(self):
        if progress.step == 20:
            with open(pathlib.Path(sys.argv[sys.argv.index("-o") + 1]).with_name("filler"), "wb", buffering=0) as file:
                try:
                    while file.write(bytes(1024)): pass
                except OSError: pass
        yield progress
Trainer.run = run
"""
BREAKING = """
import os
fsync, calls = os.fsync, []
def broken(descriptor):
    calls.append(descriptor)
    if len(calls) > 40: raise OSError(5, "Input/output error")
    fsync(descriptor)
os.fsync = broken
"""


def charlm_saving(*args, before="", **options):
    """Give the process of a `charlm` that saves after every step."""
    code = SAVING.replace("import sys\n", f"import sys\n{before}", 1)
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def finished(process):
    out, err = process.communicate(timeout=SECONDS)
    return Result(process.returncode, out, err.decode())


def opened(path):
    return load(path, NumpyBackend())


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    letters = random.Random(1)
    path.write_text("".join("".join(letters.choices("abcdefg", k=9)) + "\n" for _ in range(200)))
    return path


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 128 KiB, where the machine lets us make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", folder], capture_output=True)
    if made.returncode:
        pytest.skip(f"no small disk can be made here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_in_the_bytes_of_an_unbroken_run(tmp_path, corpus, times):
    """Inside saves too, which take most of such a run's time: what they leave behind is swept by the next."""
    whole = tmp_path / "whole.safetensors"
    begin = time.monotonic()
    with charlm_saving("train", corpus, "-o", whole, *TINY, *STEPS) as process:
        finished(process).succeeded()
    length = time.monotonic() - begin
    moments = random.Random(7)
    for number in range(times(3, 5)):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        broken = folder / "m.safetensors"
        with charlm_saving("train", corpus, "-o", broken, *TINY, *STEPS) as process:
            time.sleep(moments.uniform(0.2 * length, length))
            process.kill()
        if broken.exists():
            opened(broken)
        resumed = checkpoint_path(broken).exists()
        if resumed:
            assert opened(checkpoint_path(broken)).training is not None
        run(
            "train", corpus, "-o", broken, *(["--resume", "--keep-checkpoint"] if resumed else [*TINY, *STEPS])
        ).succeeded()
        for written, unbroken in ((broken, whole), (checkpoint_path(broken), checkpoint_path(whole))):
            assert written.read_bytes() == unbroken.read_bytes(), f"after kill {number}"
        assert sorted(path.name for path in folder.iterdir()) == ["m.ckpt.safetensors", "m.safetensors"]
        shutil.rmtree(folder)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # the threads hold no lock
@pytest.mark.parametrize(
    ("point", "is_new"), [("fchmod", False), ("fsync", False), ("replace", False), ("fsync of the folder", True)]
)
def test_killed_inside_a_save_at_each_call(tmp_path, point, is_new):
    path = tmp_path / "m.safetensors"
    arrays = {"a": np.arange(5000.0)}
    container.write(path, {"format": "charlm", "is": "old"}, arrays)
    child = os.fork()
    if not child:
        name = point.split()[0]
        genuine = getattr(os, name)

        def die(*arguments):
            if "folder" not in point or not os.path.isfile(f"/proc/self/fd/{arguments[0]}"):
                os.kill(os.getpid(), signal.SIGKILL)
            genuine(*arguments)

        setattr(os, name, die)
        container.write(path, {"format": "charlm", "is": "new"}, arrays)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    file = container.Container(path)
    assert file.header["is"] == ("new" if is_new else "old")
    assert (file.arrays()["a"] == arrays["a"]).all()


def test_a_disk_that_fills_up_ends_the_run_and_harms_nothing(small_disk, corpus):
    path = small_disk / "m.safetensors"
    with charlm_saving("train", corpus, "-o", path, *TINY, *STEPS, before=FILLING) as process:
        result = finished(process).failed(6, "cannot write", "No space left on device", "bytes are needed", "are free")
    assert "Traceback" not in result.err
    assert sorted(p.name for p in small_disk.iterdir()) == ["filler", "m.ckpt.safetensors", "m.safetensors"]
    opened(path)
    assert 19 <= opened(checkpoint_path(path)).training.numbers.step <= 20
    (small_disk / "filler").unlink()
    run("train", corpus, "-o", path, "--resume", "--keep-checkpoint").succeeded()


@pytest.mark.slow
def test_a_limit_on_the_size_of_files(tmp_path, corpus):
    """What a quota or `ulimit -f` says: the first save, before the first step, finds out."""
    path = tmp_path / "m.safetensors"
    run("train", corpus, "-o", path, *TINY, *STEPS).succeeded()
    before = path.read_bytes(), checkpoint_path(path).read_bytes()
    flags = " ".join(map(str, TINY))
    command = f"ulimit -f 1; exec {sys.executable} -m charlm train {corpus} -o {path} --force {flags}"
    done = subprocess.run(["bash", "-c", command], env=environment(), capture_output=True)
    Result(done.returncode, done.stdout, done.stderr.decode()).failed(6, "File too large", "the old file is unchanged")
    assert (path.read_bytes(), checkpoint_path(path).read_bytes()) == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.slow
def test_a_disk_that_breaks_ends_the_run_and_harms_nothing(tmp_path, corpus):
    """After a failed fsync the pages are gone: the old file is what there is."""
    path = tmp_path / "m.safetensors"
    with charlm_saving("train", corpus, "-o", path, *TINY, *STEPS, before=BREAKING) as process:
        finished(process).failed(6, "Input/output error")
    opened(path)
    assert 0 < opened(checkpoint_path(path)).training.numbers.step < 60
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    run("train", corpus, "-o", path, "--resume", "--keep-checkpoint").succeeded()


@pytest.fixture
def closed(tmp_path, request):
    """A folder that may be read and not written: root needs a file system for that."""
    if os.geteuid():
        folder = tmp_path / "closed"
        folder.mkdir()
    else:
        folder = request.getfixturevalue("small_disk")
    for name in ("m.safetensors", "m.ckpt.safetensors"):
        (folder / name).write_bytes(b"x")
    if os.geteuid():
        folder.chmod(0o555)
    else:
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    yield folder
    if os.geteuid():
        folder.chmod(0o755)


@pytest.mark.thinned(3)
@pytest.mark.parametrize(("name", "flags"), [("new", ()), ("m", ("--force",)), ("m", ("--resume",))])
def test_an_unwritable_output_is_refused_before_anything_is_read(closed, name, flags):
    """The corpus is one that would be refused, had it been looked at."""
    done = run("train", "/nowhere.txt", "-o", closed / name, *flags)
    assert "Permission denied" in done.err or "Read-only file system" in done.err
    done.failed(6, "cannot write", "writable folder")


@pytest.mark.slow
def test_two_trainers_on_one_output(tmp_path, corpus):
    path = tmp_path / "m.safetensors"
    with started("train", corpus, "-o", path, *TINY, "--max-steps", 100_000) as process:
        while not read_line(process.stderr).startswith(b"step "):
            pass
        for flags in (("--resume",), (*TINY, *STEPS, "--force"), (*TINY, *STEPS)):
            if "--force" not in flags and "--resume" not in flags:  # before there is anything to overwrite
                for name in (path, checkpoint_path(path)):
                    name.unlink(missing_ok=True)
            second = run("train", corpus, "-o", path, *flags)
            second.failed(6, f"in use by process {process.pid}", "m.safetensors")
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
    done = opened(checkpoint_path(path)).training.numbers.step
    run("train", corpus, "-o", path, "--resume", "--max-steps", done + 5).succeeded()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_reader_sees_the_old_or_the_new_file(tmp_path, corpus, times):
    path = tmp_path / "m.safetensors"
    seen = set()
    with charlm_saving("train", corpus, "-o", path, *TINY, "--max-steps", 1_000_000) as process:
        wait_until(path.exists, process)
        deadline, reads = time.monotonic() + SECONDS, 0
        while (reads < times(40, 200) or len(seen) <= 5) and time.monotonic() < deadline:
            opened(path)
            seen.add(opened(checkpoint_path(path)).training.numbers.step)
            reads += 1
        process.kill()
    assert len(seen) > 5


@pytest.mark.slow
def test_orphans_of_fifty_killed_runs_are_swept(tmp_path, corpus):
    path = tmp_path / "m.safetensors"
    for number in range(25):
        for name in ("m.safetensors", "m.ckpt.safetensors"):
            (tmp_path / f".{name}.abcd{number:04}.tmp").write_bytes(bytes(1000))
    (tmp_path / ".another.safetensors.abcd0000.tmp").write_bytes(b"x")
    run("train", corpus, "-o", path, *TINY, "--max-steps", 3).succeeded()
    hidden = [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]
    assert hidden == [".another.safetensors.abcd0000.tmp"]


def test_a_rename_that_the_file_system_refuses(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")

    def refuse(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(Exception, match="Operation not permitted"):
        container.write(path, {}, {})
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1

"""Outputs that cannot be what is asked for: refused, with one line and the right code, and nothing is replaced."""

import errno
import os
import stat
from pathlib import Path

import pytest

import charlm as package
from charlm.backends import NumpyBackend
from charlm.checkpoint import checkpoint_path, load
from charlm.cli import training_run
from charlm.errors import ResourceError
from tests.cli.shell import bash, files_of, run
from tests.special import KINDS, looks_of, make_special
from tests.task_models import saved

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
    "--max-steps",
    3,
    "--seed",
    3,
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("models"))


@pytest.fixture
def train(charlm, trained):
    """Return the function that trains for three steps in the current folder."""
    return lambda *args: charlm("train", trained.names, *TINY, *args)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- what is no regular file ------------------------------------------------------------------------------------------


@pytest.mark.thinned(2)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["m.safetensors", "m.ckpt.safetensors"])
@pytest.mark.parametrize("flags", [("--force",), ("--resume",)], ids=["force", "resume"])
def test_a_training_replaces_no_special_file(train, here, kind, name, flags):
    make_special(here / name, kind)
    before = looks_of(here)
    train("-o", "m", *flags).failed(6, "cannot write", name)
    assert looks_of(here) == before


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_a_special_file_named_without_suffix_is_what_was_meant(train, here, kind):
    make_special(here / "m", kind)
    before = looks_of(here)
    train("-o", "m").failed(6, "cannot write m", "not a regular file")
    assert looks_of(here) == before


def test_a_folder_may_have_the_name_of_a_model_without_its_suffix(train, here):
    make_special(here / "m", "folder")
    train("-o", "m").succeeded()
    assert (here / "m.safetensors").is_file()


@pytest.mark.thinned(3)
@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_to_stand_there_while_training_is_not_replaced(train, here, monkeypatch, kind):
    """And the checkpoint is saved: it has the weights, too."""
    learn = training_run.TrainingRun._learn

    def learning(self, *args):
        learn(self, *args)
        Path("m.safetensors").unlink(missing_ok=True)
        make_special(here / "m.safetensors", kind)

    with monkeypatch.context() as patch:
        patch.setattr(training_run.TrainingRun, "_learn", learning)
        train("-o", "m").failed(6, "cannot write m.safetensors", "checkpoint is saved", "--resume")
    assert not stat.S_ISREG(Path("m.safetensors").lstat().st_mode)
    assert load(Path("m.ckpt.safetensors"), NumpyBackend()).training.numbers.step == 3
    os.rename("m.safetensors", "away")
    train("-o", "m", "--resume").succeeded()
    assert Path("m.safetensors").is_file()


@pytest.mark.thinned(3)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_a_model_file_that_could_not_be_written_is_written_by_the_resumed_run(train, here, monkeypatch, number):
    """The file that is there is an older model; the checkpoint has the weights that it lacks."""
    train("-o", "whole", "--max-steps", 9).succeeded()
    train("-o", "m").succeeded()
    old = Path("m.safetensors").read_bytes()
    replace = os.replace

    def refuse(source, target):
        if Path(target).name == "m.safetensors":
            raise OSError(number, os.strerror(number))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        train("-o", "m", "--force", "--max-steps", 9).failed(6, os.strerror(number), "unchanged", "with --resume")
    assert Path("m.safetensors").read_bytes() == old
    train("-o", "m", "--resume", "--max-steps", 9).succeeded()
    assert Path("m.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_midi_replaces_no_special_file(charlm, models, here, kind):
    make_special(here / "x.mid", kind)
    before = looks_of(here)
    charlm("generate", models.music, "--seed", 1, "--midi", "x.mid").failed(6, "x.mid")
    assert looks_of(here) == before


@pytest.mark.thinned(2)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flags", [(), ("--gradients",)])
@pytest.mark.parametrize("name", ["x.svg", "x.png"])
def test_a_picture_replaces_no_special_file(charlm, trained, here, kind, flags, name):
    make_special(here / name, kind)
    before = looks_of(here)
    gradients = [*flags, trained.names] if flags else []
    charlm("inspect", trained.char, *gradients, "--plot", name).failed(6, "cannot write", name)
    assert looks_of(here) == before


@pytest.mark.parametrize("kind", KINDS)
def test_save_replaces_no_special_file(models, here, kind):
    make_special(here / "m.safetensors", kind)
    before = looks_of(here)
    with pytest.raises(ResourceError, match="cannot write"):
        package.save(models.models["lm"], "m.safetensors")
    assert looks_of(here) == before


@pytest.mark.parametrize("name", ["x.mid", "/dev/stdout"])
def test_standard_output_and_midi_are_two_files(models, here, name):
    """Whichever came last would be all that is left of them."""
    bash(f"charlm generate {models.music} --seed 1 --midi {name} > x.mid").failed(2, "standard output", name)
    assert Path("x.mid").read_bytes() == b""


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.thinned(2)
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("-", 2),
        ("", 2),
        (".", 2),
        ("..", 2),
        ("/", 2),
        ("./..", 2),
        ("m.ckpt", 2),
        ("m.ckpt.safetensors", 2),
        (".ckpt", 2),
        ("m.CKPT", 2),
        (os.devnull, 6),
        ("missing/m", 6),
        ("names.txt/m", 6),
        *(("m" * length, 6) for length in (239, 243, 244, 255, 256, 260, 5000)),
        *(("é" * length, 6) for length in (120, 130)),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--resume",)], ids=["plain", "resume"])
def test_a_name_that_names_no_output(train, here, name, code, flags):
    Path("names.txt").write_text("x")
    before = files_of(here)
    train("-o", name, *flags).failed(code)
    assert files_of(here) == before


def test_a_name_that_is_just_short_enough(train, here):
    name = "m" * (255 - len(".ckpt.safetensors"))
    train("-o", name).succeeded()
    assert sorted(path.name for path in here.iterdir()) == [f"{name}.ckpt.safetensors", f"{name}.safetensors"]


@pytest.mark.parametrize("name", ["", ".", "..", "-", "x" * 256, "a/b.mid", "text/x.mid"])
def test_a_name_that_names_no_midi_file(charlm, models, here, name):
    Path("text").write_text("x")
    before = files_of(here)
    charlm("generate", models.music, "--seed", 1, "--midi", name).failed(2 if len(name) < 3 else 6)
    assert files_of(here) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("mode", [0o000, 0o444, 0o555])
def test_a_locked_folder(charlm, train, models, trained, here, mode):
    locked = here / "locked"
    locked.mkdir()
    locked.chmod(mode)
    try:
        train("-o", locked / "m").failed(6, "Permission denied")
        charlm("generate", models.music, "--seed", 1, "--midi", locked / "x.mid").failed(6, "Permission denied")
        charlm("inspect", trained.char, "--plot", locked / "x.svg").failed(6, "Permission denied")
    finally:
        locked.chmod(0o755)


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENAMETOOLONG, errno.EIO, errno.ESTALE])
def test_a_midi_file_that_cannot_be_looked_at(charlm, models, here, monkeypatch, number):
    """As in a folder that nobody may enter, which root may."""
    look = os.stat

    def refuse(path, *args, **options):
        if str(path).endswith("x.mid"):
            raise OSError(number, os.strerror(number), str(path))
        return look(path, *args, **options)

    monkeypatch.setattr(os, "stat", refuse)
    charlm("generate", models.music, "--seed", 1, "--midi", "x.mid").failed(6, os.strerror(number), "x.mid")


# --- two outputs in one file ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["x.safetensors", "x.ckpt.safetensors"])
@pytest.mark.slow
def test_a_link_to_the_other_file_is_refused(train, here, link):
    """To another training's checkpoint, or from a checkpoint to its own model."""
    train("-o", "m").succeeded()
    before = files_of(here)
    if link == "x.safetensors":
        Path(link).symlink_to("m.ckpt.safetensors")
    else:
        Path("x.safetensors").write_bytes(before["m.safetensors"])
        Path(link).symlink_to("x.safetensors")
    now = files_of(here)
    for flags in ((), ("--force",), ("--resume",)):
        train("-o", "x", *flags).failed(2)
    assert files_of(here) == now


def test_a_checkpoint_that_another_training_has_is_in_use(train, here, monkeypatch):
    """By way of a link: both files are locked, not the model alone."""
    Path("x.ckpt.safetensors").symlink_to("m.ckpt.safetensors")
    learn = training_run.TrainingRun._learn
    second = []

    def learning(self, *args):
        second.append(run("train", self.prepared.corpus[0], *TINY, "-o", "x", "--force"))
        learn(self, *args)

    monkeypatch.setattr(training_run.TrainingRun, "_learn", learning)
    train("-o", "m").succeeded()
    second[0].failed(6, "in use by process", "x.ckpt.safetensors")
    assert [path.name for path in here.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_both_files_that_cannot_be_written_are_one_error(train, here, monkeypatch, number):
    train("-o", "m").succeeded()
    before = files_of(here)

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    train("-o", "m", "--resume", "--max-steps", 5).failed(6, os.strerror(number), "unchanged")
    monkeypatch.undo()
    os.chdir(here)
    assert files_of(here) == before
    assert checkpoint_path(Path("m.safetensors")).exists()

"""What every command reads: never its own output, never a model for a text, and all that stands before a mistake."""

from __future__ import annotations

import gzip
import os
import resource
import shlex
import signal
import sys

import pytest

from charlm.cli import ui
from charlm.cli.app import main
from tests.cli.shell import bash
from tests.task_models import saved

TEXT = b"abc\nab\nca\n"
ANSWERING = (  # commands that print something of the text that they read
    *("score lm {}", "score lm {} --format jsonl", "score cloze --suspect {}", "score lm {} --unbuffered"),
    *("evaluate lm {}", "fill cloze {}", "predict tag {}", "predict tag --columns {}", "vocab {}"),
    *("vocab --coverage {} text", "vocab --coverage text {}", "inspect lm --gradients {}", "bench score --text {}"),
    *("score lm text {}", "score lm {} text"),
)
LEARNING = ("train {} -o new", "train {} -o new --task tag", "train text --valid {} -o new")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of models; those whose names are `model...` are copies in other forms."""
    folder = tmp_path_factory.mktemp("models")
    saved(folder)
    whole = (folder / "lm.safetensors").read_bytes()
    (folder / "model.gz").write_bytes(gzip.compress(whole))
    # Its header's length holds a newline, so that its first line is no more than a few bytes.
    size = int.from_bytes(whole[:8], "little")
    padded = 0x0A00 + 0x10000 * (size // 0x10000 + 1)
    header = whole[8 : 8 + size] + b" " * (padded - size)
    (folder / "model-of-lines").write_bytes(padded.to_bytes(8, "little") + header + whole[8 + size :])
    assert b"\n" in (folder / "model-of-lines").read_bytes()[:8]
    return folder


@pytest.fixture
def folder(models, tmp_path, monkeypatch):
    """The folder in which a command runs, with models and a text."""
    for name in ("lm", "cloze", "tag", "conditioned", "classify", "translate"):
        (tmp_path / name).symlink_to(models / f"{name}.safetensors")
    (tmp_path / "text").write_bytes(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- input that is the output


@pytest.fixture
def appended(monkeypatch, capfd):
    """Run a command with standard output at the end of a file, which is standard input, too; give code and error."""

    def call(command, path):
        # Where it is not refused, it is not to fill the disk.
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        with open(path, "a") as output, open(path) as text, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", output)
            patch.setattr(sys, "stdin", text)
            try:
                code = main(shlex.split(command))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
                for number, handler in handlers.items():
                    signal.signal(number, handler)
        return code, capfd.readouterr().err

    return call


@pytest.mark.parametrize("command", [*ANSWERING, "generate lm -p -"])
def test_input_that_is_the_output_is_refused(folder, appended, command):
    own = folder / "own"
    own.write_bytes(TEXT)
    for name in ("own", "-"):
        code, err = appended(command.format(name), own)
        shown = "standard input" if "-p" in command or name == "-" else "own"
        assert (code, own.read_bytes()) == (2, TEXT), err
        assert f"charlm: error: input is also the output, {shown}\nhint: " in err


@pytest.mark.parametrize("form", ["symbolic link", "hard link", "gzip", "other path", "descriptor"])
def test_it_is_the_same_file_whatever_it_is_called(folder, appended, form):
    own, name = folder / "own", "other"
    own.write_bytes(gzip.compress(TEXT) if form == "gzip" else TEXT)
    before = own.read_bytes()
    if form == "symbolic link":
        (folder / "other").symlink_to(own)
    elif form == "hard link":
        os.link(own, folder / "other")
    else:
        name = {"gzip": "own", "other path": f"../{folder.name}/own", "descriptor": "/dev/fd/{}"}[form]
    if form == "descriptor" and not os.path.exists("/dev/fd"):
        pytest.skip("no /dev/fd")
    with open(own, "rb") as opened:
        code, err = appended(f"score lm {name.format(opened.fileno())}", own)
    assert (code, own.read_bytes()) == (2, before)
    assert "input is also the output" in err


def test_what_only_looks_like_it_is_read(charlm, folder):
    """Pipes, devices, another file of the same text, and a standard input that is not read."""
    whole = charlm("score", "lm", "text").succeeded().out
    (folder / "own2").write_bytes(b"")
    for command in (
        "cat text | charlm score lm | cat",
        "cp text other; charlm score lm text > other; cat other",
        "cp text own; cat own | charlm score lm - >> own; tail -n +4 own",
        "charlm score lm text < own2 >> own2; cat own2",
    ):
        assert bash(command, cwd=folder).succeeded().out == whole, command


def test_a_shell_that_appends_to_what_is_read(folder):
    for command in ("charlm score lm text >> text", "charlm score lm < text >> text"):
        bash(f"ulimit -f 100; {command}", cwd=folder).failed(2, "input is also the output")


# ---- a model in place of a text


@pytest.mark.parametrize("command", [*ANSWERING[4:], *LEARNING, "score lm {}", "generate lm -p -"])
def test_a_model_in_place_of_a_text_is_told(charlm, models, folder, command):
    content = (models / "tag.safetensors").read_bytes()
    for path in ("tag", models / "model-of-lines", models / "model.gz", "-"):
        if "{}" in command or path == "-":
            result = charlm(*shlex.split(command.format(path)), stdin=content)
            shown = "standard input" if path == "-" else str(path)
            result.failed(3, f"a charlm model, not a text, {shown}")
    assert not list(folder.glob("new*"))


# ---- what stands before a mistake

BROKEN = {  # command, the lines that are good, and what follows them
    "no label": ("score conditioned {}", "x\tabc\nzz\tca\n", "\nx\tb\n"),
    "no such label": ("score conditioned {} --format jsonl", "x\tabc\n", "q\tabc\nx\tb\n"),
    "label alone": ("score conditioned {} --format text", "x\tabc\nx\tabc\ny\tc\n", "x\n"),
    "tokens": ("score conditioned {} --per token", "x\tabc\nzz\tca\n", "x\ta\tb\n"),
    "score": ("score lm {} missing", "abc\n\nca\n", ""),
    "kenlm": ("score lm {} missing --format kenlm", "abc\n\nca\n", ""),
    "suspect": ("score cloze {} missing --suspect", "the cat\n\nit sees\n", ""),
    "fill": ("fill cloze {} missing", "the ___\n\n", ""),
    "tags": ("predict tag {} missing", "the cat\n\n", ""),
    "columns": ("predict tag {} missing --columns", "the\ncat\n\nit\n\n", ""),
    "class": ("predict classify {} missing", "abc\n\nb\n", ""),
    "translation": ("predict translate {} missing", "the cat\n\nit\n", ""),
}
AHEAD = (["--unbuffered"], ["--batch-size", 1], [])


@pytest.mark.thinned(3)
@pytest.mark.parametrize("row", BROKEN)
def test_what_stands_before_a_mistake_is_answered(charlm, folder, row):
    command, good, bad = BROKEN[row]
    for flags in AHEAD:
        (folder / "good").write_text(good)
        (folder / "bad").write_text(good + bad)
        whole = charlm(*shlex.split(command.format("good").replace(" missing", "")), *flags).succeeded().lines
        if row == "kenlm":
            del whole[-4:]  # the summary, of a text that was read to its end
        result = charlm(*shlex.split(command.format("bad")), *flags)
        result.failed(3, "missing" if not bad else f"bad line {good.count(chr(10)) + 1}")
        assert result.lines == whole


# ---- standard input that a person types

TYPED = (
    *("score lm", "score cloze --suspect", "evaluate lm", "fill cloze -", "predict tag", "predict tag --columns"),
    *("vocab -", "vocab text --coverage -", "generate lm -p - --seed 1", "inspect lm --gradients"),
)


@pytest.mark.parametrize("command", TYPED)
def test_a_person_is_told_once_that_it_waits(charlm, folder, monkeypatch, command):
    monkeypatch.setattr(ui, "is_terminal", lambda stream: stream is sys.stdin)
    result = charlm(*shlex.split(command), stdin=b"abc\n").succeeded()
    assert result.err.count("reading standard input") == 1
    assert "reading" not in charlm(*shlex.split(command), "-q", stdin=b"abc\n").succeeded().err


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("train w.safetensors -o w --force", "w.safetensors"),
        ("train text.txt --valid w.safetensors -o w --force", "w.safetensors"),
        ("train w.ckpt.safetensors -o w --force", "w.ckpt.safetensors"),
        ("inspect lm --gradients w.svg --plot w.svg", "w.svg"),
        ("inspect w.svg --plot w.svg", "w.svg"),
    ],
)
def test_an_output_that_is_read_is_not_replaced(charlm, folder, command, written):
    (folder / "text.txt").write_text("abc\n")
    (folder / written).write_text("precious\n")
    charlm(*shlex.split(command)).failed(2, "input is also the output", written)
    assert (folder / written).read_text() == "precious\n"


@pytest.mark.thinned(3)
@pytest.mark.parametrize("command", ["score lm t.txt", "generate lm --seed 1", "inspect lm"])
def test_a_model_that_is_the_output_is_refused(folder, command):
    (folder / "t.txt").write_text("abc\n")
    before = (folder / "lm").read_bytes()
    bash(f"charlm {command} >> lm", cwd=folder).failed(2, "input is also the output", "lm")
    assert (folder / "lm").read_bytes() == before

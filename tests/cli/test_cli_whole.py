"""What is written is whole: lines where a signal or a mistake ends the work, files where the reader has left."""

import os
import signal
import sys

import pytest

from charlm.cli import signals, ui
from charlm.errors import ResourceError
from tests.cli.shell import bash, started
from tests.task_models import saved

# ---- lines


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write pieces, end in some way, and give what has become of them."""

    def call(pieces, end, **options):
        with open(tmp_path / "out", "w") as file:
            monkeypatch.setattr(sys, "stdout", file)
            output = ui.Output(**options)
            for piece in pieces:
                output.write(piece)
            monkeypatch.setattr(signals.state, "output", output)
            end(output)
        return (tmp_path / "out").read_text()

    return call


LONG = "x" * (1 << 16)


@pytest.mark.parametrize(
    ("pieces", "unbuffered", "kept"),
    [
        (["ab\n", "c"], False, "ab\n"),
        (["ab\n", "c"], True, "ab\nc\n"),
        (["ab\n", "c\n"], True, "ab\nc\n"),
        (["a"], False, ""),
        (["a"], True, "a\n"),
        ([], True, ""),
        (["\n"], True, "\n"),
        ([LONG, "y"], False, LONG + "\n"),
        ([LONG, "y\nz"], False, LONG + "y\n"),
        ([LONG + "\n", "y"], False, LONG + "\n"),
    ],
)
def test_a_signal_leaves_whole_lines(written, pieces, unbuffered, kept):
    """What is handed over in the middle of a line is ended, what is not is left out."""
    assert written(pieces, lambda output: output.finish_lines(), unbuffered=unbuffered) == kept


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("text", ["", "ab\n", "ab\nc", LONG + "y"])
def test_a_mistake_leaves_whole_lines(written, text, unbuffered):
    whole = text if text.endswith("\n") or not text else text + "\n"
    assert written([text] * bool(text), lambda _: ui.finish(), unbuffered=unbuffered) == whole


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the test reads until the process writes")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_text_that_comes_piece_by_piece_ends_in_a_line(models, number):
    """A model whose lines never end before they are as long as asked for."""
    with started("generate", models.music, "-l", 10**7, "--seed", 1, "--unbuffered") as process:
        out = process.stdout.read(10)
        process.send_signal(number)
        while part := process.stdout.read(1 << 16):
            out += part
        assert process.wait(60) == 128 + number
        assert process.stderr.read() == b""
    assert out.endswith(b"\n") and out.count(b"\n") == 1


# ---- files


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("models"))


@pytest.mark.thinned(2)
@pytest.mark.parametrize("end", ["| head -c 9", "--unbuffered | true"])
@pytest.mark.slow
def test_a_midi_file_is_whole_where_nobody_reads_the_text(charlm, models, tmp_path, end):
    whole, song = tmp_path / "whole.mid", tmp_path / "song.mid"
    command = f"generate {models.music} --seed 1 -l 2000 --midi"
    charlm(*command.split(), whole).succeeded()
    song.write_bytes(b"MThd, an old one")
    result = bash(f"set -o pipefail; charlm {command} {song} {end}")
    assert (result.code, result.err) == (0, "")
    assert song.read_bytes() == whole.read_bytes()


def test_a_midi_file_is_whole_where_there_is_no_room_for_the_text(charlm, models, tmp_path, monkeypatch):
    def refuse(*_):
        raise ResourceError("standard output: No space left on device", hint="free disk space")

    args = ("generate", models.music, "--seed", 1, "-l", 20, "--midi")
    charlm(*args, tmp_path / "whole.mid").succeeded()
    monkeypatch.setattr(ui.Output, "write", refuse)
    charlm(*args, tmp_path / "song.mid").failed(6, "No space left")
    assert (tmp_path / "song.mid").read_bytes() == (tmp_path / "whole.mid").read_bytes()


def test_a_picture_is_drawn_where_nobody_reads_the_text(charlm, models, tmp_path, monkeypatch):
    """Also of gradients: the picture comes before the lines that a reader may not wait for."""
    pytest.importorskip("matplotlib")
    (tmp_path / "text").write_text("abcab\n")
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as closed:
        for name, flags in (("losses", ()), ("gradients", ("--gradients", tmp_path / "text"))):
            picture = tmp_path / f"{name}.svg"
            with monkeypatch.context() as patch:
                patch.setattr(sys, "stdout", closed)
                assert charlm("inspect", models.lm, *flags, "--plot", picture).code == 0
            assert picture.stat().st_size > 0

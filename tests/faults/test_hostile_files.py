"""Files that are none, that change while they are read, or whose names only a program would give."""

import gzip
import os
import shlex

import numpy as np
import pytest

from charlm.backends import get_backend
from charlm.checkpoint import load
from charlm.errors import CorpusError
from charlm.text import read_lines
from tests.cli.shell import bash, run, started

TINY = ("--hidden-size", 4, "--num-layers", 1, "--batch-size", 2, "--seq-length", 8, "--max-steps", 1, "--seed", 1)
LINE = b"a line of text, which is read\n"


@pytest.mark.slow
def test_names_that_only_a_program_would_give(charlm, trained, tmp_path, monkeypatch, times):
    monkeypatch.chdir(tmp_path)
    names = ("-n.txt", "--help", "a\nb.txt", "\x1b[31m.txt", "bad\udcff.txt", "-", "it's $HOME", "\u202egnp.txt")
    for name in names[:: times(3, 1)]:
        path = f"./{name}" if name == "-" else name  # alone, it is standard input
        with open(path, "w") as file:
            file.write("Ra\nto\n")
        charlm("train", *TINY, "-o", "made", "--force", "--", path).succeeded()
        for command in ("score", "evaluate"):
            charlm(command, "made.safetensors", "--", path).succeeded()
        with open(path, "ab") as file:
            file.write(b"t\xf6\n")
        result = charlm("train", *TINY, "-o", "made", "--force", "--", path).failed(3, "line 3, offset 7")
        *_, hint = result.err.splitlines()
        command = hint.removeprefix("hint: convert it, for example: ")
        assert command.isprintable()
        assert bash(f"{command}", cwd=tmp_path).text == "Ra\nto\ntö\n", command  # also where the name has to be quoted
        assert shlex.split(command)[0] == "iconv"


def loaded(path):
    return load(path, get_backend("cpu")).language_model


@pytest.mark.thinned(3)
@pytest.mark.parametrize("command", ["train", "score", "evaluate"])
@pytest.mark.slow
def test_a_pipe_with_a_name_is_read_like_a_file(trained, tmp_path, command):
    fifo, text = tmp_path / "fifo", trained.names.read_bytes()
    os.mkfifo(fifo)

    def arguments(path, model):
        return ("train", path, "-o", tmp_path / model, *TINY) if command == "train" else (command, trained.char, path)

    with started(*arguments(fifo, "piped")) as process:
        with open(fifo, "wb") as pipe:
            content = gzip.compress(text) if command == "evaluate" else text
            for start in range(0, len(content), 100):
                pipe.write(content[start : start + 100])
                pipe.flush()
        out, err = process.stdout.read(), process.stderr.read()
        assert process.wait(60) == 0, err
    expected = run(*arguments(trained.names, "read")).succeeded()
    if command == "train":
        piped, read = (loaded(tmp_path / f"{name}.safetensors") for name in ("piped", "read"))
        assert np.array_equal(piped.model.parameters.values, read.model.parameters.values)
        assert piped.history == read.history and piped.tokenizer.vocabulary == read.tokenizer.vocabulary
    speed = b"tokens_per_second"
    assert out.split(speed)[0] == expected.out.split(speed)[0]


def reading(path, way):
    """Read a file in one of two ways, little by little."""
    lines = read_lines([str(path)], errors="keep" if way == "lines" else "strict")
    return lines if way == "lines" else lines.blocks()


@pytest.mark.parametrize("way", ["lines", "blocks"])
@pytest.mark.parametrize("left", [1.5, 2.0, 0.0])
def test_a_file_that_is_cut_off_while_it_is_read_is_told(tmp_path, way, left):
    path = tmp_path / "shrinks.txt"
    lines = (3 << 20) // len(LINE)
    path.write_bytes(LINE * lines)
    read = reading(path, way)
    next(read)
    size = int(left * (1 << 20)) // len(LINE) * len(LINE) + 7 * (left == 1.5)
    os.truncate(path, size)
    with pytest.raises(CorpusError, match="was cut off while it was read") as told:
        for _ in read:
            pass
    assert told.value.exit_code == 3
    number, offset = map(int, told.value.message.replace(", offset", "").split(" line ")[1].split())
    assert offset == (number - 1) * len(LINE)  # where the line begins that is not there, or not whole
    assert size - len(LINE) < offset or left == 0.0


@pytest.mark.parametrize("way", ["lines", "blocks"])
def test_a_file_that_grows_while_it_is_read_is_read_to_its_new_end(tmp_path, way):
    path = tmp_path / "grows.txt"
    path.write_bytes(LINE * 100_000)
    read = reading(path, way)
    text = next(read) + "\n" * (way == "lines")
    with path.open("ab") as file:
        file.write(b"more\nand an end that is not ended")
    text += "".join(part + "\n" * (way == "lines") for part in read)
    assert text == (LINE * 100_000).decode() + "more\nand an end that is not ended\n"


@pytest.mark.slow
def test_what_is_cut_off_is_no_result(trained, tmp_path):
    """The command waits for its reader while the file is cut off, in the middle of a line."""
    path, line = tmp_path / "shrinks.txt", b"x" * 1999 + b"\n"
    path.write_bytes(line * 2000)
    with started("score", trained.word, path, "--batch-size", 1) as process:
        out = process.stdout.read(1)
        os.truncate(path, len(line) * 1000 + 1000)
        while part := process.stdout.read(1 << 16):
            out += part
        assert process.wait(60) == 3
        error, hint = process.stderr.read().decode().splitlines()
    assert error == f"charlm: error: was cut off while it was read, {path} line 1001, offset {1000 * len(line)}"
    assert hint.startswith("hint: ")
    rows = out.split(b"\n")[1:-1]
    assert 0 < len(rows) <= 1000 and {row.split(b"\t")[4] + b"\n" for row in rows} == {line}

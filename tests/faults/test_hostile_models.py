"""Model files of somebody who means harm: opened as what they are, or refused in one line, at once, in little memory.

`test_checkpoint` and `test_task_damage` have the damage that happens by itself; `mutants` makes most of what is here.
"""

import contextlib
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charlm import api
from charlm.storage.container import Container
from tests.cli.shell import environment, run
from tests.conftest import REPOSITORY
from tests.faults.mutants import DTYPES, FIXTURES, KINDS, joined, mutant
from tests.faults.opening import SLOW, SPARE, limit_memory
from tests.test_checkpoint import parts_of, refusal_of, rewrite, set_field, signed

LM = next(path for path in FIXTURES if path.name == "names.safetensors")
SHORT, LONG = 300, 1_500  # mutants


@pytest.mark.slow
def test_mutants_are_opened_or_refused(tmp_path, times):
    """In a second, in a few times their size, and with nothing else opened, imported or started."""
    count = times(SHORT, LONG)
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.opening", tmp_path, "0", str(count)],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        timeout=600 + count,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["wrong"] == {}
    assert found["slowest"] < SLOW
    assert found["grown"] < SPARE and found["leaked"] == 0
    outcomes = found["outcomes"]
    assert sum(outcomes.values()) == count
    assert all(outcomes.get(f"{kind.__name__} refused", 0) > count // 30 for kind in KINDS)
    for kind in ("_arrays", "_metadata", "_table", "_whole_header"):  # nothing is refused for its checksum alone
        assert outcomes.get(f"{kind} opened", 0) > 0


def test_a_mutant_can_be_made_again():
    assert [mutant(number) for number in range(30)] == [mutant(number) for number in range(30)]
    assert len({mutant(number)[1] for number in range(60)}) > 50


@contextlib.contextmanager
def in_little(size=0):
    """Check that what is done asks for no more memory than files of a size are worth, and takes no time."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit_memory(size)
    try:
        started = time.process_time()  # of this process: the machine may be busy
        yield
        assert time.process_time() - started < SLOW
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def file(tmp_path):
    """Give a copy of a model, to be damaged."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(LM.read_bytes())
    return path


def text_of(path):
    return parts_of(path)[0]["__metadata__"]["charlm"]


def write_text(path, text):
    """Put another text in the place of the metadata's JSON."""
    header, data = parts_of(path)
    header["__metadata__"]["charlm"] = text
    path.write_bytes(joined(header, data))


# --- what is no file of numbers --------------------------------------------------------------------------------------


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    run("inspect", tmp_path / "pipe").failed(4, "not a regular file", str(tmp_path / "pipe"))


def test_devices_and_sockets_are_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for path in ("/dev/zero", "/dev/null", "socket"):
            with in_little():
                assert "not a regular file" in refusal_of(Path(path))


@pytest.mark.parametrize("length", [10**8 - 1, 10**8 + 1, 3 * 10**8, (1 << 63) - 1, (1 << 64) - 1])
def test_a_header_of_any_length_costs_nothing(tmp_path, length):
    """The file has as many bytes, most of which no disk has to hold."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b'{"')
    os.truncate(path, min(length + 100, 4 * 10**8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with in_little(path.stat().st_size):  # which a mapping of the file asks for
        refusal_of(path)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < SPARE + (2 * length if length < 10**8 else 0)  # what is longer is not even looked at


@pytest.mark.parametrize("tokens", [1_000_000, 19_000_000])
def test_more_tokens_than_the_network_has_are_refused_in_a_second(file, tokens, times):
    """As many as go into a header, which ends at 10^8 bytes: 10^8 tokens do not."""
    tokens = times(min(tokens, 1_000_000), tokens)
    before, after = text_of(file).split('"a",', 1)
    quoted = json.dumps(before)[1:-1] + '\\"a\\",' * tokens + json.dumps(after)[1:-1]
    header, data = parts_of(file)
    header["__metadata__"]["charlm"] = "@"
    text = json.dumps(header).replace('"@"', f'"{quoted}"').encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)
    del quoted, before, after
    with in_little(size=len(text)):
        refusal_of(file)


# --- numbers that are too large --------------------------------------------------------------------------------------

HUGE = {
    "hidden_size": [10**9, 1 << 20, 1 << 64, 10**400],
    "num_layers": [10**6, 100],
    "embedding_size": [10**9, 1 << 20],
    "dense": [[10**9], [1 << 20] * 50, [1] * 200_000],
    "vocabulary_size": [10**8, 1 << 27, 1 << 64],
    "labels": [10**8, 1 << 64],
    "target_size": [10**8],
}


@pytest.mark.parametrize("name", HUGE)
def test_a_network_that_is_too_large_is_refused_before_it_is_made(file, name):
    raw = file.read_bytes()
    for value in HUGE[name]:
        file.write_bytes(raw)
        rewrite(file, set_field("model", name, value))
        with in_little(file.stat().st_size):
            refusal_of(file)


def test_a_network_of_many_layers_is_refused_for_their_number(file):
    rewrite(file, set_field("model", "dense", [4] * 101))
    assert "dense" in refusal_of(file)


SHAPES = {
    "2 ** 64 + 4 bytes": ("F32", [(1 << 62) + 1]),
    "2 ** 64 numbers": ("F32", [1 << 32, 1 << 32]),
    "a product that is 4 again": ("F32", [1 << 32, 1 << 32, 4]),
    "10 ** 12 numbers": ("F32", [10**6, 10**6]),
    "rank 100": ("F32", [1] * 100 + [27, 1]),
    "rank 100,000": ("F32", [1] * 100_000 + [27, 1]),
    "no size": ("F32", [0, 27]),
    "below 0": ("F32", [-27, -1]),
    "no whole number": ("F32", [27.0, 1]),
    "no number": ("F32", ["27", 1]),
    "no list": ("F32", {"27": 1}),
    **{dtype: (dtype, [27, 1]) for dtype in DTYPES if dtype != "F32"},
}


@pytest.mark.parametrize("kind", SHAPES)
def test_an_array_of_a_size_that_cannot_be_is_refused(file, kind):
    header, data = parts_of(file)
    header["head.b_y"]["dtype"], header["head.b_y"]["shape"] = SHAPES[kind]
    file.write_bytes(joined(header, data))
    with in_little(file.stat().st_size):
        refusal_of(file)


@pytest.mark.parametrize("begin", [0, 4, 1 << 40, (1 << 64) - 4])
def test_arrays_that_lie_elsewhere_are_refused(file, begin):
    header, data = parts_of(file)
    size = len(data) - header["layer0.W"]["data_offsets"][0]
    header["layer0.W"]["data_offsets"] = [begin, (begin + size) % (1 << 64)]
    if begin == 0:
        header["head.b_y"]["data_offsets"] = [0, 108]  # the same bytes for two
    file.write_bytes(joined(header, data))
    with in_little():
        refusal_of(file)


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a\0b", "\x1b]0;x\x07", "x" * 1_000_000, "", "\ud800"])
def test_an_array_of_another_name_is_refused(file, name):
    header, data = parts_of(file)
    header[name] = header.pop("head.b_y")
    file.write_bytes(joined(signed(header, data), data))
    with in_little(file.stat().st_size):
        assert len(refusal_of(file)) < 400


@pytest.mark.parametrize("key", ["model", "version", "vocabulary", "sha256"])
def test_a_name_that_is_there_twice_is_refused(file, key):
    write_text(file, f'{{"{key}": 1, {text_of(file)[1:]}')
    assert f"repeated key {key!r}" in refusal_of(file)


def test_a_field_that_is_there_twice_is_refused(file):
    write_text(file, text_of(file).replace('"hidden_size"', '"hidden_size": 1048576, "hidden_size"'))
    assert "repeated key 'hidden_size'" in refusal_of(file)


@pytest.mark.parametrize("key", ["head.b_y", "__metadata__"])
def test_an_array_that_is_there_twice_is_the_last_one_or_refused(file, key):
    """The checksum is that of what is read."""
    header, data = parts_of(file)
    first = {"dtype": "F32", "shape": [27], "data_offsets": [0, 108]} if key == "head.b_y" else {"charlm": "{}"}
    text = json.dumps(header).replace("{", f'{{"{key}": {json.dumps(first)}, ', 1).encode()
    before = api.load(file).model.parameters.values.tobytes()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)
    if key == "__metadata__":
        refusal_of(file)
    else:
        assert api.load(file).model.parameters.values.tobytes() == before


def test_a_file_that_is_replaced_meanwhile_is_read_as_it_was(file):
    """Training puts a new model in the place of the old one at any moment."""
    header, _ = parts_of(file)
    opened = Container(file)
    other = file.with_name("other")
    other.write_bytes(next(path for path in FIXTURES if path.name == "stream.safetensors").read_bytes())
    os.replace(other, file)
    assert {name: list(array.shape) for name, array in opened.arrays().items()} == {
        name: entry["shape"] for name, entry in header.items() if name != "__metadata__"
    }

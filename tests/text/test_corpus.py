"""Reading lines: what ends one, what is refused and how it is said, and that pipes are not waited for."""

import gc
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.errors import CorpusError
from charlm.text import read_lines, split_lines
from charlm.text.lines.reading import WINDOW_SIZE, windows
from tests.forms import properties

PROJECT = Path(__file__).parents[2]
UNICODE_CORPORA = PROJECT.parent / "shared" / "corpora" / "unicode"
MARK = b"\xef\xbb\xbf"


def lines_of(folder: Path, *contents: bytes, errors="strict", digest=None) -> list[str]:
    paths = []
    for number, content in enumerate(contents):
        paths.append(folder / f"{number}.txt")
        paths[-1].write_bytes(content)
    return list(read_lines([str(path) for path in paths], errors=errors, digest=digest))


def error_of(*paths: object) -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        list(read_lines([str(path) for path in paths]))
    error = caught.value
    assert error.exit_code == 3
    assert str(error) == error.message
    assert error.hint
    assert error.message.isprintable()
    assert error.hint.isprintable()
    return error


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"\n", [""]),
        (b"\n\na", ["", "", "a"]),
        (b"a\r\nb\r\r\n\r\n", ["a", "b\r", ""]),
        (b"a\rb\r", ["a\rb\r"]),
        ("a\u2028b\u0085c\v\f\x1cd\n".encode(), ["a\u2028b\u0085c\v\f\x1cd"]),
        (MARK, []),
        (MARK + b"\n", [""]),
        (MARK + b"a\n" + MARK + b"b", ["a", "\ufeffb"]),
        (MARK + MARK, ["\ufeff"]),
        (MARK + b"\r\n", [""]),
    ],
)
def test_what_ends_a_line(tmp_path: Path, content: bytes, lines: list[str]) -> None:
    assert lines_of(tmp_path, content) == lines
    assert lines_of(tmp_path, content, errors="keep") == lines
    assert lines_of(tmp_path, gzip.compress(content, mtime=0)) == lines


def test_files_read_as_one_in_order_each_ending_its_last_line(tmp_path: Path) -> None:
    assert lines_of(tmp_path, MARK + b"b\na", b"", MARK + b"c\n", gzip.compress(b"d", mtime=0)) == ["b", "a", "c", "d"]
    assert list(read_lines([])) == []


def test_lines_longer_than_a_block(tmp_path: Path) -> None:
    assert lines_of(tmp_path, b"a\n" + b"x" * 3_000_000 + b"\nb") == ["a", "x" * 3_000_000, "b"]


@properties(75, 300)
@given(content=st.binary() | st.text().map(str.encode))
def test_kept_bytes_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    # The first line keeps byte order marks of other encodings and gzip out of the way.
    path = tmp_path_factory.getbasetemp() / "kept.txt"
    path.write_bytes(b"first\n" + content)
    _, *lines = read_lines([str(path)], errors="keep")
    expected = content.split(b"\n")
    if not expected[-1]:
        expected.pop()
    ended = content.count(b"\n")
    expected = [line.removesuffix(b"\r") for line in expected[:ended]] + expected[ended:]
    assert [line.encode("utf-8", "surrogateescape") for line in lines] == expected


def test_each_bad_byte_is_one_character(tmp_path: Path) -> None:
    content = b"a\xe9\xff\xed\xa0\x80\0"
    assert lines_of(tmp_path, content, errors="keep") == ["a\udce9\udcff\udced\udca0\udc80\0"]


def test_digest_is_of_the_lines(tmp_path: Path) -> None:
    digest = hashlib.sha256()
    lines_of(tmp_path, MARK + b"a\r\n\nb", gzip.compress("é".encode(), mtime=0), digest=digest)
    assert digest.hexdigest() == hashlib.sha256("a\n\nb\né\n".encode()).hexdigest()
    digest = hashlib.sha256()
    lines_of(tmp_path, b"a\xff", errors="keep", digest=digest)
    assert digest.hexdigest() == hashlib.sha256(b"a\xff\n").hexdigest()


@pytest.mark.parametrize(
    ("content", "said", "hint"),
    [
        (b"ab\r\nc\xe9d\n", "byte 0xe9 is not UTF-8, {} line 2, offset 5", "iconv -f LATIN1"),
        (MARK + b"x\xff", "byte 0xff is not UTF-8, {} line 1, offset 4", "iconv -f LATIN1"),
        (MARK + MARK + b"\xff", "byte 0xff is not UTF-8, {} line 1, offset 6", "iconv"),
        (MARK + b"x\n\xff", "byte 0xff is not UTF-8, {} line 2, offset 5", "iconv"),
        (b"\xed\xa0\x80", "byte 0xed is not UTF-8, {} line 1, offset 0", "iconv"),
        (b"a\n\xc0\xaf", "byte 0xc0 is not UTF-8, {} line 2, offset 2", "iconv"),
        (b"caf\xc3", "byte 0xc3 is not UTF-8, {} line 1, offset 3", "iconv"),
        (b"ab\nc\0d\n", "looks like a binary file (zero byte), {} line 2, offset 4", "text file"),
        (b"\xff\0", "looks like a binary file (zero byte), {} line 1, offset 1", "text file"),
        ("hé\n".encode("utf-16"), "UTF-16 is not UTF-8, {}", "iconv -f UTF-16 "),
        ("\ufeffhé\n".encode("utf-16-be"), "UTF-16 is not UTF-8, {}", "iconv -f UTF-16 "),
        ("hé\n".encode("utf-32"), "UTF-32 is not UTF-8, {}", "iconv -f UTF-32 "),
        ("\ufeffhé\n".encode("utf-32-be"), "UTF-32 is not UTF-8, {}", "iconv -f UTF-32 "),
        (gzip.compress(b"a\nb\xff", mtime=0), "byte 0xff is not UTF-8, {} line 2, offset 3", "iconv"),
        (gzip.compress(b"abc" * 99, mtime=0)[:-9], "broken gzip file", "gzip -t"),
        (gzip.compress(b"abc", mtime=0) + b"rubbish", "broken gzip file", "gzip -t"),
        (b"\x1f\x8brubbish", "broken gzip file", "gzip -t"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\0\xff\xff\xff", "broken gzip file", "gzip -t"),
    ],
)
def test_bad_text_is_refused_by_place(tmp_path: Path, content: bytes, said: str, hint: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    error = error_of(path)
    assert error.message.startswith(said.format(path))
    assert str(path) in error.message
    assert hint in error.hint


def test_lines_before_a_bad_one_are_given_out(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"a\nb\n\xff\n")
    lines = read_lines([str(tmp_path / "bad.txt")])
    assert [next(lines), next(lines)] == ["a", "b"]
    with pytest.raises(CorpusError):
        next(lines)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert error_of(tmp_path).message == f"is a directory, {tmp_path}"
    assert error_of(tmp_path / "none").message == f"no such file, {tmp_path}/none"
    assert error_of("").message == "no such file, ''"
    assert "null byte" in error_of("a\0b").message
    assert "too long" in error_of("x" * 5000).message
    if Path("/proc/self/mem").exists():
        assert error_of("/proc/self/mem").message.startswith("cannot read (")


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        (PermissionError(13, "Permission denied"), "no permission to read, a.txt"),
        (OSError(24, "Too many open files"), "cannot read (Too many open files), a.txt"),
    ],
)
def test_files_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch, refusal: OSError, message: str) -> None:
    # By hand, because tests often run as root, who may read everything.
    def refuse(path: str) -> None:
        raise refusal

    monkeypatch.setattr(io, "FileIO", refuse)
    assert error_of("a.txt").message == message


@pytest.mark.filterwarnings("error")
def test_reading_on_is_not_needed_to_close_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a\nb\n")
    (tmp_path / "b").write_bytes(gzip.compress(b"a\nb\n", mtime=0))
    gc.collect()
    for name in ("a", "b"):
        before = len(os.listdir("/dev/fd"))
        lines = read_lines([str(tmp_path / name)])
        assert next(lines) == "a"
        del lines
        gc.collect()
        assert len(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "bad\udcff", "\u202egnp.txt"])
def test_names_are_shown_harmless(tmp_path: Path, name: str) -> None:
    assert repr(name)[1:-1] in error_of(tmp_path / name).message
    (tmp_path / name).write_bytes(b"\xff")
    assert repr(name)[1:-1] in error_of(tmp_path / name).message


def with_standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_standard_input_among_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"a")
    with_standard_input(monkeypatch, MARK + b"b\r\nc")
    assert list(read_lines([str(tmp_path / "a"), "-", str(tmp_path / "a")])) == ["a", "b", "c", "a"]
    assert not sys.stdin.buffer.closed


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (b"a\n\xff", "byte 0xff is not UTF-8, standard input line 2, offset 2", "iconv -f LATIN1 -t UTF-8"),
        (gzip.compress(b"a", mtime=0), "compressed by gzip, standard input", "gzip -dc"),
    ],
)
def test_bad_standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes, message: str, hint: str) -> None:
    with_standard_input(monkeypatch, content)
    error = error_of("-")
    assert error.message == message
    assert error.hint.endswith(hint)


def test_closed_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert error_of("-").message == "nothing to read, standard input is closed"


READER = """
import sys
from charlm.text import read_lines
for line in read_lines(sys.argv[1:]):
    sys.stdout.buffer.write(line.encode() + b"\\n")
    sys.stdout.buffer.flush()
"""


def test_a_pipe_is_answered_line_by_line(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in ("-", str(fifo)):
        with subprocess.Popen(
            [sys.executable, "-c", READER, path], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as reader:
            assert reader.stdin
            assert reader.stdout
            with reader.stdin if path == "-" else open(fifo, "wb") as pipe:
                # Each answer is awaited before the next question: a reader that waits for a full block hangs.
                for question in (b"a\n", "é\n".encode(), b"\n", b"b\n"):
                    pipe.write(question)
                    pipe.flush()
                    assert reader.stdout.readline() == question
                pipe.write(b"c")
            assert reader.stdout.read() == b"c\n"
        assert reader.returncode == 0


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes((b"a line of text here " * 10 + b"\n") * 20_000)
    tracemalloc.start()
    count = sum(1 for _ in read_lines([str(tmp_path / "big")]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 3_000_000  # of a file of 4,020,000 bytes


def test_lone_carriage_returns_are_data() -> None:
    path = UNICODE_CORPORA / "ja_neko_raw.txt"
    if not path.exists():
        pytest.skip(f"no corpus {path}")
    content = path.read_bytes()
    lines = list(read_lines([str(path)]))
    assert len(lines) == content.count(b"\n") + (not content.endswith(b"\n"))
    assert sum(line.count("\r") for line in lines) == content.count(b"\r") - content.count(b"\r\n") > 1000


@pytest.mark.parametrize(
    ("count", "fraction", "held_count"),
    [(0, 0.5, 0), (1, 0.5, 0), (2, 0.01, 1), (2, 0.99, 1), (100, 0.05, 5), (100, 0, 0), (5, 0.999, 4)],
)
def test_split_sizes(count: int, fraction: float, held_count: int) -> None:
    training, held = split_lines(count, fraction, seed=1)
    assert (training.dtype, held.dtype) == (np.int64, np.int64)
    assert len(held) == held_count
    assert sorted([*training, *held]) == list(range(count))
    assert (np.diff(training) > 0).all()
    assert (np.diff(held) > 0).all()


def test_split_is_drawn_by_the_seed_alone() -> None:
    assert split_lines(1000, 0.01, 7)[1].tolist() == split_lines(1000, 0.01, 7)[1].tolist()
    draws = {tuple(split_lines(1000, 0.01, seed)[1].tolist()) for seed in [*range(20), 2**64 - 1]}
    assert len(draws) == 21
    # Lists are often sorted: the held-out lines must come from all over the text.
    held = split_lines(100_000, 0.1, 3)[1]
    assert np.histogram(held, 10)[0].min() > 900


def test_split_stays_as_it_was_released() -> None:
    # A resumed training run must hold out the same lines again, whatever the version of NumPy.
    assert split_lines(50, 0.1, 42)[1].tolist() == [8, 35, 36, 37, 47]


@pytest.mark.parametrize(
    ("count", "fraction", "seed"),
    [(-1, 0.1, 0), (9, -0.1, 0), (9, 1.0, 0), (9, float("nan"), 0), (9, 0.1, -1), (9, 0.1, 2**64)],
)
def test_split_refuses_arguments_out_of_range(count: int, fraction: float, seed: int) -> None:
    with pytest.raises(ValueError, match="cannot split"):
        split_lines(count, fraction, seed)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 100])
def test_windows_hand_over_what_comes_before_a_mistake(count: int) -> None:
    def items() -> Iterator[int]:
        yield from range(7)
        raise CorpusError("no more")

    seen: list[int] = []
    with pytest.raises(CorpusError, match="no more"):
        for window in windows(items(), count, size=lambda _: 1):
            assert 0 < len(window) <= count
            seen += window
    assert seen == list(range(7))


def test_windows_ask_for_no_more_than_they_hold() -> None:
    """At a terminal the next item is a line that is not typed yet."""
    asked: list[int] = []
    items = (asked.append(number) or number for number in range(9))  # type: ignore[func-returns-value]
    for number, window in enumerate(windows(items, 2, size=lambda _: 1)):
        assert window == [2 * number, 2 * number + 1] if number < 4 else [8]
        assert len(asked) <= 2 * number + 2
    assert list(windows(iter([5, 6, 7]), 9, size=lambda _: WINDOW_SIZE)) == [[5], [6], [7]]
    assert list(windows([], 3, size=len)) == []

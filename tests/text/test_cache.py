"""A cache that fails, or holds what nobody should believe: the corpus is the one that it would be without a cache."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from charlm.errors import ResourceError
from charlm.text import make_splitter, read_lines
from charlm.text.ids import cache as cache_module
from charlm.text.ids import store_writer
from charlm.text.ids.store import SIZES, DiskStore, Row
from charlm.text.learning import gather
from tests.stored import encodings, entries

WORDS = make_splitter("word", "punct", False)
TEXT = "".join(f"Line {number} says: it's {chr(0x4E00 + number)}.\n\n" for number in range(60))
DIGEST = hashlib.sha256(TEXT.encode()).hexdigest()


@pytest.fixture(autouse=True)
def folders(monkeypatch, cache):
    """Make the cache's folder, and beside it one for temporary files."""
    cache.mkdir(parents=True)
    (cache.parent / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(cache.parent / "temporary"))


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT)
    return str(path)


def gathered(corpus):
    """Return what a training learns from: the ids, the tokens, the lengths of lines, and the digest of the text."""
    lines = read_lines([corpus], digest=hashlib.sha256())
    store = gather(lines, WORDS)
    lengths = [store.lengths(number).tolist() for number in range(store.windows)]
    return store.slice(0, store.size).tolist(), list(store.tokens), lengths, lines.digest.hexdigest()


def failing(monkeypatch, where, name, number=errno.EPERM, *, when=lambda *_: True):
    """Make a function fail with an error of the system, for the arguments that `when` tells."""
    genuine = getattr(where, name)

    def fail(*arguments, **options):
        if when(*arguments):
            raise OSError(number, os.strerror(number))
        return genuine(*arguments, **options)

    monkeypatch.setattr(where, name, fail)


# --- failing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOSYS])
def test_an_entry_whose_time_cannot_be_set_is_used_and_read_once(monkeypatch, cache, corpus, number):
    """Its owner, its mode or its mount may forbid that; the digest of the text goes into the checkpoint."""
    before = gathered(corpus)
    assert before[-1] == DIGEST
    failing(monkeypatch, os, "utime", number)
    made = encodings(monkeypatch)
    assert gathered(corpus) == before
    assert not made


@pytest.mark.parametrize("place", ["in a file", "below a file", "in /proc", "too long", "nowhere"])
def test_a_cache_that_cannot_be_made_is_done_without(monkeypatch, cache, corpus, tmp_path, place):
    before = gathered(corpus)
    (tmp_path / "file").write_bytes(b"")
    folder = {"in a file": "file", "below a file": "file/below", "too long": "c" * 300}.get(place, "")
    monkeypatch.setenv("CHARLM_CACHE", "/proc/none" if place == "in /proc" else str(tmp_path / folder))
    if place == "nowhere":
        monkeypatch.setattr(store_writer, "cache_folder", lambda: None)
        monkeypatch.setattr(cache_module, "cache_folder", lambda: None)
    kept = sorted(tmp_path.rglob("*"))
    assert gathered(corpus) == before
    assert sorted(tmp_path.rglob("*")) == kept


@pytest.mark.thinned(2)
@pytest.mark.parametrize("broken", ["cache", "temporary"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG])
@pytest.mark.parametrize("after", [0, 2, 9])
def test_a_place_that_fails_while_it_is_written_is_left(monkeypatch, cache, corpus, broken, number, after):
    """What is written so far goes along; where the folder for temporary files fails too, memory is left."""
    before = gathered(corpus)
    for name in entries(cache):
        (cache / name).unlink()
    writes = []

    def is_broken(file, _):
        name = os.readlink(f"/proc/self/fd/{file}")
        writes.append(name)
        return len(writes) > after and "memfd" not in name and (broken == "temporary" or str(cache) in name)

    failing(monkeypatch, os, "write", number, when=is_broken)
    assert gathered(corpus) == before
    assert ("memfd" in writes[-1]) == (broken == "temporary")
    assert entries(cache) == [] and entries(cache.parent / "temporary") == []


def test_memory_is_no_place_for_a_corpus_that_fills_it(monkeypatch, cache, corpus):
    monkeypatch.setattr(store_writer, "_memory", lambda: 4 * 300.0)
    failing(monkeypatch, tempfile, "mkstemp", errno.EROFS)
    with pytest.raises(ResourceError, match="cannot keep the encoded corpus") as refusal:
        gathered(corpus)
    assert "CHARLM_CACHE" in refusal.value.hint


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EROFS])
def test_an_entry_that_cannot_be_named_is_none(monkeypatch, cache, corpus, number):
    """So it is where another user has it in a folder that is shared."""
    failing(monkeypatch, os, "replace", number)
    assert gathered(corpus)[-1] == DIGEST
    assert entries(cache) == []


def test_without_a_thread_the_encoding_is_written_all_the_same(monkeypatch, cache, corpus):
    before = gathered(corpus)
    for name in entries(cache):
        (cache / name).unlink()

    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    assert gathered(corpus) == before and len(entries(cache)) == 1


def test_what_a_killed_encoding_left_goes_with_the_next_one(cache, corpus):
    code = (
        "import os, signal; from charlm.text.ids.store_writer import StoreWriter\n"
        "with StoreWriter() as writer: os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    (left,) = entries(cache)
    assert left.endswith(".tmp")
    gathered(corpus)
    assert [name.partition(".")[2].rpartition(".")[2] for name in entries(cache)] == ["corpus"]


def test_a_cache_that_goes_away_while_it_is_read(cache, corpus):
    """Cut off, or on a disk that breaks: one line, and nothing is learned from what is left."""
    store = gather(read_lines([corpus]), WORDS)
    os.truncate(cache / entries(cache)[0], 100)
    with pytest.raises(ResourceError, match="cannot read the encoded corpus"):
        store.slice(0, store.size)


# --- not to be believed -----------------------------------------------------------------------------------------------


def parts_of(data):
    """Take an entry apart: windows, table, counts, tokens, spacing, name."""
    sizes = SIZES.unpack(data[-32 - SIZES.size : -32])
    at = np.cumsum([len(data) - 32 - SIZES.size - sum(sizes), *sizes]).tolist()
    return [data[start:stop] for start, stop in zip([0, *at[:-1]], at, strict=True)]


def entry_of(windows, *parts):
    """Put an entry together, signed as one of ours."""
    data = windows + b"".join(parts) + SIZES.pack(*map(len, parts))
    return data + hashlib.sha256(data).digest()


def changed(part, kind):
    """Return the function that changes numbers of an entry's part."""

    def change(change_numbers):
        def of(parts):
            numbers = np.frombuffer(parts[part], kind).copy()
            parts[part] = np.ascontiguousarray(change_numbers(numbers)).tobytes()

        return of

    return change


def table(name, value, row=1):
    """Return the function that changes one number of the table of windows."""

    def of(parts):
        numbers = np.frombuffer(parts[1], "<i8").reshape(-1, len(Row._fields)).copy()
        at = Row._fields.index(name)
        numbers[row, at] = value(numbers[row, at])
        parts[1] = numbers.tobytes()

    return of


def tokens(change):
    def of(parts):
        parts[3] = json.dumps(change(json.loads(parts[3]))).encode()

    return of


def windows(change):
    return changed(0, np.uint8)(change)


def at(index, value):
    def change(numbers):
        numbers[index] = value(numbers[index])
        return numbers

    return change


def replaced(part, data):
    def of(parts):
        parts[part] = data

    return of


ODD = {
    "no windows": replaced(1, b""),
    "half a window": lambda parts: parts.__setitem__(1, parts[1][:-8]),
    "a window less": lambda parts: parts.__setitem__(1, parts[1][:-48]),
    "a window twice": lambda parts: parts.__setitem__(1, parts[1] + parts[1][-48:]),
    "first begins later": table("begin", lambda n: n + 1, 0),
    "begins later": table("begin", lambda n: n + 1),
    "begins below 0": table("begin", lambda n: -1),
    "begins far out": table("begin", lambda n: 1 << 62),
    "more tokens": table("tokens", lambda n: n + 1),
    "tokens without end": table("tokens", lambda n: (1 << 63) - 1),
    "fewer than no tokens": table("tokens", lambda n: -n),
    "more lines": table("lines", lambda n: n + 1),
    "lines without end": table("lines", lambda n: 1 << 61),
    "longer lines": table("tokens_of_lines", lambda n: n + 1),
    "shorter lines": table("tokens_of_lines", lambda n: n - 1),
    "a fourth size": table("width", lambda n: 3),
    "a size below the first": table("width", lambda n: -1),
    "another size": table("width", lambda n: n + 1),
    "another size of lengths": table("length_width", lambda n: n + 1),
    "a size of lengths without end": table("length_width", lambda n: 1 << 40),
    "an id of no token": windows(at(0, lambda n: 255)),
    "another id": windows(at(0, lambda n: n + 1)),
    "an end more": windows(at(0, lambda n: 0)),
    "another length": windows(at(-1, lambda n: n + 1)),
    "one more of a token": changed(2, "<i8")(at(3, lambda n: n + 1)),
    "fewer than none": changed(2, "<i8")(at(3, lambda n: -1)),
    "a count less": changed(2, "<i8")(lambda n: n[:-1]),
    "half a count": lambda parts: parts.__setitem__(2, parts[2][:-3]),
    "no tokens": tokens(lambda _: []),
    "an object of tokens": tokens(lambda found: dict(enumerate(found))),
    "a token more": tokens(lambda found: [*found, "more"]),
    "a token less": tokens(lambda found: found[:-1]),
    "a token twice": tokens(lambda found: [*found[:-1], found[-2]]),
    "a token that is a number": tokens(lambda found: [*found[:-1], 7]),
    "a token that is a list": tokens(lambda found: [*found[:-1], [found[-1]]]),
    "no end of line": tokens(lambda found: ["end", *found[1:]]),
    "not JSON": replaced(3, b"[1, 2"),
    "JSON without end": replaced(3, b"[" * 100_000),
    "tokens that are not UTF-8": replaced(3, b'["\xff"]'),
    "no spacing": replaced(4, b"[]"),
    "a spacing of numbers": replaced(4, b'[{", -": 1}, {}, {}, {}]'),
    "another name": lambda parts: parts.__setitem__(5, parts[5].replace(b"0", b"1").replace(b"2", b"3")),
    "no name": replaced(5, b""),
    "a name that is not UTF-8": replaced(5, b"\xff"),
    "sizes without end": None,
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_entry_is_encoded_anew(monkeypatch, cache, corpus, odd):
    """All are signed as ours are: what is signed is not right for that."""
    before = gathered(corpus)
    (name,) = entries(cache)
    whole = (cache / name).read_bytes()
    if ODD[odd] is None:
        data = whole[: -32 - SIZES.size] + SIZES.pack(1 << 63, 1, 1, 1, 1)
        data += hashlib.sha256(data).digest()
    else:
        parts = parts_of(whole)
        assert entry_of(*parts) == whole
        ODD[odd](parts)
        data = entry_of(*parts)
    assert data != whole
    (cache / name).write_bytes(data)
    made = encodings(monkeypatch)
    assert gathered(corpus) == before
    assert len(made) == 1 and (cache / name).read_bytes() == whole


def test_another_text_under_this_ones_name_is_not_learned(monkeypatch, cache, corpus, tmp_path):
    """Names can be guessed; so the name is inside, too."""
    other = tmp_path / "other.txt"
    other.write_text(TEXT.replace("says", "lies"))
    wrong = gathered(str(other))
    (stolen,) = entries(cache)
    right = gathered(corpus)
    (name,) = set(entries(cache)) - {stolen}
    os.replace(cache / stolen, cache / name)
    made = encodings(monkeypatch)
    assert gathered(corpus) == right != wrong
    assert len(made) == 1


def make_odd(path, kind):
    """Put something else in the place of an entry, with what the entry held where that can be."""
    data = path.read_bytes()
    moved = path.with_name("moved")
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "link":
        moved.write_bytes(data)
        path.symlink_to(moved)
    else:
        path.write_bytes(data)
        path.chmod({"group": 0o660, "others": 0o602}[kind])


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "loop", "link", "group", "others"])
def test_an_entry_that_is_no_file_of_ours_alone_is_neither_waited_for_nor_believed(monkeypatch, cache, corpus, kind):
    before = gathered(corpus)
    make_odd(cache / entries(cache)[0], kind)
    made = encodings(monkeypatch)
    assert gathered(corpus) == before
    assert len(made) == 1


def test_an_entry_of_another_user_is_not_believed_and_not_in_the_way(monkeypatch, cache, corpus):
    before = gathered(corpus)
    monkeypatch.setattr(cache_module, "_USER", os.geteuid() + 1)
    made = encodings(monkeypatch)
    assert gathered(corpus) == before
    assert len(made) == 1 and len(entries(cache)) == 2
    assert gathered(corpus) == before  # the file is this user's, the name the other's
    assert len(made) == 2


@pytest.mark.parametrize(
    "splitter", [("char", "punct"), ("char", "punct", True), ("word", "whitespace"), ("word", "punct", True)]
)
@pytest.mark.parametrize(
    "text", ["a", "\n", "a\r\nb\0"[:4] + "\n", "<unk> <EOS> <UNK>\n" * 30, "ſßẞİı \u2028\x85\n" * 40]
)
def test_an_entry_of_any_text_is_found_again(monkeypatch, cache, tmp_path, splitter, text):
    """No right one counts as odd."""
    level, split, *lower = splitter
    path = tmp_path / "text"
    path.write_text(text)
    made = encodings(monkeypatch)
    rule = make_splitter(level, split, lowercase=bool(lower))
    found = [gather(read_lines([str(path)]), rule) for _ in range(2)]
    assert len(made) == 1 and isinstance(found[1], DiskStore)
    assert list(found[0].tokens) == list(found[1].tokens)


def test_a_folder_without_a_home_is_not_called_by_a_tilde(cache, corpus, tmp_path):
    code = (
        "import sys, pwd\n"
        "def unknown(_): raise KeyError\n"
        "pwd.getpwuid = unknown\n"
        "from charlm.text import make_splitter, read_lines, learning\n"
        "learning.MOST_IN_MEMORY = 0\n"
        "learning.gather(read_lines([sys.argv[1]]), make_splitter('word', 'punct', False))"
    )
    here = tmp_path / "here"
    here.mkdir()
    gone = ("HOME", "CHARLM_CACHE", "XDG_CACHE_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in gone}
    subprocess.run([sys.executable, "-c", code, corpus], cwd=here, env=kept, check=True)
    assert not list(Path(here).iterdir())

"""The store on the disk: what it gives back, when it is found again, and what becomes of damage and of want of room."""

import errno
import hashlib
import io
import os
import pwd
import sys
import time

import numpy as np
import pytest

from charlm.errors import CorpusError, ResourceError
from charlm.storage.files import cache_folder
from charlm.text import learning, make_splitter, read_lines
from charlm.text.ids.cache import lock
from charlm.text.ids.store import FORMAT, DiskStore, MemoryStore
from charlm.text.ids.store_writer import StoreWriter
from charlm.text.learning import MOST_IN_MEMORY, gather
from tests.stored import encodings, entries

CHARACTERS, WORDS = make_splitter("char", "punct", False), make_splitter("word", "punct", False)
LOWER = make_splitter("word", "punct", True)
TEXT = "".join(f"Line {number} says: it's {chr(0x4E00 + number)}.\n\n" for number in range(400))
SIZES = {np.dtype(kind) for kind in (np.uint8, np.uint16, np.uint32)}


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT)
    return str(path)


def in_memory(monkeypatch, lines, splitter):
    """Gather lines that no cache can know."""
    with monkeypatch.context() as patch:
        patch.setattr(learning, "MOST_IN_MEMORY", MOST_IN_MEMORY)
        return gather(list(lines), splitter)


# --- what it gives back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("splitter", [CHARACTERS, WORDS, LOWER])
def test_the_store_holds_what_memory_would(monkeypatch, cache, corpus, splitter):
    stored = gather(read_lines([corpus]), splitter)
    kept = in_memory(monkeypatch, read_lines([corpus]), splitter)
    assert isinstance(stored, DiskStore) and isinstance(kept, MemoryStore)
    store, ids = stored, kept.ids
    assert list(stored.tokens) == list(kept.tokens)
    assert store.size == ids.size and store.lines == 800 and store.windows > 10
    assert np.concatenate([store.window(number) for number in range(store.windows)]).tolist() == ids.tolist()
    lengths = np.concatenate([store.lengths(number) for number in range(store.windows)])
    assert lengths.tolist() == np.diff(np.flatnonzero(ids == 0), prepend=-1).tolist()
    assert store.counts(len(kept.tokens)).tolist() == np.bincount(ids, minlength=len(kept.tokens)).tolist()
    rng = np.random.default_rng(1)
    for start, stop in [(0, 0), (5, 5), (0, ids.size), *np.sort(rng.integers(0, ids.size + 1, (60, 2))).tolist()]:
        assert store.slice(start, stop).tolist() == ids[start:stop].tolist()
    assert store.is_whole()


def test_each_window_takes_no_more_bytes_than_its_ids_need(cache):
    rng = np.random.default_rng(2)
    with StoreWriter() as writer:
        written = []
        for most in (2, 256, 257, 1 << 16, (1 << 16) + 1, 1 << 20):
            ids = rng.integers(1, most, 400).astype(np.int32)
            ids[0], ids[::7], ids[-1] = most - 1, 0, 0
            ids[1] = most - 1
            writer.add(ids)
            written.append(ids)
        store = writer.finish(["<EOS>"], None)
    found = [store.window(number) for number in range(6)]
    assert [one.dtype.itemsize for one in found] == [1, 1, 2, 2, 4, 4]
    assert {one.dtype for one in found} == SIZES
    assert [one.tolist() for one in found] == [one.tolist() for one in written]
    assert store.slice(300, 2100).tolist() == np.concatenate(written)[300:2100].tolist()


def test_a_line_longer_than_a_window_is_one_all_the_same(cache, tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("a\n" + "b" * 70_000 + "\nc\n")
    store = gather(read_lines([str(path)]), CHARACTERS)
    lengths = np.concatenate([store.lengths(number) for number in range(store.windows)])
    assert lengths.tolist() == [2, 70_001, 2]


def test_a_text_that_is_one_line_is_cut_at_spaces(cache, tmp_path):
    rng = np.random.default_rng(5)
    text = " ".join("".join(rng.choice(list("abcé"), rng.integers(0, 9))) for _ in range(900))
    path = tmp_path / "line.txt"
    for content, lines in ((text, 1), (f"a\n{text}\n\n{text} \nb", 5), (f"{text}{'x' * 900} ", 1)):
        path.write_text(content)
        for splitter in (CHARACTERS, WORDS, LOWER):
            store = gather(read_lines([str(path)]), splitter)
            tokens = store.tokens
            assert store.lines == lines and store.windows > 15
            spelled = [tokens[token_id] for token_id in store.slice(0, store.size).tolist()]
            read = list(read_lines([str(path)]))
            assert spelled == [token for line in read for token in (*splitter.split(line), "<EOS>")]
            found = []
            for number in range(store.windows):
                lengths = store.lengths(number).tolist()
                ids = store.window(number).tolist()
                assert len(ids) == sum(lengths) and ids.count(0) == len(lengths)
                found += ids
            assert found == store.slice(0, store.size).tolist()


def test_a_small_corpus_touches_no_disk(monkeypatch, cache, corpus):
    monkeypatch.setattr(learning, "MOST_IN_MEMORY", len(TEXT) + 1)
    monkeypatch.setattr(learning, "StoreWriter", lambda **_: pytest.fail("written"))
    assert isinstance(gather(read_lines([corpus]), CHARACTERS), MemoryStore)


# --- found again ------------------------------------------------------------------------------------------------------


def test_a_second_run_does_not_encode(monkeypatch, cache, corpus):
    made = encodings(monkeypatch)
    first = gather(read_lines([corpus]), WORDS)
    (name,) = entries(cache)
    assert name.startswith(f"{os.stat(corpus).st_size}-punctuation-{FORMAT}-")
    lines = read_lines([corpus])
    second = gather(lines, WORDS)
    assert len(made) == 1
    assert list(second.tokens) == list(first.tokens)
    assert second.slice(0, 999).tolist() == first.slice(0, 999).tolist()
    assert lines.digest.hexdigest() == hashlib.sha256(TEXT.encode()).hexdigest()


def test_another_text_or_rule_is_another_entry(monkeypatch, cache, corpus, tmp_path):
    made = encodings(monkeypatch)
    same_size = tmp_path / "other.txt"
    same_size.write_text(TEXT.replace("says", "sais"))
    for path, splitter in ((corpus, WORDS), (corpus, LOWER), (corpus, CHARACTERS), (str(same_size), WORDS)):
        gather(read_lines([path]), splitter)
    assert len(entries(cache)) == len(made) == 4
    for path, splitter in ((corpus, WORDS), (corpus, LOWER), (corpus, CHARACTERS), (str(same_size), WORDS)):
        gather(read_lines([path]), splitter)
    assert len(made) == 4
    changed = gather(read_lines([str(same_size)]), WORDS)
    assert "sais" in changed.tokens and "says" not in changed.tokens


def test_a_file_of_another_name_is_found_by_its_content(monkeypatch, cache, corpus, tmp_path):
    made = encodings(monkeypatch)
    gather(read_lines([corpus]), WORDS)
    os.rename(corpus, tmp_path / "renamed")
    gather(read_lines([str(tmp_path / "renamed")]), WORDS)
    assert len(made) == 1


def test_files_that_were_never_kept_are_not_hashed(monkeypatch, cache, corpus, tmp_path):
    gather(read_lines([corpus]), WORDS)
    monkeypatch.setattr("charlm.text.lines.reading.Lines.hash_all", lambda self: pytest.fail("hashed"))
    other = tmp_path / "longer"
    other.write_text(TEXT + "x")
    gather(read_lines([str(other)]), WORDS)


def test_what_cannot_be_read_twice_is_not_kept(monkeypatch, cache):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    found = [gather(read_lines(["-"]), WORDS), gather(iter(TEXT.split("\n")[:-1]), WORDS)]
    assert entries(cache) == []
    for gathered in found:
        assert isinstance(gathered, DiskStore) and gathered.lines == 800
        assert gathered.is_whole()


def test_what_is_gathered_is_not_gathered_again(cache, corpus):
    once = gather(read_lines([corpus]), WORDS)
    assert gather(once, WORDS) is once


def test_a_store_outlives_its_file(cache, corpus):
    store = gather(read_lines([corpus]), WORDS)
    before = store.slice(0, 500).tolist()
    for name in entries(cache):
        (cache / name).unlink()
    assert store.slice(0, 500).tolist() == before and store.is_whole()


@pytest.mark.filterwarnings("error")
def test_files_are_closed(cache, corpus):
    open_before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        gather(read_lines([corpus]), WORDS)
    assert len(os.listdir("/dev/fd")) == open_before


# --- damage -----------------------------------------------------------------------------------------------------------


def cut(data, rng):
    return data[: rng.integers(0, len(data))]


def flipped(data, rng):
    at = int(rng.integers(0, len(data)))
    return data[:at] + bytes([data[at] ^ 1 << int(rng.integers(0, 8))]) + data[at + 1 :]


def end_flipped(data, rng):
    return data[:-3000] + flipped(data[-3000:], rng)


@pytest.mark.thinned(6)
@pytest.mark.parametrize("damage", [cut, flipped, end_flipped, lambda data, rng: b"", lambda data, rng: data + b"\0"])
@pytest.mark.slow
def test_a_damaged_entry_is_made_anew(monkeypatch, cache, corpus, damage):
    gather(read_lines([corpus]), WORDS)
    path = cache / entries(cache)[0]
    whole, rng = path.read_bytes(), np.random.default_rng(3)
    made = encodings(monkeypatch)
    for number in range(1, 41):
        path.write_bytes(damage(whole, rng))
        found = gather(read_lines([corpus]), WORDS)
        assert len(made) == number and found.is_whole()
        assert path.read_bytes() == whole
        assert entries(cache) == [path.name]


def test_text_that_is_refused_leaves_nothing(cache, tmp_path):
    path = tmp_path / "bad.txt"
    path.write_bytes(TEXT.encode() + b"\xff\n")
    with pytest.raises(CorpusError, match="line 801"):
        gather(read_lines([str(path)]), WORDS)
    assert entries(cache) == []


# --- no room ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 3, 8])
def test_where_no_disk_has_room_that_is_told_and_nothing_is_left(monkeypatch, cache, corpus, after):
    write, written = os.write, []

    def full(file, data):
        written.append(data)
        if len(written) > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[: max(1, len(data) // 2)])  # as a pipe or a signal may have it

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ResourceError, match="No space left"):
        gather(read_lines([corpus]), WORDS)
    assert entries(cache) == []


# --- eviction ---------------------------------------------------------------------------------------------------------


def test_what_was_not_used_for_thirty_days_goes(cache, corpus, tmp_path):
    day = 24 * 60 * 60
    kept, old = tmp_path / "kept", tmp_path / "old"
    kept.write_text(TEXT + "kept")
    old.write_text(TEXT + "older")
    for path in (kept, old):
        gather(read_lines([str(path)]), WORDS)
    for name in entries(cache):
        os.utime(cache / name, (time.time() - 31 * day,) * 2)
    gather(read_lines([str(kept)]), WORDS)  # used again
    others = {"notes.txt": 99, "mine.corpus": 99, "tmpabc.tmp": 99, "charlm-young.tmp": 0.5, "charlm-old.tmp": 2}
    for name, days in others.items():
        (cache / name).write_bytes(b"")
        os.utime(cache / name, (time.time() - days * day,) * 2)
    with (cache / "charlm-young.tmp").open("wb") as writer:
        os.utime(writer.fileno(), (time.time() - day / 2,) * 2)
        lock(writer.fileno())  # as who writes it does
        gather(read_lines([corpus]), WORDS)
    sizes = [os.stat(path).st_size for path in (corpus, kept)]
    left = [name for name in entries(cache) if name not in others]
    assert sorted(int(name.split("-")[0]) for name in left) == sorted(sizes)
    assert sorted(set(entries(cache)) - set(left)) == ["charlm-young.tmp", "mine.corpus", "notes.txt", "tmpabc.tmp"]


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"CHARLM_CACHE": "/a/b", "XDG_CACHE_HOME": "/x"}, "/a/b"),
        ({"CHARLM_CACHE": "", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/charlm"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/charlm"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/charlm"),
        ({"HOME": ""}, "None"),
        ({"HOME": "relative"}, "None"),
        ({}, "None"),
    ],
)
def test_where_the_cache_is(monkeypatch, variables, folder):
    for name in ("CHARLM_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if "HOME" not in variables:  # and nobody of this number among the users

        def unknown(_):
            raise KeyError

        monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert str(cache_folder()) == folder

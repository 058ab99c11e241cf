"""Files read in blocks: the digest, what is refused and how its place is told, as line by line."""

import gzip
import hashlib
import io
import sys

import pytest

from charlm.errors import CorpusError
from charlm.text import read_lines
from charlm.text.lines.reading import HeldOutDigest

MARK = b"\xef\xbb\xbf"
GOOD = "".join(f"line {number} of some, é\r\n" for number in range(200)).encode()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("charlm.text.lines.lines_of_bytes.BLOCK_BYTES", 100)
    monkeypatch.setattr("charlm.text.lines.reading.BLOCK_BYTES", 100)


def refusal(read):
    with pytest.raises(CorpusError) as caught:
        for _ in read:
            pass
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize("bad", [b"x\xff\n", b"\0\n", b"ab\0\xff", b"caf\xc3", b"\xed\xa0\x80\n"])
@pytest.mark.parametrize("before", [b"", MARK, GOOD, MARK + GOOD, GOOD * 3 + b"x" * 500 + b"\n", GOOD + b"x y " * 99])
@pytest.mark.parametrize("compressed", [False, True])
def test_the_place_of_what_is_refused_is_told_in_later_blocks_too(tmp_path, bad, before, compressed):
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_bytes(GOOD)
    content = before + bad + GOOD
    second.write_bytes(gzip.compress(content, mtime=0) if compressed else content)
    paths = [str(first), str(second)]
    message, hint = refusal(read_lines(paths).blocks())
    assert (message, hint) == refusal(read_lines(paths))
    number = before.count(b"\n") + 1
    assert f"{second} line {number}" in message


@pytest.mark.parametrize("content", [b"\xff\xfea\0", gzip.compress(GOOD * 9, mtime=0)[:60], b"\xfe\xff\0a"])
def test_what_is_no_text_is_refused_alike(tmp_path, content):
    path = tmp_path / "bad"
    path.write_bytes(content)
    assert refusal(read_lines([str(path)]).blocks()) == refusal(read_lines([str(path)]))
    for missing in (tmp_path, tmp_path / "missing"):
        assert refusal(read_lines([str(missing)]).blocks()) == refusal(read_lines([str(missing)]))


@pytest.mark.parametrize("content", [b"", MARK, b"a", b"a\r\nb\rc\n\n", MARK + GOOD, GOOD[:-2]])
def test_the_digest_is_the_same_however_it_is_read(tmp_path, content):
    paths = [str(tmp_path / name) for name in ("plain", "compressed")]
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "compressed").write_bytes(gzip.compress(content, mtime=0))
    one_by_one, blocks, unread = (read_lines(paths, digest=hashlib.sha256()) for _ in range(3))
    assert "".join(blocks.blocks()) == "".join(f"{line}\n" for line in one_by_one)
    assert blocks.digest.hexdigest() == one_by_one.digest.hexdigest() == unread.hash_all().hexdigest()


def test_each_line_is_watched_and_bytes_are_kept(tmp_path):
    path = tmp_path / "bytes"
    path.write_bytes(b"a\xff\r\n\n" * 40)
    seen = []
    kept = "".join(read_lines([str(path)], errors="keep", watch=seen.append).blocks())
    assert kept == "a\udcff\n\n" * 40
    assert seen == ["a\udcff", ""] * 40


def test_standard_input_is_read_once_and_has_no_size(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD)))
    path = tmp_path / "a"
    path.write_bytes(b"a")
    assert read_lines([str(path), str(path)]).size == 2
    assert read_lines([str(path), "-"]).size is None
    assert read_lines([str(tmp_path / "missing")]).size is None
    assert "".join(read_lines(["-"]).blocks()) == GOOD.decode().replace("\r\n", "\n")


def test_a_line_that_changes_sides_changes_the_digest(tmp_path):
    def digest(corpus, held):
        (tmp_path / "corpus").write_text(corpus)
        (tmp_path / "held").write_text(held)
        lines = read_lines([str(tmp_path / "corpus")], digest=hashlib.sha256())
        others, unread = (read_lines([str(tmp_path / "held")], digest=HeldOutDigest(lines)) for _ in range(2))
        assert "".join(lines.blocks()) + "".join(others.blocks()) == corpus + held
        assert unread.hash_all().hexdigest() == others.digest.hexdigest()
        assert unread.digest.hexdigest() == lines.digest.hexdigest()  # what was not read is not taken in
        return others.digest.hexdigest()

    found = [digest("a\nb\n", "c\n"), digest("a\n", "b\nc\n"), digest("a\nb\nc\n", "")]
    assert len(set(found)) == 3
    assert found[2] == hashlib.sha256(b"a\nb\nc\n").hexdigest()

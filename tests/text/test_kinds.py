"""Files that hold no text: each is named by its kind, with the command that makes text of it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from charlm.errors import CorpusError
from charlm.text import read_lines
from charlm.text.lines.file_kinds import LOOKED_AT


def archive(kind: str, name: str = "a.txt") -> bytes:
    data = io.BytesIO()
    if kind != "zip":
        form = tarfile.GNU_FORMAT if kind == "gnu" else tarfile.PAX_FORMAT
        with tarfile.open(fileobj=data, mode="w", format=form) as tar:
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"abc\n"))
    else:
        with zipfile.ZipFile(data, "w") as zipped:
            zipped.writestr(name, "abc\n")
    return data.getvalue()


TEXT = b"abc\nab\n"
KINDS = {  # what a file holds, its kind, and the command of the hint
    "bzip2": (bz2.compress(TEXT), "compressed by bzip2", "bzip2 -dc"),
    "bzip2 of nothing": (bz2.compress(b""), "compressed by bzip2", "bzip2 -dc"),
    "xz": (lzma.compress(TEXT), "compressed by xz", "xz -dc"),
    "lzma": (lzma.compress(TEXT, format=lzma.FORMAT_ALONE), "compressed by lzma", "xz --format=lzma -dc"),
    "zstd": (b"\x28\xb5\x2f\xfd\x20\x07\x39\0\0abc\nab\n", "compressed by zstd", "zstd -dc"),
    "lz4": (b"\x04\x22\x4d\x18\x64\x40\xa7abc\n", "compressed by lz4", "lz4 -dc"),
    "lzip": (b"LZIP\x01\x0cabc\n", "compressed by lzip", "lzip -dc"),
    "compress": (b"\x1f\x9d\x90abc\n", "compressed by compress", "gzip -dc"),
    "zip": (archive("zip"), "a zip archive", "unzip -p"),
    "docx": (archive("zip", "[Content_Types].xml"), "an office document", "plain text"),
    "odt": (archive("zip", "mimetype"), "an office document", "plain text"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4abc\n", "a 7z archive", "7z x -so"),
    "rar": (b"Rar!\x1a\x07\x01\0abc\n", "a RAR archive", "unrar"),
    "tar": (archive("tar"), "a tar archive", "tar -xOf"),
    "tar of GNU": (archive("gnu"), "a tar archive", "tar -xOf"),
    "tar.gz": (gzip.compress(archive("tar")), "a tar archive", "tar -xOf"),
    "pdf": (b"%PDF-1.7\n%abc\n", "a PDF document", "pdftotext"),
    "doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1abc\n", "an office document", "plain text"),
    "rtf": (b"{\\rtf1\\ansi abc}\n", "an RTF document", "plain text"),
    "png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG picture", "text file"),
    "jpeg": (b"\xff\xd8\xff\xe0abc\n", "a JPEG picture", "text file"),
    "midi": (b"MThd\0\0\0\x06\0\1", "a MIDI file", "text file"),
    "sqlite": (b"SQLite format 3\0abc\n", "an SQLite database", "text file"),
    "npy": (b"\x93NUMPY\x01\0abc\n", "a NumPy array", "text file"),
    "safetensors": (b"\x0a\x02\0\0\0\0\0\0" + b'{"w":{"dtype":"F32"}}\n', "a safetensors file", "text file"),
}
WAYS = {
    "lines": lambda paths: list(read_lines(paths)),
    "lines kept": lambda paths: list(read_lines(paths, errors="keep")),
    "blocks": lambda paths: list(read_lines(paths, errors="keep").blocks()),
    "hashed": lambda paths: read_lines(paths).hash_all(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_named_by_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    content, what, hint = KINDS[kind]
    path = tmp_path / "a file"
    path.write_bytes(content)
    for read in WAYS.values():
        with pytest.raises(CorpusError) as caught:
            read([str(path)])
        assert caught.value.message.startswith(what) and caught.value.message.endswith(str(path))
        assert hint in caught.value.hint
        assert ("-" not in hint and hint != "pdftotext") or f"'{path}'" in caught.value.hint
        if kind == "tar.gz":  # standard input is not decompressed
            continue
        for made in (io.BytesIO(content), io.BufferedReader(io.BytesIO(content))):  # type: ignore[arg-type]
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(made))
            with pytest.raises(CorpusError) as caught:
                read(["-"])
            assert caught.value.message.startswith(what) and caught.value.message.endswith("standard input")


@pytest.mark.parametrize(
    "text",
    [
        *("BZh", "BZh91", "PK", "PKW", "LZIP it", "Rar!", "7z", "%PDF", "%PDF-", "GIF89a", "RIFF", "MThd", "]", "{"),
        *(
            '{"a": 1}',
            "{\\rtf",
            "SQLite format 3",
            "ustar",
            "x" * 257 + "ustar",
            "x" * 256 + "gustar a usted",
            "é" * LOOKED_AT,
            "(\xb5/",
        ),
    ],
)
def test_text_is_not_taken_for_something_else(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a"
    path.write_text(f"{text}\nabc\n")
    assert list(read_lines([str(path)])) == [text, "abc"]
    assert "".join(read_lines([str(path)]).blocks()) == f"{text}\nabc\n"

"""Kinds of files other than text, recognised by their first bytes."""

from __future__ import annotations

import re

LOOKED_AT = 512  # bytes at the start of a file; the last of the marks, that of a tar archive, ends at byte 262


def kind_of(start: bytes) -> tuple[str, str] | None:
    """Return the name and the hint of the kind of file that begins with these bytes; None if it may be text.

    In the hint `{input}` stands for a space and the file; it is empty for standard input. `{file}` stands for a space
    and the file; for standard input it is FILE.
    """
    return next(((name, hint) for mark, name, hint in _MARKS if re.match(mark, start, re.DOTALL)), None)


_NAME_A_TEXT = "name a text file in UTF-8"
_ONE_MODEL = "a command takes one model and then texts: name a text file"
_AS_TEXT = "save it as plain text in UTF-8"
# The first entry of a zip archive that is a document: of Office Open XML, OpenDocument or EPUB.
_DOCUMENT = rb"PK\x03\x04.{26}(?:\[Content_Types\]|mimetype|_rels/|docProps/|word/)"
# The header of a safetensors file is shorter than 2^40 bytes, so the last three bytes of its length are zero.
_SAFETENSORS = rb'.{5}\0\0\0\{"'

# A mark of printable characters alone could begin a text, so it includes bytes after them that a text would not have.
_MARKS = [
    (_SAFETENSORS + rb'__metadata__":\{"charlm"', "a charlm model, not a text", _ONE_MODEL),
    (_SAFETENSORS, "a safetensors file, not a text", _NAME_A_TEXT),
    (rb"\x1f\x8b", "compressed by gzip", "decompress it first: gzip -dc{input}"),
    (rb"\x1f\x9d", "compressed by compress", "decompress it first: gzip -dc{input}"),
    (rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)", "compressed by bzip2", "decompress it first: bzip2 -dc{input}"),
    (rb"\xfd7zXZ\0", "compressed by xz", "decompress it first: xz -dc{input}"),
    (rb"\x5d\0\0", "compressed by lzma", "decompress it first: xz --format=lzma -dc{input}"),
    (rb"\x28\xb5\x2f\xfd", "compressed by zstd", "decompress it first: zstd -dc{input}"),
    (rb"\x04\x22\x4d\x18", "compressed by lz4", "decompress it first: lz4 -dc{input}"),
    (rb"LZIP\x01", "compressed by lzip", "decompress it first: lzip -dc{input}"),
    (_DOCUMENT, "an office document or an e-book", _AS_TEXT),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office document", _AS_TEXT),
    (rb"\{\\rtf1", "an RTF document", _AS_TEXT),
    (rb"%PDF-\d\.\d", "a PDF document", "print its text: pdftotext{file} -"),
    (rb"PK(?:\x03\x04|\x05\x06\0)", "a zip archive", "print what is in it: unzip -p{file}"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", "print what is in it: 7z x -so{file}"),
    (rb"Rar!\x1a\x07", "a RAR archive", "print what is in it: unrar p -inul{file}"),
    (rb".{257}ustar(?:\x0000|  \0)", "a tar archive", "print what is in it: tar -xOf{file}"),
    (rb"\x89PNG\r\n\x1a\n", "a PNG picture, not a text", _NAME_A_TEXT),
    (rb"\xff\xd8\xff", "a JPEG picture, not a text", _NAME_A_TEXT),
    (rb"GIF8[79]a.{0,6}\0", "a GIF picture, not a text", _NAME_A_TEXT),
    (rb"RIFF.{4}WAVE", "a WAV recording, not a text", _NAME_A_TEXT),
    (rb"MThd\0\0\0\x06", "a MIDI file, not a text", _NAME_A_TEXT),
    (rb"SQLite format 3\0", "an SQLite database, not a text", _NAME_A_TEXT),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file, not a text", _NAME_A_TEXT),
    (rb"\x93NUMPY", "a NumPy array, not a text", _NAME_A_TEXT),
    (rb"\x7fELF", "a program, not a text", _NAME_A_TEXT),
    (rb"\x80[\x02-\x05][\x95}\]c(]", "a pickle, not a text", _NAME_A_TEXT),
]

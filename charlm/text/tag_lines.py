"""The lines of a tagged text: token TAB tag, or the columns of a CoNLL file."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from charlm.config import TextConfig
from charlm.errors import CorpusError
from charlm.text.iob import OUTSIDE, are_iob, as_iob2, iob2
from charlm.text.lines.reading import numbered
from charlm.text.records import check_label, columns, ends_sentence, is_comment, token_of
from charlm.text.tokens.splitter import BETWEEN_ASCII_SPACE

Tagged = tuple[list[str], list[str]]  # the tokens of a sentence, and their tags

_MARKER = "-DOCSTART-"  # the first word of the line before a document, CoNLL-2003
_CONLL_U = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
# The ID of several tokens written as one word, and of a token that is not written.
_NO_TOKEN = re.compile(r"\d+[-.]\d+")
_NAMES = re.compile(r"# *global\.columns *= *")


class TagLines:
    """Lines `token TAB tag`; a blank line ends a sentence, and `# ` begins a comment."""

    def ends_sentence(self, line: str) -> bool:
        """Return whether a line ends a sentence."""
        return ends_sentence(line)

    def is_comment(self, line: str) -> bool:
        """Return whether a line without white space only has no token."""
        return is_comment(line)

    def token(self, line: str, place: str) -> str:
        """Return the token of a line; raise CorpusError if it has none."""
        return token_of(line, place)

    def token_and_tag(self, line: str, place: str) -> tuple[str, str]:
        """Return the token of a line and its tag; raise CorpusError if one is missing."""
        return columns(line, "token TAB tag", place)


class ConllLines(TagLines):
    """Lines with more columns, separated by tabs, or by blanks if a line has no tab.

    Comments, document markers, and lines of CoNLL-U without a token are skipped. Columns have names by the comment
    `# global.columns = ...`; ten columns without it have those of CoNLL-U.

    token, tag: the columns, a number from 1 or a name
    """

    def __init__(self, token: str, tag: str) -> None:
        self._token, self._tag = token, tag
        self._names: tuple[str, ...] = ()
        self._width = 0  # columns of the lines before, in the same sentence

    def ends_sentence(self, line: str) -> bool:
        if ends := ends_sentence(line):
            self._width = 0
        return ends

    def is_comment(self, line: str) -> bool:
        fields = _fields(line)
        if line == "#" or is_comment(line):
            # Among lines with blanks, the token may be a `#`. Comments stand before a sentence.
            is_token = "\t" not in line and len(fields) == self._width
            if not is_token and (found := _NAMES.match(line)):
                self._names = tuple(line[found.end() :].split())
            return not is_token
        if fields[0] == _MARKER:
            return True
        return self._names_of(len(fields))[:1] == ("ID",) and _NO_TOKEN.fullmatch(fields[0]) is not None

    def token(self, line: str, place: str) -> str:
        return self._field(self._token, "token", line, place)

    def token_and_tag(self, line: str, place: str) -> tuple[str, str]:
        return self.token(line, place), self._field(self._tag, "tag", line, place)

    def _field(self, column: str, what: str, line: str, place: str) -> str:
        fields = _fields(line)
        self._width = len(fields)
        at = self._index(column, what, len(fields), place)
        if at >= len(fields):
            count = "1 column" if len(fields) == 1 else f"{len(fields)} columns"
            raise CorpusError(f"{count}, but --{what}-column is {column}, {place}", hint="name a column of the file")
        if not fields[at]:
            raise CorpusError(f"the {what} is empty, {place}", hint="give a token and a tag, or leave the line out")
        return fields[at]

    def _index(self, column: str, what: str, width: int, place: str) -> int:
        if column.isdecimal():
            return int(column) - 1
        names = self._names_of(width)
        if column not in names:
            hint = f"the columns are: {' '.join(names)}" if names else "the columns have no names: give a number from 1"
            raise CorpusError(f"unknown column {column}, given by --{what}-column, {place}", hint=hint)
        return names.index(column)

    def _names_of(self, width: int) -> tuple[str, ...]:
        return self._names or (_CONLL_U if width == len(_CONLL_U) else ())


def tag_lines(text: TextConfig) -> TagLines:
    """Return how the lines of a tagged text are read."""
    if text.token_column is None or text.tag_column is None:
        return TagLines()
    return ConllLines(text.token_column, text.tag_column)


def sentences(
    lines: Iterable[str], form: TagLines, known: Collection[str] | None = None, *, iob: bool = False
) -> Iterator[Tagged]:
    """Yield the sentences of a tagged text; comments are left out.

    known: the allowed tags; None for all
    iob: whether tags of IOB1 become those of IOB2
    Raises CorpusError with the place of a malformed line.
    """
    tokens: list[str] = []
    tags: list[str] = []
    for line, place in numbered(lines):
        if form.ends_sentence(line):
            if tokens:
                yield tokens, tags
            tokens, tags = [], []
        elif not form.is_comment(line):
            token, tag = form.token_and_tag(line, place)
            tag = iob2(tag, tags[-1] if tags else OUTSIDE) if iob else tag
            check_label(tag, known, "tag", place)
            tokens.append(token)
            tags.append(tag)
    if tokens:
        yield tokens, tags


def read_sentences(lines: Iterable[str], text: TextConfig, known: Collection[str] | None) -> list[Tagged]:
    """Return the sentences of a tagged text, with tags of entities in IOB2 unless they are taken as written.

    known: the allowed tags; None for all
    Raises CorpusError with the place of a malformed line.
    """
    is_read = text.tag_scheme == "iob2"
    found = list(sentences(lines, tag_lines(text), known, iob=is_read and known is not None and are_iob(known)))
    if is_read and known is None and are_iob({tag for _, tags in found for tag in tags}):
        return [(tokens, as_iob2(tags)) for tokens, tags in found]
    return found


def _fields(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else BETWEEN_ASCII_SPACE.findall(line)

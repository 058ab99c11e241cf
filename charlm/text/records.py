"""Records of a corpus with columns: labels and texts, tokens and tags, sources and targets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from charlm.errors import CorpusError
from charlm.quoting import did_you_mean
from charlm.text.lines.reading import numbered
from charlm.text.tokens.splitter import BETWEEN_ASCII_SPACE


def columns(line: str, what: str, place: str) -> tuple[str, str]:
    """Return the two columns of a line; raise CorpusError if it has more or fewer, or an empty one.

    what: the names of the columns, e.g. "label TAB text"
    """
    fields = line.split("\t")
    if len(fields) != 2:
        found = "1 column" if len(fields) == 1 else f"{len(fields)} columns"
        raise CorpusError(f"{found} instead of {what}, {place}", hint="give two columns, separated by one tab")
    if not all(fields):
        which = what.split(" TAB ")[0 if not fields[0] else 1]
        raise CorpusError(f"the {which} is empty, {place}", hint=f"give {what}, or leave the line out")
    return fields[0], fields[1]


def check_label(label: str, known: Collection[str] | None, what: str, place: str) -> None:
    """Raise CorpusError for a label that is not among the known ones; None allows all."""
    if known is not None and label not in known:
        raise CorpusError(
            f"the {what} {label!r} was never seen in training, {place}",
            hint=f"{did_you_mean(label, known)}charlm inspect MODEL lists the labels of the training corpus",
        )


def pairs(lines: Iterable[str], what: str, known: Collection[str] | None = None) -> Iterator[tuple[str, str]]:
    """Yield the two columns of each line; raise CorpusError with the place of a malformed line.

    what: the names of the columns, e.g. "label TAB text"; known: the allowed labels; None for all
    """
    for line, place in numbered(lines):
        first, second = columns(line, what, place)
        check_label(first, known, what.split(" TAB ", maxsplit=1)[0], place)
        yield first, second


def ends_sentence(line: str) -> bool:
    """Return whether a line of a tagged text ends a sentence: it contains white space only."""
    return not line.strip()


def is_comment(line: str) -> bool:
    """Return whether a line of a tagged text is a comment, as in CoNLL-U; after the token `#` comes a tab."""
    return line.startswith("# ")


def token_of(line: str, place: str) -> str:
    """Return the token of a line that is a token, or `token TAB tag`; the tag is ignored.

    Raises CorpusError with the place of a line with other columns, separated by tabs or blanks.
    """
    fields = line.split("\t")
    if len(fields) == 1:
        fields = BETWEEN_ASCII_SPACE.findall(line)
    if len(fields) > 2 or (len(fields) == 2 and "\t" not in line):
        raise CorpusError(
            f"{len(fields)} columns instead of a token, or token TAB tag, {place}",
            hint="give one token a line; cut -f selects columns that are separated by tabs",
        )
    if not fields[0]:
        raise CorpusError(f"the token is empty, {place}", hint="give a token, or a blank line to end the sentence")
    return fields[0]

"""N-best lists: Kaldi's and Moses' files, the hypotheses of their rows, and reference texts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

from charlm.errors import CorpusError
from charlm.text.columns import KeyedLines, Row, Rows, TextColumn
from charlm.text.lines.lines_of_bytes import Errors
from charlm.text.lines.reading import numbered, read_lines
from charlm.text.table_rows import Watch

BAR = "|||"  # between the fields of Moses' lists
_LARGEST = 1e100  # of a score; totals of larger ones could overflow
_SHOWN = 40  # characters of a malformed score in a message
_NUMBERED = re.compile(r"(.+)-[0-9]+")
_KEY = re.compile(r"[ \t]*([^ \t]+)[ \t]*")


class Hypothesis(NamedTuple):
    """One of several texts for an utterance, or for another input such as a sentence to translate.

    utterance: its name; the hypotheses of one utterance follow each other
    score: of the recogniser or translator, the larger the better
    place: where it was read, for messages
    """

    utterance: str
    score: float
    text: str
    place: str = ""


class KaldiLists(Rows):
    """Kaldi's n-best lists: lines `UTTERANCE-N WORD ...`, and their costs in another file, lines `UTTERANCE-N COST`.

    The other columns are `id` and `score`, the cost. Both files have the same names in the same order, as Kaldi writes
    them. Raises CorpusError if they differ.

    costs: name of the second file; errors: how the first one is read, as for `read_lines`
    """

    columns = ("id", "score")

    def __init__(
        self, paths: Sequence[str], costs: str, *, watch: Watch | None = None, errors: Errors = "keep"
    ) -> None:
        self._costs = costs
        super().__init__(paths, watch=watch, errors=errors)

    def _read(self) -> Iterator[Row]:
        texts = KeyedLines(self.paths, watch=self._watch, errors=self._errors)
        costs = KeyedLines([self._costs])
        for text, cost in zip_longest(texts, costs):
            if text is None or cost is None:
                longer, shorter = (texts, costs) if cost is None else (costs, texts)
                raise CorpusError(
                    f"no more lines for {longer.taken().others['key']!r}, {shorter.place or 'the file is empty'}",
                    hint="give the texts and the costs the same ids",
                )
            row, of_cost = texts.taken(), costs.taken()
            key = row.others["key"]
            if of_cost.others["key"] != key:
                raise CorpusError(
                    f"the id {of_cost.others['key']!r} instead of {key!r}, {of_cost.place}",
                    hint="give the texts and the costs the same ids in the same order: sort both files",
                )
            yield Row(row.text, {"id": key, "score": of_cost.text.strip()}, row.place)


class MosesLists(Rows):
    """Moses' n-best lists: lines `ID ||| TEXT ||| FEATURES ||| SCORE`.

    The other columns are `id`, `features` and `score`; what follows the score, such as an alignment, is left out.
    Raises CorpusError for a line with fewer fields.
    """

    columns = ("id", "features", "score")

    def _read(self) -> Iterator[Row]:
        lines = read_lines(self.paths, errors="keep", watch=self._watch)
        for line in lines:
            fields = [field.strip(" ") for field in line.split(BAR)]
            if len(fields) < 4:
                found = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
                raise CorpusError(
                    f"{found} instead of id ||| text ||| features ||| score, {lines.place}",
                    hint="give four fields, or name the form of the input: --input-format tsv",
                )
            name, text, features, score = fields[:4]
            yield Row(text, {"id": name, "features": features, "score": score}, lines.place)


class TextOfLists(TextColumn):
    """The texts of n-best lists in tables."""

    flag = "--text"


def hypothesis(row: Row, id_column: str, score_column: str, *, is_cost: bool, is_numbered: bool) -> Hypothesis:
    """Return the hypothesis of a row; raise CorpusError for an empty id and for a score that is not a number.

    is_cost: whether the smallest score is the best
    is_numbered: whether the id is UTTERANCE-N, as Kaldi's are; the number is then left out
    """
    given = row.others.get(id_column)
    name = "" if given is None else str(given)
    if not name.strip():
        raise CorpusError(f"the id is empty, {row.place}", hint="give each hypothesis the id of its utterance")
    if is_numbered:
        found = _NUMBERED.fullmatch(name)
        if found is None:
            raise CorpusError(
                f"the id {name!r} does not end with a number, {row.place}", hint="give ids such as utt-1, utt-2"
            )
        name = found[1]
    score = _number(row.others.get(score_column), row.place)
    # A newline in a text is white space for the model.
    return Hypothesis(name, -score if is_cost else score, row.text.replace("\n", " "), row.place)


def _number(value: object, place: str) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float) or "_" in str(value):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        shown = repr(value)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        what = "missing" if value in (None, "") else f"{shown}, which is not a number"
        is_first = place.endswith(" line 1")
        raise CorpusError(
            f"the score is {what}, {place}",
            hint="if the first line is a header, use the names of the columns: --id NAME --score NAME --text NAME"
            if is_first
            else "give each hypothesis a score, such as -12.5",
        ) from None
    if not math.isfinite(number) or abs(number) > _LARGEST:
        what = "too large" if math.isfinite(number) else "not finite"
        raise CorpusError(f"the score {value} is {what}, {place}", hint="leave the hypothesis out")
    return number


def in_lists(hypotheses: Iterable[tuple[str, float, str] | Hypothesis]) -> Iterator[list[Hypothesis]]:
    """Yield the hypotheses of each utterance; raise CorpusError if those of one are not adjacent."""
    seen: set[str] = set()
    found: list[Hypothesis] = []
    for number, given in enumerate(hypotheses, start=1):
        one = Hypothesis(*given)
        if found and one.utterance != found[0].utterance:
            yield found
            found = []
        if not found:
            if one.utterance in seen:
                raise CorpusError(
                    f"the hypotheses of {one.utterance!r} are not adjacent, {one.place or f'hypothesis {number}'}",
                    hint="sort the list by utterance: sort -s -k1,1 sorts by the first column",
                )
            seen.add(one.utterance)
        found.append(one)
    if found:
        yield found


def read_references(lines: Iterable[str]) -> dict[str, str]:
    """Return the reference text of each utterance.

    lines: `ID TAB TEXT`, or `ID WORD ...` as Kaldi's; a text may be empty
    Raises CorpusError for a line without an id and for a second reference of an utterance.
    """
    references: dict[str, str] = {}
    for line, place in numbered(lines):
        name, tab, text = line.partition("\t")
        if not tab:
            found = _KEY.match(line)
            name, text = (found[1], line[found.end() :]) if found else ("", "")
        if not name.strip():
            raise CorpusError(f"no id, {place}", hint="give each line an id, a tab and the reference")
        if name in references:
            raise CorpusError(f"a second reference of {name!r}, {place}", hint="give each utterance one reference")
        references[name] = text
    return references

"""N-best lists as a command reads them: tables with three named columns, or Kaldi's and Moses' files."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Collection, Iterator
from typing import Any

from charlm.cli.options import kept, note_standard_input, refuse_same_file
from charlm.cli.tables_in import Source
from charlm.config import TextConfig

_FLAGS: tuple[str, ...] = ("--id", "--score", "--text")


class ListSource(Source):
    """The hypotheses that a command reads, and the rows in which they are.

    given: what --id, --score and --text name: columns; for kaldi, --score names the file of the costs
    input_format: tsv, csv, jsonl, kaldi or nbest; None: by the name of each file
    is_cost: whether the smallest score is the best
    is_numbered: whether the ids are UTTERANCE-N
    own: names in the command's output
    text: of the model that reads the hypotheses
    Raises UsageError for options that do not fit each other.
    """

    def __init__(
        self,
        files: list[str] | None,
        *,
        given: tuple[str | None, str | None, str | None],
        input_format: str | None,
        is_cost: bool,
        is_numbered: bool,
        own: Collection[str],
        text: TextConfig,
    ) -> None:
        self._given = given
        is_kaldi = input_format == "kaldi"
        self._is_cost, self.is_numbered = is_cost or is_kaldi, is_numbered or is_kaldi
        self._id, self._score = "id", "score"
        self._new_names: dict[str, str] = {}
        self._held: deque[Any] = deque()
        super().__init__(files, field="", input_format=input_format, own=own, text=text)

    def _opened(
        self, paths: list[str], field: str | None, input_format: str | None, key: str | None, *, keeps_raw: bool
    ) -> Any:
        from charlm.errors import UsageError
        from charlm.text.nbest import KaldiLists, MosesLists, TextOfLists

        given = dict(zip(_FLAGS, self._given, strict=True))
        needed = _FLAGS
        if input_format in ("kaldi", "nbest"):
            needed = _FLAGS[1:2] if input_format == "kaldi" else ()
            if unfit := next((flag for flag in _FLAGS if flag not in needed and given[flag] is not None), None):
                raise UsageError(
                    f"{unfit} with --input-format {input_format}", hint="leave it out: the format has its place for it"
                )
        if missing := next((flag for flag in needed if given[flag] is None), None):
            columns = " ".join(f"{flag} {given[flag] or at}" for at, flag in enumerate(_FLAGS, start=1))
            hint = f"name the columns: {columns}" if len(needed) > 1 else "name the file of the costs: --score FILE"
            if not any(given.values()) and len(needed) > 1:
                hint += ", or the format: --input-format nbest"
            raise UsageError(f"{missing} is missing", hint=hint)
        read = [*paths, str(given["--score"])] if input_format == "kaldi" else paths
        refuse_same_file(read, sys.stdout, hint="write to another file: > OUTPUT")
        note_standard_input(read)
        if read.count("-") > 1:
            raise UsageError("two inputs are standard input", hint="name a file for one of them")
        if input_format == "kaldi":
            return KaldiLists(paths, str(given["--score"]), watch=self._watch, errors=kept(self._text))
        if input_format == "nbest":
            return MosesLists(paths, watch=self._watch)
        name, score, text = map(str, self._given)
        form: Any = input_format
        rows = TextOfLists(paths, text, form=form, watch=self._watch)
        self._id, self._score = rows.column(name, "--id"), rows.column(score, "--score")
        if self._id == self._score:
            raise UsageError(f"--id {name} and --score {score} are one column", hint="name another column with --score")
        # Columns that only a number names have no names of their own.
        if self._id == f"column{name}" and self._score == f"column{score}":
            self._new_names = {self._id: "id", self._score: "score"}
        return rows

    def _name(self, column: str) -> str:
        if column in self._new_names:
            self._names[column] = self._new_names[column]
        return super()._name(column)

    def hypotheses(self) -> Iterator[Any]:
        """Yield the hypothesis of each row."""
        from charlm.text.nbest import hypothesis

        for _ in self.lines:
            row = self.taken()
            self._held.append(row)
            yield hypothesis(row, self._id, self._score, is_cost=self._is_cost, is_numbered=self.is_numbered)

    def rows(self, count: int) -> list[Any]:
        """Return the rows of the next hypotheses, and forget them."""
        return [self._held.popleft() for _ in range(count)]

    def given_id(self, row: Any) -> str:
        """Return the id of a row as it is in the input."""
        return str(row.others[self._id])

    @staticmethod
    def features(row: Any) -> str:
        """Return the features of a row of Moses' lists; empty for other rows."""
        return str(row.others.get("features") or "")

"""The records of `charlm rank`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from charlm.cli import ui
from charlm.cli.shading import Shaded
from charlm.cli.tables_in import Source
from charlm.cli.tables_out import Verbatim
from charlm.inference.measures import DEFAULT, MEASURES, Measure

_BRACKETS = "⟦", "⟧"
_STYLE = "bold red"


@dataclass(frozen=True)
class Look:
    """What a record looks like.

    form: text, tsv, csv or jsonl
    measure: the figure that ranks; bits a character are always there
    pseudo: "pseudo_" in front of the names of a cloze model's figures, else ""
    is_labelled: whether the model reads labels
    has_file: whether a table for people names the file
    has_rank: whether there are ranks
    marks: how odd runs are marked in the text
    """

    form: str
    measure: Measure
    pseudo: str
    is_labelled: bool
    has_file: bool
    has_rank: bool
    marks: Literal["", "colour", "brackets"]

    @classmethod
    def of(
        cls, language_model: Any, form: str, by: str, paths: Sequence[str], *, highlight: bool, has_rank: bool
    ) -> Look:
        """Return the look of the records of a command line."""
        is_shown = form == "text" and ui.is_terminal(sys.stdout)
        marks: Literal["", "colour", "brackets"] = "brackets" if highlight or is_shown else ""
        if marks and is_shown and ui.has_color(sys.stdout):
            marks = "colour"
        pseudo = "pseudo_" if language_model.facts.is_cloze else ""
        has_file = form != "text" or len(paths) > 1
        return cls(form, MEASURES[by], pseudo, language_model.is_conditioned, has_file, has_rank, marks)

    @property
    def table(self) -> str:
        """The format of `Records`."""
        return "table" if self.form == "text" else self.form

    @property
    def _needs_runs(self) -> bool:
        """Whether records show odd runs."""
        return self.form == "jsonl" or bool(self.marks)

    @property
    def names(self) -> set[str]:
        """All names in the records."""
        figures = {self.pseudo + one for measure in MEASURES.values() for one in (measure.key, measure.unit)}
        return {"rank", "file", "line", *figures, "tokens", "oov", "label", "text", "runs"}

    @property
    def columns(self) -> list[str]:
        """The columns of a table."""
        figures = [MEASURES[DEFAULT]] if self.measure.name == DEFAULT else [MEASURES[DEFAULT], self.measure]
        return [
            *(["rank"] if self.has_rank else []),
            *(["file"] if self.has_file else []),
            "line",
            *map(self._name, figures),
            *(["label"] if self.is_labelled else []),
            "text",
        ]

    def joined(
        self, source: Source | None, measurer: Any, line: Any, row: Any, place: str, *, rank: int = 0
    ) -> dict[str, Any]:
        """Return the record of a line, after the other columns of its row.

        source: of the row; None without rows
        measurer: the `Measurer` of the line
        place: of the line
        """
        runs = measurer.runs(line) if self._needs_runs else []
        # A newline in a row's text is a space in the line, so places in one are places in the other.
        record = self._record(line, line.text if row is None else row.text, place, runs, rank)
        if source is None:
            return record
        return {**source.joined(row, record, self.form), "text": record["text"]}

    def _record(self, line: Any, text: str, place: str, runs: Sequence[Any], rank: int) -> dict[str, Any]:
        from charlm.text.lines.reading import file_and_number

        file, number = file_and_number(place)
        record = {
            **({"rank": rank} if self.has_rank else {}),
            "file": file,
            "line": number,
            **{self._name(measure): measure.of(line.score) for measure in MEASURES.values()},
            "tokens": line.score.tokens,
            "oov": line.score.oov,
            **({"label": line.score.label} if self.is_labelled else {}),
            "text": self._marked(text, runs),
        }
        if self.form == "jsonl":
            record["runs"] = [
                {"start": run.start, "end": run.end, "text": text[run.start : run.end], "bits": run.bits}
                for run in runs
            ]
        return record

    def _name(self, measure: Measure) -> str:
        return self.pseudo + (measure.unit if self.form == "text" else measure.key)

    def _marked(self, text: str, runs: Sequence[Any]) -> str:
        """Return the text with its odd runs marked; without marks, or in JSON, which has them apart, as it is."""
        if self.form == "jsonl":
            return text
        if self.marks == "brackets":
            text = "".join(
                _BRACKETS[0] + part + _BRACKETS[1] if is_odd else part for part, is_odd in _parts(text, runs)
            )
        if self.form != "text":
            return text
        parts = _parts(text, runs if self.marks == "colour" else ())
        # A table of the terminal escapes what is not verbatim, and a newline would end its row.
        return Shaded((Verbatim(part.replace("\n", "\\n")), _STYLE if is_odd else "") for part, is_odd in parts)


def _parts(text: str, runs: Sequence[Any]) -> list[tuple[str, bool]]:
    """Return a text in pieces, each with whether it is an odd run."""
    parts, at = [], 0
    for run in runs:
        parts += [(text[at : run.start], False), (text[run.start : run.end], True)]
        at = run.end
    return [*parts, (text[at:], False)]

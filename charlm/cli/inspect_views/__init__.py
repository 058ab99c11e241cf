"""The views of `charlm inspect`, one a file. A new view is a file here, and its options in `cli/inspect.py`.

A view is a function `show_...(asked, ...)`, which prints the models in the format that was asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from charlm.cli import ui
from charlm.cli.options import least_lossy
from charlm.cli.prompts import warn_of_unknown
from charlm.cli.tables_out import write_records
from charlm.config import TextConfig

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Asked:
    """What every view is asked for.

    models: their names as they were given, and the models; a list, because a file that is named twice has two records
    format: text, tsv, csv or jsonl
    output: where to print
    has_header: whether tsv and csv begin with a header line
    """

    models: list[tuple[str, Any]]
    format: str
    output: ui.Output
    has_header: bool = True

    @property
    def is_table(self) -> bool:
        """Whether the format has rows and columns."""
        return self.format in ("tsv", "csv")

    @property
    def reading(self) -> TextConfig:
        """How the models read a file: as the one that leaves out least."""
        return least_lossy(one.text for _, one in self.models)

    def name_of(self, name: str) -> dict[str, str]:
        """Return a JSON record's field for the model's name: none if there is one model."""
        return {"model": name} if len(self.models) > 1 else {}

    def warn_of_unknown(self, lines_for: Callable[[Any], Iterable[str]]) -> None:
        """Name the first tokens of a text that each model reads as `<UNK>`.

        lines_for: return the lines of the text that a model reads, with their labels
        """
        from charlm.inference.unknown import unknown_tokens

        for name, one in self.models:
            what = f"{name}: the text" if len(self.models) > 1 else "the text"
            warn_of_unknown(partial(unknown_tokens, one, lines_for(one), with_labels=True), what)

    def styled(self, lines: Iterable[str]) -> None:
        """Print lines that may have colours, and are `ui.printable` besides."""
        for line in lines:
            self.output.write(line + "\n", is_styled=True)

    def title(self, name: str) -> None:
        """Print a line above the text of a model if there are several."""
        if len(self.models) > 1 and self.format == "text":
            self.output.line(f"== {name}")

    def table(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Print rows as a table with the columns of all of them; a field is empty where a row has no value."""
        held = list(rows)
        names = list(dict.fromkeys(name for row in held for name in row))
        united = [{name: "" if row.get(name) is None else row[name] for name in names} for row in held]
        write_records(united, self.format, self.output, names or ["model"], has_header=self.has_header)

    def short_names(self) -> list[str]:
        """Return a different name for each model, without folders and suffix if possible."""
        whole = [name.removesuffix(SUFFIX) for name, _ in self.models]
        short = [Path(name).name for name in whole]
        names: list[str] = []
        for name in short if len(set(short)) == len(set(whole)) else whole:
            others = (f"{name} ({number})" for number in itertools.count(2))
            free = (one for one in others if one not in {*names, *short, *whole})
            names.append(name if name not in names else next(free))
        return names

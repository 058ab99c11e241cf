"""`charlm inspect --activations`: what the units and gates of a model do over a text."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from charlm.cli import signals, ui
from charlm.cli.escapes import unescaped
from charlm.cli.inspect_views import Asked
from charlm.cli.options import input_lines, watch_encoding
from charlm.cli.pages import Page, row, signed_class, signed_swatches, token
from charlm.cli.shading import shaded_line, signed_level, signed_style
from charlm.cli.tables_out import Records, format_of
from charlm.config import TextConfig

_ON_A_PAGE = 10  # units, if none is named
_UNIT = re.compile(r"([0-9]{1,9}):([0-9]{1,9})(?::(.+))?")
# The notes' letters for the gates; c is the memory.
_LETTERS = {"u": "update", "f": "forget", "o": "output", "r": "relevance", "c~": "candidate"}


@dataclass(frozen=True)
class Wanted:
    """What is to be shown of the activations.

    text: the text, @FILE, or - for standard input
    unit: LAYER:UNIT or LAYER:UNIT:PART; None for a list of units
    page, states: files to write, if any
    """

    text: str
    unit: str | None
    page: Path | None
    states: Path | None

    @property
    def file(self) -> str | None:
        """The name of the file with the text; None if the text was given itself."""
        return self.text[1:] if self.text.startswith("@") else "-" if self.text == "-" else None


def show_activations(asked: Asked, wanted: Wanted) -> None:
    """Print the units that vary most over a text, or the text in the colours of one unit; write a page and arrays."""
    from charlm.inference.activations import Recorder

    lines = _lines(wanted, asked.reading)
    # All are checked before anything is printed.
    recorders = [Recorder(one) for _, one in asked.models]
    units = [None if wanted.unit is None else _units(wanted.unit, recorder) for recorder in recorders]
    asked.warn_of_unknown(lambda _: lines())
    for recorder, chosen in zip(recorders, units, strict=True):
        # Written before the text, whose reader may go away.
        if wanted.page is not None:
            _write_page(wanted.page, asked.short_names()[0], recorder, lines, chosen)
        if wanted.states is not None:
            _write_states(wanted.states, recorder, lines)
    in_color = asked.format == "text" and ui.has_color(sys.stdout)
    if wanted.unit is not None and in_color:
        for (name, _), recorder, chosen in zip(asked.models, recorders, units, strict=True):
            asked.title(name)
            assert chosen is not None
            ui.note(f"{_title(chosen[0], recorder)}: red is negative, blue positive")
            for line in _colored(recorder, lines, chosen[0]):
                asked.output.write(line + "\n", is_styled=True)
        return
    form = format_of(None if asked.format == "text" else asked.format, "tsv")
    names = [{"model": name} if len(asked.models) > 1 else {} for name, _ in asked.models]
    columns = _columns(recorders, units)
    with Records(asked.output, form, [*names[0], *columns], has_header=asked.has_header) as records:
        for which, recorder, chosen in zip(names, recorders, units, strict=True):
            found = _spreads(recorder, lines) if chosen is None else _numbers(recorder, lines, chosen)
            for record in found:
                records.write({**which, **({} if form == "jsonl" else dict.fromkeys(columns, "")), **record})


def _lines(wanted: Wanted, reading: TextConfig) -> Callable[[], Iterable[str]]:
    """Return a function that returns the lines of the text; a file is read again each time.

    reading: how a file is read
    """
    file = wanted.file
    if file is None:
        if os.path.exists(wanted.text):
            ui.warn(f"--activations reads {wanted.text!r} as a text: to read the file, write @{wanted.text}")
        given = unescaped(wanted.text).removesuffix("\n").split("\n")
        return lambda: given
    read = partial(input_lines, [file], watch=watch_encoding(reading), text=reading)
    if os.path.isfile(file):
        return read
    held = list(read())
    return lambda: held


def _units(text: str, recorder: Any) -> list[Any]:
    """Return the unit that --unit names, once for each of its parts; the first is the one that shows what it does."""
    from charlm.errors import UsageError

    found = _UNIT.fullmatch(text)
    if found is None:
        raise UsageError(f"--unit {text}: not a unit", hint="write LAYER:UNIT or LAYER:UNIT:PART, such as 0:23:forget")
    layer, number = int(found[1]), int(found[2])
    if found[3] is not None:
        part = re.sub("^(gamma|Γ)_", "", found[3], flags=re.IGNORECASE).lower()
        return [recorder.unit(layer, number, _LETTERS.get(part, part))]
    main = recorder.unit(layer, number)
    others = [recorder.unit(layer, number, part) for part in recorder.quantities]
    return [main, *(one for one in others if one != main)]


def _columns(recorders: list[Any], units: list[Any]) -> list[str]:
    """Return the columns of a table: of all models, whose cells may have different parts."""
    if units[0] is None:
        return ["layer", "unit", "of", "deviation", "mean", "lowest", "highest"]
    parts = [quantity for recorder in recorders for quantity in recorder.quantities]
    named = {unit.quantity for chosen in units for unit in chosen}
    return ["line", "position", "token", *(part for part in dict.fromkeys(parts) if part in named)]


def _spreads(recorder: Any, lines: Callable[[], Iterable[str]]) -> Iterator[dict[str, Any]]:
    from charlm.inference.activations import most_telling

    for one in most_telling(recorder, lines()):
        yield {
            "layer": one.unit.layer,
            "unit": one.unit.number,
            "of": recorder.drawn_as,
            "deviation": one.deviation,
            "mean": one.mean,
            "lowest": one.lowest,
            "highest": one.highest,
        }


def _numbers(recorder: Any, lines: Callable[[], Iterable[str]], units: list[Any]) -> Iterator[dict[str, Any]]:
    from charlm.inference.activations import values_of

    for number, line in enumerate(values_of(recorder, lines(), units), start=1):
        rows = (values for part in line.selected for values in part.tolist())
        for position, (spelled, values) in enumerate(zip(line.tokens, rows, strict=True), start=1):
            by_name = dict(zip((unit.quantity for unit in units), values, strict=True))
            parts = {name: by_name[name] for name in recorder.quantities if name in by_name}
            yield {"line": number, "position": position, "token": spelled, **parts}


def _colored(recorder: Any, lines: Callable[[], Iterable[str]], unit: Any) -> Iterator[str]:
    """Yield the lines of the text, each token in the colour of a unit."""
    from charlm.inference.activations import values_of, written_values

    splitter = recorder.language_model.tokenizer.splitter
    for line in values_of(recorder, lines(), [unit]):
        yield shaded_line(
            [
                (text, "" if values is None else signed_style(signed_level(recorder.drawn(values[0], unit.quantity))))
                for text, values in written_values(line, splitter)
            ]
        )


def _title(unit: Any, recorder: Any) -> str:
    part = recorder.drawn_as if unit.quantity == recorder.main else unit.quantity
    return f"layer {unit.layer}, unit {unit.number}, {part}"


def _write_page(
    path: Path, name: str, recorder: Any, lines: Callable[[], Iterable[str]], units: list[Any] | None
) -> None:
    """Write the text once for each part of a unit, or for the units that vary most."""
    from charlm.inference.activations import most_telling, values_of, written_values

    is_list = units is None
    if units is None:
        units = [one.unit for one in most_telling(recorder, lines(), _ON_A_PAGE)]
    splitter = recorder.language_model.tokenizer.splitter
    rows: list[list[str]] = [[] for _ in units]
    for number, line in enumerate(values_of(recorder, lines(), units) if units else (), start=1):
        parts = written_values(line, splitter)
        for at, unit in enumerate(units):
            shown = (
                token(text, "", "") if values is None else _token(text, float(values[at]), recorder, unit.quantity)
                for text, values in parts
            )
            rows[at].append(row(number, [], "".join(shown)))
    page = Page(f"Activations of {name}")
    page.paragraph(
        "Each token has the colour of a unit after the network has read it: blue for positive values, red for negative "
        "ones. The pointer on a token shows the value. Layers and units are numbered from 0."
        + (" These units vary most over the text." if is_list else "")
    )
    page.legend("value", signed_swatches())
    for unit, of_unit in zip(units, rows, strict=True):
        page.table(f"{len(of_unit):,} lines", [], of_unit, title=_title(unit, recorder))
    page.write(path)


def _token(text: str, value: float, recorder: Any, quantity: str) -> str:
    drawn = recorder.drawn(value, quantity)
    return token(text, signed_class(signed_level(drawn)), f"{drawn:.3f}")


def _write_states(path: Path, recorder: Any, lines: Callable[[], Iterable[str]]) -> None:
    """Write all values over the text as arrays of NumPy."""
    import io

    import numpy as np

    from charlm.inference.activations import states_of
    from charlm.storage.files import write_atomically

    data = io.BytesIO()
    np.savez(data, **states_of(recorder, lines()))  # type: ignore[arg-type]
    with signals.undisturbed():
        write_atomically(path, data.getvalue())

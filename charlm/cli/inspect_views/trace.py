"""`charlm inspect --trace`: the equations of a network over a short text, with all their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from charlm.cli import signals, ui
from charlm.cli.chart import painted
from charlm.cli.escapes import unescaped
from charlm.cli.inspect_views import Asked, trace_pages
from charlm.cli.inspect_views.trace_text import headings, legend, number, one_hot, shown_places, summary, terms_of
from charlm.cli.inspect_views.words import network_words
from charlm.cli.tables_out import write_records

_FIELDS = ("phase", "step", "part", "symbol", "equation")
_COLUMNS = ("model", *_FIELDS, "row", "column", "value")
_WIDEST = 50  # of equations; longer ones go on in the next line
_UNICODE = (
    ("Gamma", "Γ"),
    ("sigma", "\N{GREEK SMALL LETTER SIGMA}"),
    ("y^<", "ŷ<"),
    ("^T", "ᵀ"),
    ("^2", "²"),
    ("sum over t of", "Σ_t"),
)


def show_trace(asked: Asked, text: str, page: Path | None) -> None:
    """Print every symbol with its numbers; write them as a page, too.

    page: FILE.md or FILE.tex, if any
    """
    from charlm.inference.trace import trace

    text = unescaped(text)
    traces = [trace(one, text) for _, one in asked.models]
    asked.warn_of_unknown(lambda one: text.split("\n") if one.is_stream else [text])
    named = list(zip(asked.short_names(), asked.models, traces, strict=True))
    if page is not None:
        sections = [(name, network_words(one.model.config), found) for name, (_, one), found in named]
        # Written before the text, whose reader may go away.
        with signals.undisturbed():
            trace_pages.write(page, text, sections)
    if asked.is_table:
        rows = (row for (name, _), found in zip(asked.models, traces, strict=True) for row in _rows(name, found))
        write_records(rows, asked.format, asked.output, _COLUMNS, has_header=asked.has_header)
        return
    for (name, language_model), found in zip(asked.models, traces, strict=True):
        if asked.format == "jsonl":
            for record in found.records:
                asked.output.line(ui.strict_json({**_record(record), **asked.name_of(name)}))
            continue
        asked.title(name)
        asked.styled(_lines(found, network_words(language_model.model.config)))


def _lines(trace: Any, network: str) -> Iterator[str]:
    """Yield the lines at a terminal: equation, shape, numbers."""
    yield network
    yield from (sentence.replace("`", "") for sentence in legend(trace))
    for title, records in headings(trace):
        yield ""
        yield painted(ui.printable(title), "1")
        width = min(_WIDEST, max(len(_in_unicode(_equation(record))) for record in records))
        shapes = [" x ".join(map(str, record.shape)) for record in records]
        wide = max(map(len, shapes))
        for record, shape in zip(records, shapes, strict=True):
            *before, last = _wrapped(_in_unicode(_equation(record)), width)
            yield from (f"  {line}" for line in before)
            first, *others = _numbers(record)
            yield f"  {last:<{width}}  {shape:>{wide}}  {painted(first, '36')}"
            yield from (f"  {'':<{width}}  {'':>{wide}}  {painted(line, '36')}" for line in others)
    yield ""
    yield summary(trace)


def _equation(record: Any) -> str:
    return f"{record.symbol} = {record.equation}" if record.equation else record.symbol


def _in_unicode(text: str) -> str:
    for plain, letter in _UNICODE:
        text = text.replace(plain, letter)
    return text


def _wrapped(text: str, width: int) -> list[str]:
    """Return an equation as lines, broken before a + or - of its sum."""
    lines = [""]
    for part in terms_of(text):
        if lines[-1] and len(lines[-1]) + len(part) >= width:
            lines.append("   ")
        lines[-1] += f" {part}" if lines[-1] else part
    return lines


def _numbers(record: Any) -> list[str]:
    """Return numbers as a line, those of a matrix as a line for each row."""
    if short := one_hot(record):
        return [short]
    values = record.values.reshape(1, -1) if record.values.ndim < 2 else record.values
    return [
        "…" if row is None else " ".join(f"{'…' if at is None else number(values[row, at]):>8}" for at in columns)
        for columns in [shown_places(values.shape[1])]
        for row in shown_places(values.shape[0])
    ]


def _record(record: Any) -> dict[str, Any]:
    return {
        **{field: getattr(record, field) for field in _FIELDS},
        "shape": list(record.shape),
        "values": record.values.tolist(),
    }


def _rows(name: str, trace: Any) -> Iterator[dict[str, Any]]:
    """Yield a row for each number, with its place in the vector or matrix."""
    for record in trace.records:
        values = record.values.reshape(-1, 1) if record.values.ndim < 2 else record.values
        for row, numbers in enumerate(values.tolist()):
            for column, value in enumerate(numbers):
                of_record = (getattr(record, field) for field in _FIELDS)
                yield dict(zip(_COLUMNS, (name, *of_record, row, column, repr(value)), strict=True))

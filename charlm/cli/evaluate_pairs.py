"""`charlm evaluate --pairs`: print how often the good sentence of a pair is likelier."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from charlm.cli import ui
from charlm.cli.tables_out import tsv_field, write_records


def print_pairs(
    language_model: Any, lines: Any, form: str, *, has_header: bool, batch_size: int, threads: int | None
) -> None:
    """Print the accuracy of each set of pairs and of all."""
    from charlm.inference.pairs import pair_accuracies, read_pairs, score_pairs

    output = ui.Output()
    with language_model.model.ops.workers.limit(threads), ui.progress_of("pair") as update:
        scored = score_pairs(language_model, read_pairs(lines), batch_size=batch_size)
        found = pair_accuracies(_counted(scored, update))
    records = [vars(one) for one in found]
    if form == "text":
        for line in _table(records):
            output.line(line)
        output.close()
        return
    if form != "jsonl":
        records = [{name: "-" if value is None else value for name, value in one.items()} for one in records]
    write_records(records, form, output, has_header=has_header)


def _counted(pairs: Iterable[Any], update: Callable[[int], Any] | None) -> Iterator[Any]:
    """Yield the same pairs, and show their number as progress."""
    for pair in pairs:
        if update is not None:
            update(1)
        yield pair


def _table(records: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines of a table with aligned columns."""
    rows = [["set", "pairs", "ties", "accuracy", "s.e."]]
    for one in records:
        error = "-" if one["standard_error"] is None else ui.figure(one["standard_error"])
        rows.append([tsv_field(one["set"]), f"{one['pairs']:,}", f"{one['ties']:,}", ui.figure(one["accuracy"]), error])
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(wide[0]), *map(str.rjust, row[1:], wide[1:])]) for row in rows]

"""`charlm rank`: print the oddest lines."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import typer

from charlm.cli import ui
from charlm.cli.options import BatchSize, By, Device, FilesArgument, ModelArgument, Threads, open_model
from charlm.cli.rank_records import Look
from charlm.cli.tables_in import Field, InputFormat, Source
from charlm.cli.tables_out import NoHeader, Records, format_of
from charlm.inference.measures import DEFAULT

_LINES = 20


def rank(
    model: ModelArgument,
    files: FilesArgument = None,
    num_lines: Annotated[
        int | None, typer.Option("-n", "--num-lines", min=1, help="Number of lines.", show_default="20")
    ] = None,
    by: By = DEFAULT,
    likeliest: Annotated[bool, typer.Option("--likeliest", help="Print the likeliest lines first.")] = False,
    above: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Only lines whose figure is above X.", show_default="--follow: from the lines before"
        ),
    ] = None,
    highlight: Annotated[
        bool,
        typer.Option(
            "--highlight", help="Mark odd runs also in a pipe, with white square brackets.", show_default=False
        ),
    ] = False,
    mask: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Score numbers as zeros: digits, hex or both. Train on text masked alike."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for new lines, as tail -F; print an odd one at once.")
    ] = False,
    field: Field = None,
    input_format: InputFormat = None,
    format: Annotated[
        Literal["text", "tsv", "csv", "jsonl"] | None,
        typer.Option(help="text: an aligned table; tsv, csv: with a header.", show_default="tsv; at a terminal: text"),
    ] = None,
    no_header: NoHeader = False,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Print the oddest lines.

    Odd runs are marked: what the model did not expect where it knew what to expect, so numbers that vary are not.
    --follow prints lines above --above. Its default follows from the last 10,000 lines, those of FILE included.

    \b
    charlm rank log new.log                             the 20 oddest lines
    charlm rank log new.log -n 5 --highlight --format text
    charlm rank log /var/log/syslog --follow            waits for more
    journalctl -f | charlm rank log --follow --above 2.5
    sed 's/[0-9]/0/g' old.log | charlm train - -o masked
    charlm rank masked new.log --mask digits            printed as they were
    """
    language_model = open_model(model, device, "rank")

    from charlm.inference.masks import unmasked_token
    from charlm.inference.rank import Measured, Measurer, Oddest
    from charlm.text.lines.reading import Placed

    _refuse(language_model, above=above, num_lines=num_lines, likeliest=likeliest, follow=follow, field=field)
    form = format_of(format, "tsv").replace("table", "text")
    look = Look.of(language_model, form, by, files or ["-"], highlight=highlight, has_rank=not follow)
    masks = [name for names in mask or () for name in names.split(",")]
    measurer = Measurer(language_model, by=by, masks=masks, batch_size=batch_size)
    if (token := unmasked_token(language_model.tokenizer, masks)) is not None:
        ui.warn(
            f"--mask {','.join(masks)}: the training text was not masked alike, it has {token!r};"
            " mask it and train again, or leave --mask out"
        )
    with language_model.model.ops.workers.limit(threads):
        if follow:
            from charlm.cli.rank_follow import Following, print_odd_lines

            following = Following(files, look, field=field, input_format=input_format, text=language_model.text)
            print_odd_lines(measurer, look, following, above=above, has_header=not no_header)
            return
        source = Source(files, field=field, input_format=input_format, own=look.names, text=language_model.text)
        lines = Placed(source.lines)
        oddest = Oddest[tuple[Measured, Any, str]](num_lines or _LINES, lowest=likeliest)
        output = ui.Output()
        with source.progress():
            for line in measurer.measure(lines):
                row, place = source.taken(), lines.places.popleft()
                if above is None or line.value > above:
                    oddest.add(line.value, (line, row, place))
        columns = [*source.columns, *look.columns]
        with Records(output, look.table, columns, has_header=not no_header) as records:
            for number, (line, row, place) in enumerate(oddest.in_order(), start=1):
                records.write(look.joined(source, measurer, line, row, place, rank=number))
    output.close()


def _refuse(
    language_model: Any, *, above: float | None, num_lines: int | None, likeliest: bool, follow: bool, field: str | None
) -> None:
    """Raise UsageError for options that do not fit each other or the model."""
    from charlm.errors import UsageError

    if above is not None and math.isnan(above):
        raise UsageError("--above is NaN", hint="give a number, such as --above 2.5")
    if follow and num_lines is not None:
        raise UsageError("--num-lines with --follow", hint="leave it out: --above X limits what is printed")
    if follow and likeliest:
        raise UsageError("--likeliest with --follow", hint="leave one of them out")
    if language_model.is_conditioned and field is not None:
        raise UsageError(
            "--field with a model trained with --condition", hint="give lines LABEL TAB TEXT: cut -f2,3 FILE"
        )

"""`charlm surprisal`: print how hard each word is to predict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

import typer

from charlm.cli import adaptation, ui
from charlm.cli.options import (
    BatchSize,
    Device,
    FilesArgument,
    ModelArgument,
    Threads,
    Unbuffered,
    open_model,
)
from charlm.cli.tables_in import Field, InputFormat, Source
from charlm.cli.tables_out import NoHeader, Records, format_of

_ENTROPIES = {"entropy", "entropy_reduction", "rank", "entred"}
# The columns of the tables of neural-complexity and of lm-zoo that have other names there, as functions of a record.
_ELSEWHERE: dict[str, Callable[[Any], Any]] = {
    "sentid": lambda one: one.line - 1,
    "sentpos": lambda one: one.position - 1,
    "wlen": lambda one: len(one.text),
    "surp": lambda one: one.surprisal,
    "entred": lambda one: one.reduction_before,
    "sentence_id": lambda one: one.line,
    "token_id": lambda one: one.position,
}


def surprisal(
    model: ModelArgument,
    files: FilesArgument = None,
    per: Annotated[
        Literal["word", "token", "region"] | None,
        typer.Option(
            metavar="UNIT",
            help="One row for each word (between white space), token or region.",
            show_default="word; with --region: region",
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(metavar="MARK", help="The mark between regions in the text, such as '|'; it is not read."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Columns of the output in order, with commas between: those of the input, those above, and sentid,"
            " sentpos, wlen, surp, entred (neural-complexity), sentence_id, token_id (lm-zoo).",
            show_default="all of the input and all above",
        ),
    ] = None,
    format: Annotated[
        Literal["tsv", "csv", "jsonl"] | None,
        typer.Option(help="Output format.", show_default="that of the input; else tsv, at a terminal a table"),
    ] = None,
    no_header: NoHeader = False,
    field: Field = None,
    input_format: InputFormat = None,
    no_eos: Annotated[bool, typer.Option("--no-eos", help="Leave the rows of <EOS>, the end of a line, out.")] = False,
    carry_state: Annotated[
        bool, typer.Option("--carry-state", help="--unit stream models: read the lines as one text.")
    ] = False,
    dynamic: adaptation.Dynamic = None,
    dynamic_length: adaptation.DynamicLength = None,
    cache: adaptation.CacheSize = None,
    cache_weight: adaptation.CacheWeight = None,
    cache_flatness: adaptation.CacheFlatness = None,
    save: adaptation.Save = None,
    overwrite: adaptation.Overwrite = False,
    batch_size: BatchSize = 64,
    unbuffered: Unbuffered = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Print how hard each word is to predict.

    The columns are those of the input, then line, position, word (or token, or region_number and region), surprisal,
    entropy, entropy_reduction, rank, tokens and oov. The unit is bits, and the surprisals of a line sum to its score.
    The entropy is that of the next token before the word. Its reduction is what the word takes from it, at least 0.
    The rank is that of the word's first token.

    \b
    charlm surprisal words items.csv --field sentence
    charlm surprisal words items.csv --field sentence --region '|'
    charlm surprisal words items.csv --field text --columns item,word,surprisal
    charlm surprisal words story.txt --columns word,sentid,sentpos,surp,entred
    """
    adapting = adaptation.Adaptation(
        dynamic, dynamic_length, cache, cache_weight, cache_flatness, save, overwrite, model, files
    )
    language_model = open_model(model, device, "surprisal")
    adapting.check(language_model)

    from charlm.inference.surprisal import surprisals

    unit = per or ("word" if region is None else "region")
    _refuse(language_model, files, unit, region=region, field=field, input_format=input_format, carry_state=carry_state)
    own = _own(unit, with_number=region is not None, with_label=language_model.is_conditioned)
    source = Source(
        files,
        field=field,
        input_format=input_format,
        own=own,
        unbuffered=unbuffered,
        keeps_text=field is not None,
        text=language_model.text,
    )
    chosen = _chosen(columns, own, source.columns)
    form = format_of(format, _form_of_input(files, field, input_format))
    measured = surprisals(
        language_model,
        source.lines,
        per=unit,
        region=region,
        has_eos=not no_eos,
        carry_state=carry_state,
        with_entropy=not _ENTROPIES.isdisjoint(chosen),
        batch_size=batch_size,
        window=1 if source.at_once else None,
        watch=_warn_of_joined_words(),
        adapter=adapting.adapter(language_model),
    )
    output = ui.Output(unbuffered=source.at_once)
    with (
        language_model.model.ops.workers.limit(threads),
        source.progress(),
        adapting.saving(measured, language_model) as found,
        Records(output, form, chosen, has_header=not no_header, at_once=source.at_once) as records,
    ):
        for record in _records(found, source, own, chosen, form, is_whole=columns is None):
            records.write(record)
    output.close()


def _own(unit: str, *, with_number: bool, with_label: bool) -> dict[str, Callable[[Any], Any]]:
    """Return the columns of a record, as functions of it."""
    own: dict[str, Callable[[Any], Any]] = {"label": lambda one: one.label} if with_label else {}
    own["line"] = lambda one: one.line
    if with_number:
        own["region_number"] = lambda one: one.region
    if unit != "region":
        own["position"] = lambda one: one.position
    own[unit] = lambda one: one.text
    return own | {
        "surprisal": lambda one: one.surprisal,
        "entropy": lambda one: one.entropy,
        "entropy_reduction": lambda one: one.entropy_reduction,
        "rank": lambda one: one.rank,
        "tokens": lambda one: one.tokens,
        "oov": lambda one: one.oov,
    }


def _chosen(columns: str | None, own: Iterable[str], of_input: Sequence[str]) -> list[str]:
    """Return the columns of the output; raise UsageError for an unknown or repeated one."""
    from charlm.errors import UsageError
    from charlm.quoting import did_you_mean

    known = [*of_input, *own]
    if columns is None:
        return known
    chosen = [name.strip() for name in columns.split(",")]
    for name in chosen:
        if name not in known and name not in _ELSEWHERE:
            raise UsageError(
                f"--columns: no column is named {name!r}",
                hint=f"{did_you_mean(name, [*known, *_ELSEWHERE])}choose from: {', '.join(known)}",
            )
        if chosen.count(name) > 1:
            raise UsageError(f"--columns names {name!r} twice", hint="name each column once")
    return chosen


def _records(
    found: Iterable[Any],
    source: Source,
    own: dict[str, Callable[[Any], Any]],
    chosen: Sequence[str],
    form: str,
    *,
    is_whole: bool,
) -> Iterator[dict[str, Any]]:
    """Yield the records with the columns of the input.

    is_whole: keep all values of the input, also keys of JSON that only some records have
    """
    functions = {**_ELSEWHERE, **own}
    mine = {name: functions[name] for name in chosen if name in own or name not in source.columns}
    line, row = 0, None
    for one in found:
        while line < one.line:
            row, line = source.taken(), line + 1
        record = source.joined(row, {name: of_record(one) for name, of_record in mine.items()}, form)
        yield record if is_whole else {name: record.get(name) for name in chosen}


def _form_of_input(files: list[str] | None, field: str | None, input_format: str | None) -> str:
    """Return the format of the output if none is named: that of the first table of the input, else TSV."""
    from charlm.text.columns import form_of

    return "tsv" if field is None else input_format or form_of((files or ["-"])[0])


def _warn_of_joined_words() -> Callable[[Any], None]:
    """Return a function of the regions of a line that warns once if two words have become one."""
    warned = False

    def watch(regions: Any) -> None:
        nonlocal warned
        if regions.joined and not warned:
            mark_removed = "without a blank beside the mark, the two sides are one word"
            ui.warn(f"{regions.joined!r}: {mark_removed}; put blanks around it to set words apart")
            warned = True

    return watch


def _refuse(
    language_model: Any,
    files: list[str] | None,
    unit: str,
    *,
    region: str | None,
    field: str | None,
    input_format: str | None,
    carry_state: bool,
) -> None:
    """Raise UsageError for options that do not fit the model, the input or each other."""
    from charlm.errors import UsageError
    from charlm.storage.files import display_name
    from charlm.text.columns import form_of

    if carry_state and not language_model.is_stream:
        raise UsageError("--carry-state with a --unit line model", hint="leave it out, or train one with --unit stream")
    if unit == "region" and region is None:
        raise UsageError("--per region without --region", hint="name the mark between regions: --region '|'")
    if region == "":
        raise UsageError("--region is empty", hint="name the mark between regions: --region '|'")
    if language_model.is_conditioned:
        if field is not None:
            raise UsageError(
                "--field with a model trained with --condition", hint="give lines LABEL TAB TEXT: cut -f2,3 FILE"
            )
        return
    # Text is the default of charlm, and TSV that of `form_of`.
    is_table = {path: form_of(path) != "tsv" or path.endswith((".tsv", ".tsv.gz")) for path in files or []}
    table = next((path for path in files or [] if is_table[path]), None)
    if field is None and input_format is None and table is not None:
        raise UsageError(
            f"no column is named, {display_name(table)} is a table",
            hint="name the column of the text with --field NAME, or read every line with --input-format text",
        )

"""`charlm evaluate`: print the figures of a model on a whole corpus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import typer

from charlm.cli import adaptation, mixing, ui
from charlm.cli.evaluate_pairs import print_pairs
from charlm.cli.options import (
    BatchSize,
    Beam,
    Device,
    FilesArgument,
    ModelArgument,
    Threads,
    input_lines,
    open_model,
    watch_encoding,
)
from charlm.cli.tables_in import Field, InputFormat, Source
from charlm.cli.tables_out import NoHeader, write_records
from charlm.cli.tag_columns import TagColumn, TokenColumn, with_columns


def evaluate(
    model: ModelArgument,
    files: FilesArgument = None,
    format: Annotated[Literal["text", "tsv", "csv", "jsonl"], typer.Option(help="Output format.")] = "text",
    no_header: NoHeader = False,
    field: Field = None,
    input_format: InputFormat = None,
    pairs: Annotated[
        bool,
        typer.Option("--pairs", help="Minimal pairs, BLiMP's JSON Lines or good TAB bad: how often good is likelier."),
    ] = False,
    beam: Beam = 1,
    dynamic: adaptation.Dynamic = None,
    dynamic_length: adaptation.DynamicLength = None,
    cache: adaptation.CacheSize = None,
    cache_weight: adaptation.CacheWeight = None,
    cache_flatness: adaptation.CacheFlatness = None,
    save: adaptation.Save = None,
    overwrite: adaptation.Overwrite = False,
    mix: mixing.Mix = None,
    tune_mix: mixing.TuneMix = None,
    batch_size: BatchSize = 64,
    token_column: TokenColumn = None,
    tag_column: TagColumn = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Print how well a model predicts a corpus.

    The corpus has the format of the training corpus.

    \b
    charlm evaluate shakespeare valid.txt
    tail -n 999 tinyshakespeare.txt | charlm evaluate shakespeare --format jsonl
    charlm evaluate shakespeare lines.csv --field text
    charlm evaluate shakespeare play.txt --dynamic 0.01
    charlm evaluate kitchen test.txt --mix 5gram.arpa --tune-mix valid.txt
    charlm evaluate tags tagged.tsv                     accuracy, F1
    charlm evaluate spanish pairs.tsv --beam 5          BLEU, chrF
    charlm evaluate sentences blimp.jsonl --pairs       accuracy by set
    """
    adapting = adaptation.Adaptation(
        dynamic, dynamic_length, cache, cache_weight, cache_flatness, save, overwrite, model, files
    )
    mixed = mixing.Mixing(mix, tune_mix, model, files)
    language_model = with_columns(open_model(model, device, "evaluate"), token_column, tag_column)
    adapting.check(language_model)
    mixed.check(language_model)

    from charlm.errors import UsageError
    from charlm.inference.figures import figures

    if beam > 1 and not language_model.facts.translates:
        raise UsageError(
            f"--beam with a --task {language_model.task} model", hint="leave it out: it is for --task translate"
        )
    if pairs:
        if adapting.is_given:
            raise UsageError("--pairs with --dynamic or --cache", hint="leave them out: each sentence is scored alone")
        if mixed:
            raise UsageError("--pairs with --mix", hint="leave one of them out")
        if field is not None or input_format not in (None, "text"):
            flag = "--input-format" if field is None else "--field"
            raise UsageError(f"{flag} with --pairs", hint="leave it out: a pair is good TAB bad, or BLiMP's JSON")
        if language_model.facts.answers != "text":
            raise UsageError(
                f"--pairs with a --task {language_model.task} model", hint="use a model of --task lm or cloze"
            )
        print_pairs(
            language_model,
            input_lines(files, watch=watch_encoding(language_model.text)),
            format,
            has_header=not no_header,
            batch_size=batch_size,
            threads=threads,
        )
        return
    if field is not None and (language_model.facts.answers != "text" or language_model.is_conditioned):
        raise UsageError(
            "--field with a model of labelled texts or pairs", hint="give lines of two columns: cut -f2,3 FILE"
        )
    output = ui.Output()
    source = Source(files, field=field, input_format=input_format, text=language_model.text)
    lines = source.lines if field is None else _texts(source)
    carries = language_model.is_stream
    mixture = adapter = None
    if mixed:
        new_scorer = adapting.scorer_maker(language_model, batch_size=batch_size, carry_state=carries)
        mixture = mixed.mixture(new_scorer, language_model, batch_size=batch_size, carry_state=carries, threads=threads)
    else:
        adapter = adapting.adapter(language_model)
    with language_model.model.ops.workers.limit(threads), ui.progress_of("token") as watch:
        record = figures(
            language_model,
            lines,
            batch_size=batch_size,
            beam=beam,
            warn=ui.warn,
            watch=watch,
            mixture=mixture,
            adapter=adapter,
        )
    adapting.write(language_model)
    if format == "jsonl":
        write_records([record], format, output)
        return
    parts = [*_by_length(record.pop("by_source_length", [])), *_by_type(record.pop("by_type", []))]
    shown = {name: "-" if value is None else value for name, value in record.items()}
    write_records([shown], format, output, has_header=not no_header)
    if parts and format == "text":
        for line in parts:
            output.line(line)
        output.close()


def _by_length(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each length of the source of a translation."""
    for row in rows:
        bleu = "-" if row["bleu"] is None else f"{row['bleu']:.4f}"
        yield f"bleu, source of {row['from']}-{row['to']} tokens ({row['sentences']:,})  {bleu}"


def _by_type(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each type of entity."""
    for row in rows:
        figures_of = "  ".join(f"{name} {row[name]:.4f}" for name in ("precision", "recall", "f1"))
        yield f"{row['type']} ({row['entities']:,})  {figures_of}"


def _texts(source: Source) -> Iterator[str]:
    """Yield the texts of a column, and forget their rows."""
    for line in source.lines:
        source.taken()
        yield line

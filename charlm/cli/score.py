"""`charlm score`: print the probability of each line."""

from __future__ import annotations

import contextlib
import sys
from functools import partial
from typing import Annotated, Any, Literal

import typer

from charlm.cli import adaptation, mixing, score_page, score_records, ui
from charlm.cli.options import (
    BatchSize,
    Device,
    FilesArgument,
    ModelArgument,
    Threads,
    Unbuffered,
    open_model,
)
from charlm.cli.pages import SUFFIXES, output_file
from charlm.cli.shards import ShardOption, shard_of, take_part
from charlm.cli.tables_in import Field, InputFormat, Source
from charlm.cli.tables_out import NoHeader, Records, format_of

_TABLES = ("tsv", "csv", "jsonl", "table")  # formats with records; the others have lines of their own


def score(
    model: ModelArgument,
    files: FilesArgument = None,
    format: Annotated[
        Literal["tsv", "csv", "text", "jsonl", "kaldi", "kenlm", "srilm"] | None,
        typer.Option(
            help="tsv, csv: with a header; text: the log-probability; jsonl: JSON Lines; kaldi: key and"
            " log-probability; kenlm, srilm: their formats.",
            show_default="tsv; at a terminal: a table",
        ),
    ] = None,
    no_header: NoHeader = False,
    per: Annotated[
        Literal["line", "word", "token"],
        typer.Option(metavar="UNIT", help="One record for each line, word (between white space) or token."),
    ] = "line",
    field: Field = None,
    input_format: InputFormat = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="kaldi: column of the keys; without --field 1: the first word."),
    ] = None,
    negate: Annotated[bool, typer.Option("--negate", help="text, kaldi: print costs, -log P.")] = False,
    log_base: Annotated[Literal["10", "2", "e"], typer.Option(help="Base of the logarithms.")] = "10",
    no_eos: Annotated[bool, typer.Option("--no-eos", help="Leave <EOS>, the end of the line, out.")] = False,
    carry_state: Annotated[
        bool, typer.Option("--carry-state", help="--unit stream models: read the lines as one text.")
    ] = False,
    suspect: Annotated[
        bool,
        typer.Option("--suspect", help="cloze: list unlikely tokens, each with a likelier one."),
    ] = False,
    suspect_factor: Annotated[
        float | None,
        typer.Option(min=1.0, help="--suspect: minimum ratio of the two probabilities.", show_default="100"),
    ] = None,
    html: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Also write FILE.html: the text, each token shaded by its surprisal."),
    ] = None,
    dynamic: adaptation.Dynamic = None,
    dynamic_length: adaptation.DynamicLength = None,
    cache: adaptation.CacheSize = None,
    cache_weight: adaptation.CacheWeight = None,
    cache_flatness: adaptation.CacheFlatness = None,
    save: adaptation.Save = None,
    overwrite: adaptation.Overwrite = False,
    mix: mixing.Mix = None,
    tune_mix: mixing.TuneMix = None,
    shard: ShardOption = None,
    batch_size: BatchSize = 64,
    unbuffered: Unbuffered = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Print the probability of each line.

    \b
    charlm score kitchen sentences.txt
    echo 'the apple and pear salad' | charlm score kitchen
    charlm score kitchen items.csv --field sentence --format csv
    charlm score kitchen nbest.txt --format kaldi --key 1 --negate --log-base e
    charlm score kitchen sentences.txt --html sentences.html
    charlm score kitchen sentences.txt --mix 5gram.arpa --tune-mix other.txt
    echo 'the apple and pair salad' | charlm score cloze --suspect
    """
    part = shard_of(shard)
    page_file = None if html is None else output_file("--html", html, SUFFIXES, [model, *(files or ["-"])])
    adapting = adaptation.Adaptation(
        dynamic, dynamic_length, cache, cache_weight, cache_flatness, save, overwrite, model, files
    )
    mixed = mixing.Mixing(mix, tune_mix, model, files)
    language_model = open_model(model, device, "score")

    adapting.check(language_model)
    mixed.check(language_model)
    _refuse(language_model, format, per, no_eos=no_eos, carry_state=carry_state)
    _refuse_suspects(language_model, format, per, suspect=suspect, factor=suspect_factor)
    _refuse_columns(language_model, format, per, field=field, key=key, negate=negate)
    if part is not None:
        _refuse_part(format, carry_state=carry_state, adapts=bool(adapting))

    from charlm.cli import lm_formats
    from charlm.inference.suspects import suspect_windows, suspects

    if format in ("kenlm", "srilm") and (per != "line" or log_base != "10"):
        ui.warn(f"--per and --log-base are ignored with --format {format}")
    form = format_of(format, "tsv")
    in_color = form == "table" and per == "line" and ui.has_color(sys.stdout)
    page = None if page_file is None else score_page.ScorePage(page_file, model, language_model)
    look = score_records.Look.of(
        language_model,
        log_base,
        per,
        with_suspects=suspect,
        shaded=partial(score_page.shaded, language_model=language_model) if in_color else None,
    )
    source = Source(
        files,
        field=field,
        input_format=input_format,
        key=key,
        own=look.names,
        unbuffered=unbuffered,
        text=language_model.text,
    )
    window = 1 if source.at_once else None
    new_scorer = adapting.scorer_maker(
        language_model,
        batch_size=batch_size,
        has_eos=not no_eos,
        per_token=per != "line" or format in ("kenlm", "srilm") or in_color or page is not None,
        carry_state=carry_state,
        window=window,
        prepare=lm_formats.without_tags(language_model.tokenizer) if format in ("kenlm", "srilm") else str,
    )
    scorer: Any = new_scorer()
    if part is not None:
        take_part(source, part, partial(suspect_windows, window=scorer.window) if suspect else scorer.windows)
    if mixed:
        scorer = mixed.mixture(
            new_scorer, language_model, batch_size=batch_size, carry_state=carry_state, threads=threads
        )
    output = ui.Output(unbuffered=source.at_once)
    with contextlib.ExitStack() as stack:
        stack.enter_context(language_model.model.ops.workers.limit(threads))
        stack.enter_context(source.progress())
        if suspect:
            factor = 100.0 if suspect_factor is None else suspect_factor
            found: Any = suspects(language_model, source.lines, factor=factor, batch_size=batch_size, window=window)
        else:
            found = scorer.score(source.lines)
        found = stack.enter_context(adapting.saving(found, language_model))
        if page is not None:
            found = stack.enter_context(page.made_of(found, with_suspects=suspect))
        if form in _TABLES:
            columns = [*source.columns, *look.columns(form)]
            has_header = not no_header and (part is None or part[0] == 1)
            with Records(output, form, columns, has_header=has_header, at_once=source.at_once) as records:
                for record in score_records.records(found, source, look, form):
                    records.write(record)
        else:
            for line in score_records.lines(found, source, look, form, negate=negate):
                output.line(line)
    output.close()


def _refuse(language_model: Any, format: str | None, per: str, *, no_eos: bool, carry_state: bool) -> None:
    """Raise UsageError for options that do not fit the model."""
    from charlm.errors import UsageError

    is_cloze = language_model.facts.is_cloze
    if carry_state and not language_model.is_stream:
        raise UsageError("--carry-state with a --unit line model", hint="leave it out, or train one with --unit stream")
    if is_cloze and format in ("kenlm", "srilm"):
        raise UsageError(f"--format {format} with a cloze model", hint="use --format tsv, csv, text or jsonl")
    if is_cloze and no_eos:
        raise UsageError("--no-eos with a cloze model", hint="leave it out: such a model does not predict <EOS>")


def _refuse_part(format: str | None, *, carry_state: bool, adapts: bool) -> None:
    """Raise UsageError for outputs that are not those of parts, one after the other."""
    from charlm.errors import UsageError

    if carry_state:
        raise UsageError("--shard with --carry-state", hint="leave it out: the lines are one text, read in order")
    if adapts:
        raise UsageError("--shard with --dynamic or --cache", hint="leave it out: the model learns the lines in order")
    if format in ("kenlm", "srilm"):
        raise UsageError(f"--shard with --format {format}", hint="use another format: this one ends with sums")


def _refuse_suspects(language_model: Any, format: str | None, per: str, *, suspect: bool, factor: float | None) -> None:
    """Raise UsageError for suspects that do not fit the model or the other options."""
    from charlm.errors import UsageError

    if factor is not None and not suspect:
        raise UsageError("--suspect-factor without --suspect", hint="add --suspect, or leave it out")
    if suspect and not language_model.facts.is_cloze:
        raise UsageError("--suspect with a --task lm model", hint="use a model that was trained with --bidirectional")
    if suspect and (per != "line" or format in ("text", "kaldi")):
        shown = f"--per {per}" if per != "line" else f"--format {format}"
        raise UsageError(f"--suspect with {shown}", hint="use --per line with --format tsv, csv or jsonl")


def _refuse_columns(
    language_model: Any, format: str | None, per: str, *, field: str | None, key: str | None, negate: bool
) -> None:
    """Raise UsageError for keys and costs without a format that has them, and for columns beside labels."""
    from charlm.errors import UsageError

    if format == "kaldi" and key is None:
        raise UsageError("--format kaldi without --key", hint="name the column of the keys: --key 1")
    if format == "kaldi" and per != "line":
        raise UsageError(f"--format kaldi with --per {per}", hint="leave --per out: Kaldi reads one score a key")
    if key is not None and format != "kaldi":
        raise UsageError("--key without --format kaldi", hint="add --format kaldi, or leave it out")
    if negate and format not in ("text", "kaldi"):
        raise UsageError("--negate without --format text or kaldi", hint="add --format text, or leave it out")
    if language_model.is_conditioned and (field is not None or key is not None):
        raise UsageError(
            "--field or --key with a model trained with --condition", hint="give lines LABEL TAB TEXT: cut -f2,3 FILE"
        )

"""`charlm generate`: draw text from a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from charlm.cli import signals, ui
from charlm.cli.choosing import Chooser, check_separator, chooser_of
from charlm.cli.escapes import unescaped
from charlm.cli.midi import check_midi, refuse_text_options
from charlm.cli.options import (
    Device,
    LabelOption,
    ModelArgument,
    Seed,
    Threads,
    Unbuffered,
    choose_seed,
    open_model,
)
from charlm.cli.prompts import read_prompt, warn_of_unknown
from charlm.cli.tables_out import NoHeader, Records

# For each text, an iterator over its pieces and a function that returns its record afterwards.
_Texts = Iterator[tuple[Iterator[str], Callable[[], dict[str, Any]]]]


def generate(
    model: ModelArgument,
    prompt: Annotated[
        str,
        typer.Option(
            "-p", "--prompt", help=r"Begin with TEXT; \n and \t are newline and tab. - reads it from standard input."
        ),
    ] = "",
    num_samples: Annotated[int, typer.Option("-n", "--num-samples", min=1, help="Number of texts.")] = 1,
    length: Annotated[int, typer.Option("-l", "--length", min=0, help="Maximum number of new tokens.")] = 200,
    temperature: Annotated[
        float, typer.Option("-t", "--temperature", help="Below 1 is safer, above 1 wilder; 0 takes the likeliest.")
    ] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Draw from the N likeliest tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option(metavar="P", help="Draw from the likeliest tokens of total probability P.")
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help=r"Stop before TEXT, in which \n is newline, \t tab; repeatable.")
    ] = None,
    allow_unk: Annotated[bool, typer.Option("--allow-unk", help="Allow <UNK> in the text.")] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="byte, subword: print bytes as they are drawn, whether they are UTF-8 or not.")
    ] = False,
    unique: Annotated[bool, typer.Option("--unique", help="Print each text once.")] = False,
    not_in: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Leave out texts that are lines of FILE; repeatable."),
    ] = None,
    best_of: Annotated[
        int | None, typer.Option(min=1, help="For each text draw N and keep the likeliest per token.")
    ] = None,
    sort: Annotated[
        Literal["score"] | None,
        typer.Option(metavar="ORDER", help="score: the likeliest first, by log-probability per token."),
    ] = None,
    min_length: Annotated[
        int | None,
        typer.Option(
            min=0, help="Keep texts of at least N characters.", show_default="0; with --unique or --not-in: 1"
        ),
    ] = None,
    max_length: Annotated[int | None, typer.Option(min=0, help="Keep texts of at most N characters.")] = None,
    no_prompt: Annotated[bool, typer.Option("--no-prompt", help="Leave the prompt out of the output.")] = False,
    separator: Annotated[
        str | None,
        typer.Option(help=r"Print TEXT between texts instead of a newline; \n, \t and \0 are understood."),
    ] = None,
    label: LabelOption = None,
    midi: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="music: also write a MIDI file; a key in consecutive steps becomes one held note.",
            readable=False,
        ),
    ] = None,
    seed: Seed = None,
    format: Annotated[Literal["text", "csv", "jsonl"], typer.Option(help="Output format.")] = "text",
    no_header: NoHeader = False,
    unbuffered: Unbuffered = False,
    device: Device = "auto",
    threads: Threads = None,
    dtype: Annotated[
        Literal["float32", "bfloat16"] | None,
        typer.Option(
            metavar="TYPE",
            help="Precision of products; bfloat16: up to twice as fast with large layers.",
            show_default="that of the weights",
        ),
    ] = None,
) -> None:
    """Draw text from a model.

    \b
    charlm generate names -n 10 -t 0.8
    charlm generate shakespeare -p "ROMEO:" -l 500 --seed 1
    echo "the apple and" | charlm generate kitchen -p - --top-k 5
    charlm generate names -n 1000 --format jsonl | jq .log10p
    charlm generate names -n 1000 --format csv > names.csv
    charlm generate names -n 10 --unique --not-in names.txt --best-of 50
    charlm generate code -n 3 --separator '\\n----\\n'
    charlm generate places --class elf -n 5             train --condition
    charlm generate tunes --class waltz -l 48 --midi waltz.mid
    """
    from charlm.config import SampleConfig
    from charlm.errors import UsageError

    stops = tuple(map(unescaped, stop or ()))
    config = SampleConfig(length, temperature, top_k, top_p, stops, allow_unk, raw)
    if raw and format == "jsonl":
        raise UsageError("--raw with --format jsonl", hint="JSON is UTF-8: use --format text or csv")
    between = check_separator(separator, format)
    chooser = chooser_of(num_samples, unique, not_in or [], best_of, sort, min_length, max_length)
    if prompt == "-" and "-" in (not_in or []):
        raise UsageError("--prompt - with --not-in -", hint="standard input is read once: name a file")
    if chooser is not None and midi is not None:
        raise UsageError("--midi with a choice of texts", hint="leave out --midi, or --unique, --best-of and the like")
    language_model = open_model(model, device, "generate").in_precision(dtype)
    text = read_prompt(prompt, language_model.text)
    if seed is None:
        seed = choose_seed()
        ui.needed(f"seed {seed}")
    asked = _Asked(text, label, seed, num_samples, chooser, not no_prompt)
    with language_model.model.ops.workers.limit(threads):
        if chooser is not None:
            chooser.read_known(language_model)
        if language_model.facts.answers == "pieces":
            refuse_text_options(top_k, top_p, stop, allow_unk, raw)
            if midi is not None:
                check_midi(midi, num_samples)
            found = _pieces(language_model, config, asked, midi)
        elif midi is not None:
            raise UsageError(f"--midi with a --task {language_model.task} model", hint="use a model of --task music")
        else:
            found = _texts(language_model, config, asked, keeps=format != "text")
        output = ui.Output(unbuffered=unbuffered)
        if format == "text":
            _print(found, output, between, goes_on=midi is not None)
        else:
            _print_records(found, output, format, seed, has_header=not no_header, has_label=bool(label))
    if chooser is not None:
        chooser.report()


@dataclass(frozen=True)
class _Asked:
    """What to draw, and what of it to print."""

    prompt: str
    label: str | None
    seed: int
    count: int
    chooser: Chooser | None
    with_prompt: bool


def _print(found: _Texts, output: ui.Output, between: str | None, *, goes_on: bool) -> None:
    """Print the texts.

    between: printed between two of them; None for a newline after each
    goes_on: draw a text to its end even if it can no longer be printed
    """
    from charlm.errors import ResourceError

    number = -1
    for number, (pieces, _) in enumerate(found):
        if number and between is not None:
            output.write(between)
        try:
            for piece in pieces:
                output.write(piece)
        except (signals.ClosedPipe, ResourceError):
            if goes_on:
                # The reader of the text has gone, but the MIDI file is written after the last step.
                for _ in pieces:
                    pass
            raise
        if between is None:
            output.line("")
    if between is not None and number >= 0:
        # Programs that read texts with a NUL after each, as xargs -0, expect it after the last one, too.
        output.write(between if "\0" in between else "\n")
    output.close()


def _print_records(
    found: _Texts, output: ui.Output, form: str, seed: int, *, has_header: bool, has_label: bool
) -> None:
    """Print a record for each text; in CSV its tokens are a JSON array."""
    import json

    columns = ["text", "tokens", "log10p", "unk_mass_rejected", *["label"] * has_label, "seed"]
    with Records(output, form, columns, has_header=has_header) as records:
        for pieces, record in found:
            for _ in pieces:
                pass
            of_text = {**record(), "seed": seed}
            if records.is_table:
                of_text["tokens"] = json.dumps(of_text["tokens"], ensure_ascii=False)
            records.write(of_text)
    output.close()


def _texts(language_model: Any, config: Any, asked: _Asked, *, keeps: bool) -> _Texts:
    """Yield the texts of a language model.

    keeps: keep the pieces for the record
    """
    from charlm.inference.generation import Sample, Sampler

    sampler = Sampler(language_model, config, label=asked.label)
    warn_of_unknown(partial(sampler.unknown, asked.prompt))
    if asked.chooser is not None:
        for one in asked.chooser.kept(lambda number: sampler.sample(asked.prompt, seed=asked.seed, number=number)):
            text = one.text if asked.with_prompt else one.new_text
            yield iter([text]), partial(_record, text, one.tokens, one, asked.label)
        return
    for number in range(asked.count):
        sample, written = Sample(), list[str]()
        pieces = sampler.pieces(
            asked.prompt, seed=asked.seed, number=number, into=sample, with_prompt=asked.with_prompt
        )

        def watched(pieces: Iterator[str] = pieces, written: list[str] = written) -> Iterator[str]:
            for piece in pieces:
                if keeps:
                    written.append(piece)
                yield piece

        def record(sample: Sample = sample, written: list[str] = written) -> dict[str, Any]:
            return _record("".join(written), sample.tokens, sample, asked.label)

        yield watched(), record


def _record(text: str, tokens: list[str], drawn: Any, label: str | None) -> dict[str, Any]:
    import math

    known = {"text": text, "tokens": tokens, "log10p": drawn.log_prob / math.log(10.0)}
    return {**known, "unk_mass_rejected": drawn.unk_mass_rejected} | ({"label": label} if label else {})


def _pieces(language_model: Any, config: Any, asked: _Asked, midi: Path | None) -> _Texts:
    """Yield the pieces of a model of music, step by step."""
    from charlm.inference.music import Piece, PieceSampler, write_midi

    sampler = PieceSampler(language_model, config)
    how: dict[str, Any] = {"label": asked.label, "seed": asked.seed}

    def record(drawn: Piece) -> dict[str, Any]:
        text = drawn.text if asked.with_prompt else drawn.new_text
        return _record(text, text.split(), drawn, asked.label)

    if asked.chooser is not None:
        for one in asked.chooser.kept(lambda number: sampler.sample(asked.prompt, number=number, **how)):
            yield iter([one.text if asked.with_prompt else one.new_text]), partial(record, one)
        return
    for number in range(asked.count):
        drawn = Piece()

        def steps(drawn: Piece = drawn, number: int = number) -> Iterator[str]:
            space = ""
            for step in sampler.steps(asked.prompt, number=number, into=drawn, **how):
                if asked.with_prompt or len(drawn.steps) > drawn.start:
                    yield space + step
                    space = " "
            if midi is not None:
                with signals.undisturbed():
                    write_midi(midi, drawn.steps)

        yield steps(), partial(record, drawn)

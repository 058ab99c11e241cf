"""`charlm score`: print the probability of each line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import typer

from charlm.cli import ui
from charlm.cli.options import (
    BatchSize,
    Device,
    FilesArgument,
    ModelArgument,
    Threads,
    Unbuffered,
    input_lines,
    open_model,
)

_BASES = {"10": ("log10p", math.log(10.0)), "2": ("log2p", math.log(2.0)), "e": ("lnp", 1.0)}


def score(
    model: ModelArgument,
    files: FilesArgument = None,
    format: Annotated[
        Literal["tsv", "text", "jsonl", "kenlm", "srilm"],
        typer.Option(
            help="tsv: with a header; text: the log-probability; jsonl: JSON Lines; kenlm, srilm: their formats."
        ),
    ] = "tsv",
    per: Annotated[Literal["line", "token"], typer.Option(help="One record for each line or token.")] = "line",
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
    batch_size: BatchSize = 64,
    unbuffered: Unbuffered = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Print the probability of each line.

    \b
    charlm score kitchen.safetensors sentences.txt
    printf 'the apple and pair salad\\nthe apple and pear salad\\n' | charlm score kitchen.safetensors -
    charlm score log.safetensors app.log | sort -n | head           the oddest lines of a log
    charlm score kitchen.safetensors nbest.txt --format text        just the numbers, for rescoring
    echo 'the apple and pair salad' | charlm score cloze.safetensors --suspect
    """
    language_model = open_model(model, device, "score")

    is_cloze = language_model.facts.is_cloze
    _refuse(language_model, format, per, no_eos, carry_state, suspect, suspect_factor)

    from charlm.cli import lm_formats
    from charlm.inference.scoring import Scorer
    from charlm.inference.suspects import suspects

    if format in ("kenlm", "srilm") and (per == "token" or log_base != "10"):
        ui.warn(f"--per and --log-base are ignored with --format {format}")
    scorer = Scorer(
        language_model,
        batch_size=batch_size,
        has_eos=not no_eos,
        per_token=per == "token" or format in ("kenlm", "srilm"),
        carry_state=carry_state,
        window=1 if unbuffered else None,
        prepare=lm_formats.without_tags(language_model.tokenizer) if format in ("kenlm", "srilm") else str,
    )
    output = ui.Output(unbuffered=unbuffered)
    key, unit = _BASES[log_base]
    key = "pseudo_" + key if is_cloze else key
    with language_model.model.ops.workers.limit(threads):
        read = input_lines(files)
        scores = scorer.score(read)  # a generator: --suspect reads the lines itself
        if suspect:
            found = suspects(
                language_model,
                read,
                factor=100.0 if suspect_factor is None else suspect_factor,
                batch_size=batch_size,
                window=1 if unbuffered else None,
            )
            lines = _suspects(found, key, unit, format)
        elif format == "kenlm":
            lines = lm_formats.kenlm(scores)
        elif format == "srilm":
            lines = lm_formats.srilm(scores)
        elif format == "jsonl":
            lines = (ui.strict_json(_record(one, key, unit, per)) for one in scores)
        elif format == "text":
            lines = _text(scores, unit, per)
        else:
            lines = _tsv(scores, key, unit, per, labelled=language_model.is_conditioned)
        for line in lines:
            output.line(line)
    output.close()


def _refuse(
    language_model: Any,
    format: str,
    per: str,
    no_eos: bool,
    carry_state: bool,
    suspect: bool,
    suspect_factor: float | None,
) -> None:
    """Raise UsageError for options that do not fit the model or each other."""
    from charlm.errors import UsageError

    is_cloze = language_model.facts.is_cloze
    if carry_state and not language_model.is_stream:
        raise UsageError("--carry-state with a --unit line model", hint="leave it out, or train one with --unit stream")
    if is_cloze and format in ("kenlm", "srilm"):
        raise UsageError(f"--format {format} with a cloze model", hint="use --format tsv, text or jsonl")
    if is_cloze and no_eos:
        raise UsageError("--no-eos with a cloze model", hint="leave it out: such a model does not predict <EOS>")
    if suspect_factor is not None and not suspect:
        raise UsageError("--suspect-factor without --suspect", hint="add --suspect, or leave it out")
    if suspect and not is_cloze:
        raise UsageError("--suspect with a --task lm model", hint="use a model that was trained with --bidirectional")
    if suspect and (per == "token" or format == "text"):
        raise UsageError(
            "--suspect with --per token or --format text", hint="use --per line with --format tsv or jsonl"
        )


def _record(score: Any, key: str, unit: float, per: str) -> dict[str, Any]:
    record = {
        "text": score.text,
        key: -score.nats / unit + 0.0,
        _named("prob", key): score.prob,
        "tokens": score.tokens,
        "oov": score.oov,
        _named("perplexity", key): score.perplexity,
        _named("bits_per_char", key): score.bits_per_char,
    }
    if score.label:
        record["label"] = score.label
    if per == "token":
        record["token_scores"] = [
            {"token": t.token, key: -t.nats / unit + 0.0, "oov": t.oov} for t in score.token_scores
        ]
    return record


def _text(scores: Any, unit: float, per: str) -> Iterator[str]:
    for score in scores:
        nats = [token.nats for token in score.token_scores] if per == "token" else [score.nats]
        yield " ".join(ui.figure(-n / unit) for n in nats)


def _named(name: str, key: str) -> str:
    """Return the name of a figure, with `pseudo_` before it if the key has it."""
    return f"pseudo_{name}" if key.startswith("pseudo_") else name


def _suspects(found: Any, key: str, unit: float, format: str) -> Iterator[str]:
    """Yield each line with its suspects, as token>suggestion."""
    if format == "tsv":
        yield f"{key}\ttokens\toov\tsuspects\ttext"
    for score, suspicious in found:
        if format == "jsonl":
            listed = [
                {
                    "position": one.position,
                    "token": one.token,
                    key: -one.nats / unit,
                    "suggestion": one.suggestion.token,
                    "prob": one.suggestion.prob,
                }
                for one in suspicious
            ]
            yield ui.strict_json({**_record(score, key, unit, "line"), "suspects": listed})
        else:
            named = " ".join(ui.tsv_field(f"{one.token}>{one.suggestion.token}") for one in suspicious)
            yield f"{ui.figure(-score.nats / unit)}\t{score.tokens}\t{score.oov}\t{named}\t{score.text}"


def _tsv(scores: Any, key: str, unit: float, per: str, *, labelled: bool) -> Iterator[str]:
    """Yield a header, then a row for each line, or for each token with the number of its line."""
    if per == "line":
        label = ["label"] if labelled else []
        yield "\t".join([key, "tokens", "oov", _named("perplexity", key), *label, "text"])
        for s in scores:
            text = f"{s.label}\t{s.text}" if labelled else s.text
            yield f"{ui.figure(-s.nats / unit)}\t{s.tokens}\t{s.oov}\t{ui.figure(s.perplexity)}\t{text}"
        return
    yield f"line\ttoken\t{key}\toov"
    for number, s in enumerate(scores, start=1):
        for token in s.token_scores:
            yield f"{number}\t{ui.tsv_field(token.token)}\t{ui.figure(-token.nats / unit)}\t{int(token.oov)}"

"""`charlm score`: the probability of each line."""

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
        typer.Option(help="TSV with a header; the log-probability alone; JSON Lines; as KenLM or SRILM print it."),
    ] = "tsv",
    per: Annotated[Literal["line", "token"], typer.Option(help="A record for each line, or for each token.")] = "line",
    log_base: Annotated[Literal["10", "2", "e"], typer.Option(help="Base of the logarithms.")] = "10",
    no_eos: Annotated[bool, typer.Option("--no-eos", help="Leave the end of the line out.")] = False,
    carry_state: Annotated[
        bool, typer.Option("--carry-state", help="Read the lines as one text; for stream models.")
    ] = False,
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
    """
    language_model = open_model(model, device)
    if carry_state and not language_model.is_stream:
        from charlm.errors import UsageError

        raise UsageError("--carry-state with a model of lines", hint="it was trained to begin each line anew: leave it")

    from charlm.cli import lm_formats
    from charlm.scoring import Scorer

    if format in ("kenlm", "srilm") and (per == "token" or log_base != "10"):
        ui.warn(f"--format {format} has its own tokens and logarithms: --per and --log-base are ignored")
    scorer = Scorer(
        language_model,
        batch_size=batch_size,
        has_eos=not no_eos,
        per_token=per == "token" or format in ("kenlm", "srilm"),
        carry_state=carry_state,
        window=1 if unbuffered else None,
    )
    output = ui.Output(unbuffered=unbuffered)
    key, unit = _BASES[log_base]
    with language_model.model.ops.threads(threads):
        scores = scorer.score(input_lines(files))
        if format == "kenlm":
            lines = lm_formats.kenlm(scores)
        elif format == "srilm":
            lines = lm_formats.srilm(scores)
        elif format == "jsonl":
            lines = (ui.strict_json(_record(one, key, unit, per)) for one in scores)
        elif format == "text":
            lines = _text(scores, unit, per)
        else:
            lines = _tsv(scores, key, unit, per)
        for line in lines:
            output.line(line)
    output.close()


def _record(score: Any, key: str, unit: float, per: str) -> dict[str, Any]:
    record = {
        "text": score.text,
        key: -score.nats / unit + 0.0,
        "prob": score.prob,
        "tokens": score.tokens,
        "oov": score.oov,
        "perplexity": score.perplexity,
        "bits_per_char": score.bits_per_char,
    }
    if per == "token":
        record["token_scores"] = [
            {"token": t.token, key: -t.nats / unit + 0.0, "oov": t.oov} for t in score.token_scores
        ]
    return record


def _text(scores: Any, unit: float, per: str) -> Iterator[str]:
    for score in scores:
        nats = [token.nats for token in score.token_scores] if per == "token" else [score.nats]
        yield " ".join(f"{-n / unit + 0.0:.4f}" for n in nats)


def _tsv(scores: Any, key: str, unit: float, per: str) -> Iterator[str]:
    """With --per token, a line for each token, numbered by line; one line in is one line out only with --per line."""
    if per == "line":
        yield f"{key}\ttokens\toov\tperplexity\ttext"
        for s in scores:
            yield f"{-s.nats / unit + 0.0:.4f}\t{s.tokens}\t{s.oov}\t{s.perplexity:.4f}\t{s.text}"
        return
    yield f"line\ttoken\t{key}\toov"
    for number, s in enumerate(scores, start=1):
        for token in s.token_scores:
            yield f"{number}\t{ui.tsv_field(token.token)}\t{-token.nats / unit + 0.0:.4f}\t{int(token.oov)}"

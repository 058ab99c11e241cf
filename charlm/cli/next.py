"""`charlm next`: list the likeliest next tokens."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import typer

from charlm.cli import ui
from charlm.cli.options import Device, LabelOption, ModelArgument, Threads, open_model
from charlm.cli.prompts import read_prompt, warn_of_unknown
from charlm.cli.tables_out import NoHeader, format_of, write_records


def next(
    model: ModelArgument,
    prompt: Annotated[
        str,
        typer.Option(
            "-p", "--prompt", help=r"The text before; \n and \t are newline and tab. - reads it from standard input."
        ),
    ] = "",
    num_candidates: Annotated[int, typer.Option("-k", "--num-candidates", min=1, help="Number of tokens.")] = 10,
    label: LabelOption = None,
    format: Annotated[
        Literal["tsv", "csv", "jsonl"] | None,
        typer.Option(help="Output format.", show_default="tsv; at a terminal: a table"),
    ] = None,
    no_header: NoHeader = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """List the likeliest next tokens.

    The probabilities are the model's own, as charlm score has them. <EOS> is the end of the line, <UNK> all unknown
    tokens together.

    \b
    charlm next names -p Tri
    charlm next kitchen -p "the old cook" -k 5 --format jsonl
    charlm next names                                   how a name begins
    """
    language_model = open_model(model, device, "next")
    text = read_prompt(prompt, language_model.text)

    from charlm.config import SampleConfig
    from charlm.inference.generation import Sampler
    from charlm.inference.next_tokens import next_tokens

    output = ui.Output()
    warn_of_unknown(partial(Sampler(language_model, SampleConfig(), label=label).unknown, text))
    with language_model.model.ops.workers.limit(threads):
        found = next_tokens(language_model, text, candidates=num_candidates, label=label)
    records = ({"token": one.token, "prob": one.prob, "log10p": one.log10p} for one in found)
    write_records(records, format_of(format, "tsv"), output, has_header=not no_header)

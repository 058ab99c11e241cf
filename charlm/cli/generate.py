"""`charlm generate`: draw text from a model."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from charlm.cli import ui
from charlm.cli.options import Device, ModelArgument, Seed, Threads, Unbuffered, choose_seed, open_model


def generate(
    model: ModelArgument,
    prompt: Annotated[
        str, typer.Option("-p", "--prompt", help="Begin with TEXT; - reads it from standard input.")
    ] = "",
    num_samples: Annotated[int, typer.Option("-n", "--num-samples", min=1, help="How many texts.")] = 1,
    length: Annotated[int, typer.Option("-l", "--length", min=0, help="New tokens at most.")] = 200,
    temperature: Annotated[
        float, typer.Option("-t", "--temperature", help="Below 1 safer, above 1 wilder, 0 always the likeliest.")
    ] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Draw from the K likeliest tokens.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw from the likeliest tokens of this mass.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End before TEXT; repeatable.")] = None,
    allow_unk: Annotated[bool, typer.Option("--allow-unk", help="Let <UNK> be drawn.")] = False,
    seed: Seed = None,
    format: Annotated[Literal["text", "jsonl"], typer.Option(help="Output format.")] = "text",
    unbuffered: Unbuffered = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Draw text from a model.

    \b
    charlm generate names.safetensors -n 10 -t 0.8
    charlm generate shakespeare.safetensors -p "ROMEO:" -l 500 --seed 1
    echo "the apple and" | charlm generate kitchen.safetensors -p - --top-k 5
    charlm generate names.safetensors -n 1000 --format jsonl | jq .log10p
    """
    from charlm.config import SampleConfig

    config = SampleConfig(length, temperature, top_k, top_p, tuple(stop or ()), allow_unk)
    text = _read_prompt() if prompt == "-" else prompt
    language_model = open_model(model, device)
    if seed is None:
        seed = choose_seed()
        ui.note(f"seed {seed}")

    import math

    from charlm.generation import Sample, Sampler

    sampler = Sampler(language_model, config)
    if unknown := sampler.unknown(text):
        shown = ", ".join(map(repr, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        ui.warn(f"the prompt has tokens that the model does not know, read as <UNK>: {shown}")
    output = ui.Output(unbuffered=unbuffered)
    with language_model.model.ops.threads(threads):
        for number in range(num_samples):
            if format == "text":
                for piece in sampler.pieces(text, seed=seed, number=number):
                    output.write(piece)
                output.write("\n")
                continue
            sample: Sample = sampler.sample(text, seed=seed, number=number)
            record = {"text": sample.text, "tokens": sample.tokens, "log10p": sample.log_prob / math.log(10.0)}
            output.line(ui.strict_json({**record, "unk_mass_rejected": sample.unk_mass_rejected, "seed": seed}))
    output.close()


def _read_prompt() -> str:
    from charlm.text import read_lines

    return "\n".join(read_lines(["-"], errors="keep"))

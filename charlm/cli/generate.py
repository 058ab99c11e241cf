"""`charlm generate`: draw text from a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from charlm.cli import signals, ui
from charlm.cli.completion import complete_label
from charlm.cli.options import Device, ModelArgument, Seed, Threads, Unbuffered, choose_seed, open_model, texts

_LONGEST_SHOWN = 40  # characters of an unknown token
_MIDI_MARK = b"MThd"  # first bytes of a MIDI file: no other file is overwritten


def generate(
    model: ModelArgument,
    prompt: Annotated[
        str, typer.Option("-p", "--prompt", help="Begin with TEXT; - reads it from standard input.")
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
    stop: Annotated[list[str] | None, typer.Option(help="Stop before TEXT; repeatable.")] = None,
    allow_unk: Annotated[bool, typer.Option("--allow-unk", help="Allow <UNK> in the text.")] = False,
    label: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="LABEL",
            help="Label for a model trained with --condition.",
            autocompletion=complete_label,
        ),
    ] = None,
    midi: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="music: also write a MIDI file; a key in consecutive steps becomes one held note.",
            readable=False,
        ),
    ] = None,
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
    charlm generate places.safetensors --class elf -n 5             train --condition
    charlm generate tunes.safetensors --class waltz -l 48 --midi waltz.mid
    """
    from charlm.config import SampleConfig
    from charlm.errors import ResourceError, UsageError

    config = SampleConfig(length, temperature, top_k, top_p, tuple(stop or ()), allow_unk)
    text = _read_prompt() if prompt == "-" else prompt
    language_model = open_model(model, device, "generate")
    if seed is None:
        seed = choose_seed()
        ui.needed(f"seed {seed}")
    output = ui.Output(unbuffered=unbuffered)
    with language_model.model.ops.workers.limit(threads):
        if language_model.facts.answers == "pieces":
            _refuse_of_music(top_k, top_p, stop, allow_unk, midi, num_samples)
            records = _pieces(language_model, config, text, label, seed, num_samples, midi)
        else:
            if midi is not None:
                raise UsageError(
                    f"--midi with a --task {language_model.task} model", hint="use a model of --task music"
                )
            records = _texts(language_model, config, text, label, seed, num_samples, keeps=format == "jsonl")
        for pieces, record in records:
            try:
                for piece in pieces:
                    if format == "text":
                        output.write(piece)
            except (signals.ClosedPipe, ResourceError):
                if midi is not None:
                    # The reader of the text has gone, but the MIDI file is written after the last step.
                    for _ in pieces:
                        pass
                raise
            output.line("" if format == "text" else ui.strict_json({**record(), "seed": seed}))
    output.close()


def _texts(
    language_model: Any, config: Any, prompt: str, label: str | None, seed: int, count: int, *, keeps: bool
) -> Iterator[tuple[Iterator[str], Callable[[], dict[str, Any]]]]:
    """Yield for each text an iterator over its pieces and a function that returns its record afterwards.

    keeps: keep the pieces for the record
    """
    import math

    from charlm.inference.generation import Sample, Sampler

    sampler = Sampler(language_model, config, label=label)
    if unknown := sampler.unknown(prompt, most=6):
        shown = ", ".join(map(_shown, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        ui.warn(f"the prompt has unknown tokens, read as <UNK>: {shown}")
    for number in range(count):
        sample, written = Sample(), list[str]()

        def pieces(sample: Sample = sample, number: int = number, written: list[str] = written) -> Iterator[str]:
            for piece in sampler.pieces(prompt, seed=seed, number=number, into=sample):
                if keeps:
                    written.append(piece)
                yield piece

        def record(sample: Sample = sample, written: list[str] = written) -> dict[str, Any]:
            known = {"text": "".join(written), "tokens": sample.tokens, "log10p": sample.log_prob / math.log(10.0)}
            return {**known, "unk_mass_rejected": sample.unk_mass_rejected} | ({"label": label} if label else {})

        yield pieces(), record


def _shown(token: str) -> str:
    """Return a token in quotation marks, cut if it is long: a text without spaces may be one word."""
    return repr(token) if len(token) <= _LONGEST_SHOWN else f"{token[:_LONGEST_SHOWN]!r}..."


def _pieces(
    language_model: Any, config: Any, prompt: str, label: str | None, seed: int, count: int, midi: Path | None
) -> Iterator[tuple[Iterator[str], Callable[[], dict[str, Any]]]]:
    """Yield for each piece of music an iterator over its steps and a function that returns its record afterwards."""
    import math

    from charlm.inference.music import Piece, PieceSampler, write_midi

    sampler = PieceSampler(language_model, config)
    for number in range(count):
        drawn = Piece()

        def steps(drawn: Piece = drawn, number: int = number) -> Iterator[str]:
            space = ""
            for step in sampler.steps(prompt, label=label, seed=seed, number=number, into=drawn):
                yield space + step
                space = " "
            if midi is not None:
                with signals.undisturbed():
                    write_midi(midi, drawn.steps)

        def record(drawn: Piece = drawn) -> dict[str, Any]:
            known = {"text": drawn.text, "tokens": drawn.text.split(), "log10p": drawn.log_prob / math.log(10.0)}
            return {**known, "unk_mass_rejected": 0.0} | ({"label": label} if label else {})

        yield steps(), record


def _refuse_of_music(
    top_k: int | None, top_p: float | None, stop: list[str] | None, unk: bool, midi: Path | None, count: int
) -> None:
    from charlm.errors import UsageError
    from charlm.storage.files import check_writable

    for flag, given in (("--top-k", top_k), ("--top-p", top_p), ("--stop", stop or None), ("--allow-unk", unk or None)):
        if given is not None:
            raise UsageError(f"{flag} with a --task music model", hint="leave it out: each key is drawn independently")
    if midi is not None:
        if count > 1:
            raise UsageError("--midi with --num-samples", hint="leave one of them out: a MIDI file contains one piece")
        if midi.name in ("", "-", ".."):
            raise UsageError(f"--midi {midi} does not name a file", hint="name a new file, or a MIDI file to overwrite")
        with signals.undisturbed():
            check_writable(midi)
        if not _may_be_replaced(midi):
            raise UsageError(
                f"--midi: {midi} exists and is not a MIDI file", hint="name a new file, or a MIDI file to overwrite"
            )


def _may_be_replaced(path: Path) -> bool:
    """Return whether a file is missing, empty or a MIDI file; an unreadable file must not be replaced."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MIDI_MARK)) in (b"", _MIDI_MARK)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _read_prompt() -> str:
    # Read in blocks, because the lines of a long prompt would take several times its size.
    return "".join(texts(["-"], errors="keep").blocks()).removesuffix("\n")

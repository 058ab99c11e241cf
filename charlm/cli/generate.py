"""`charlm generate`: draw text from a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from charlm.cli import signals, ui
from charlm.cli.options import Device, ModelArgument, Seed, Threads, Unbuffered, choose_seed, open_model, texts

_LONGEST_SHOWN = 40  # characters of an unknown token
_MIDI_MARK = b"MThd"  # that a MIDI file begins with: nothing else is overwritten


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
    label: Annotated[
        str | None, typer.Option("--class", metavar="LABEL", help="What a conditioned model is to begin with.")
    ] = None,
    midi: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="music: write the piece as a MIDI file, too; a key in consecutive steps becomes one held note.",
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
        if language_model.task == "music":
            _refuse_of_music(top_k, top_p, stop, allow_unk, midi, num_samples)
            records = _pieces(language_model, config, text, label, seed, num_samples, midi)
        else:
            if midi is not None:
                raise UsageError("--midi with a model of text", hint="train one with --task music")
            records = _texts(language_model, config, text, label, seed, num_samples, keeps=format == "jsonl")
        for pieces, record in records:
            try:
                for piece in pieces:
                    if format == "text":
                        output.write(piece)
            except (signals.ClosedPipe, ResourceError):
                if midi is not None:
                    # Nobody reads the text, but the file is to be whole: it is written behind the last piece.
                    for _ in pieces:
                        pass
                raise
            output.line("" if format == "text" else ui.strict_json({**record(), "seed": seed}))
    output.close()


def _texts(
    language_model: Any, config: Any, prompt: str, label: str | None, seed: int, count: int, *, keeps: bool
) -> Iterator[tuple[Iterator[str], Callable[[], dict[str, Any]]]]:
    """Yield for each text its pieces, as they are drawn, and what makes its record once they are.

    keeps: whether a record will be asked for, which has the whole text
    """
    import math

    from charlm.inference.generation import Sample, Sampler

    sampler = Sampler(language_model, config, label=label)
    if unknown := sampler.unknown(prompt, most=6):
        shown = ", ".join(map(_shown, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        ui.warn(f"the prompt has tokens that the model does not know, read as <UNK>: {shown}")
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
    """Return a token in quotation marks, the end of a long one left out: a text without spaces may be one word."""
    return repr(token) if len(token) <= _LONGEST_SHOWN else f"{token[:_LONGEST_SHOWN]!r}..."


def _pieces(
    language_model: Any, config: Any, prompt: str, label: str | None, seed: int, count: int, midi: Path | None
) -> Iterator[tuple[Iterator[str], Callable[[], dict[str, Any]]]]:
    """Yield for each piece of music its steps, as they are drawn, and what makes its record once they are."""
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
            raise UsageError(f"{flag} with a model of music", hint="each key is drawn by itself: leave it out")
    if midi is not None:
        if count > 1:
            raise UsageError("--midi with --num-samples", hint="a MIDI file holds one piece: leave one out")
        if midi.name in ("", "-", ".."):
            raise UsageError(f"--midi {midi} does not name a file", hint="name a new file, or a MIDI file to overwrite")
        with signals.undisturbed():
            check_writable(midi)
        if not _may_be_replaced(midi):
            raise UsageError(
                f"--midi: {midi} exists and is not a MIDI file", hint="name a new file, or a MIDI file to overwrite"
            )


def _may_be_replaced(path: Path) -> bool:
    """Return whether a file is missing, empty or a MIDI file; one that cannot be read may hold anything."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MIDI_MARK)) in (b"", _MIDI_MARK)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _read_prompt() -> str:
    # In blocks: the lines of a long prompt would take several times its size.
    return "".join(texts(["-"], errors="keep").blocks()).removesuffix("\n")

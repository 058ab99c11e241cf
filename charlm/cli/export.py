"""`charlm export`: write a model for another program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from charlm.cli import signals, ui
from charlm.cli.options import ModelArgument, open_model, refuse_same_file
from charlm.exchange.options import PRECISIONS, SIGNATURES, SUFFIXES, Options


def export(
    model: ModelArgument,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="File to write: FILE.onnx, FILE.safetensors or FILE.html."),
    ] = None,
    to: Annotated[
        Literal[tuple(SUFFIXES)] | None,  # type: ignore[valid-type]
        typer.Option(
            metavar="FORMAT", help="onnx, torch for arrays of torch.nn, or page.", show_default="by the suffix"
        ),
    ] = None,
    signature: Annotated[
        Literal[SIGNATURES] | None,  # type: ignore[valid-type]
        typer.Option(
            help="onnx: read whole sequences, one token a call, or as sherpa-onnx expects of a language model.",
            show_default="sequence",
        ),
    ] = None,
    tokens: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="--signature sherpa: tokens.txt of the acoustic model, whose ids it has.",
            readable=False,
        ),
    ] = None,
    precision: Annotated[
        Literal[PRECISIONS] | None,  # type: ignore[valid-type]
        typer.Option(help="page: of its weights; float16 halves it.", show_default="float32"),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="torch: print the lines of Python that load the file.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a model for another program.

    An ONNX file has the vocabulary and all facts of the model in its metadata. It returns ln P. States go in and come
    out. A page is one HTML file in which a browser runs the model. What cannot be computed there is refused.

    \b
    charlm export names -o names.onnx
    charlm export names -o names.onnx --signature step
    charlm export names -o names_torch.safetensors --to torch --show
    charlm export names -o names.html
    """
    from charlm.errors import UsageError
    from charlm.exchange.formats import export as exported
    from charlm.exchange.formats import loading_code
    from charlm.storage.container import existing

    if output is None and not show:
        raise UsageError("no file to write", hint="name it: -o FILE.onnx, -o FILE.safetensors or -o FILE.html")
    if output is None and to is None:
        raise UsageError("--show without a format", hint="add --to torch")
    if output is not None:
        read = [existing(model), *([tokens] if tokens is not None else [])]
        refuse_same_file(map(str, read), output, hint="name another file for the output")
        check_new(output, force=force)
    language_model = open_model(model, "cpu", "export")
    # Made before the file is written: what cannot be shown is refused.
    code = loading_code(language_model, output or Path("model_torch.safetensors"), to=to) if show else ""
    if output is not None:
        with signals.undisturbed():
            lines = exported(language_model, output, to=to, options=Options(signature, tokens, precision))
        for line in lines:
            ui.note(line)
    if show:
        out = ui.Output()
        out.write(code)
        out.close()


def check_new(path: Path, *, force: bool) -> None:
    """Check before any work that a file can be written; raise UsageError if it exists and is not to be overwritten."""
    from charlm.errors import UsageError
    from charlm.storage.files import check_writable, display_name

    if path.exists() and not force:
        raise UsageError(f"file exists, {display_name(path)}", hint="add --force to overwrite it, or name another file")
    with signals.undisturbed():
        check_writable(path)

"""`charlm import`: read a model of another program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from charlm.cli import signals, ui
from charlm.cli.export import check_new
from charlm.cli.options import Activation, refuse_same_file


def import_(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="ONNX or safetensors file.", show_default=False, readable=False),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="MODEL", help="Model file to write.")],
    vocabulary: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Tokens in the order of their ids: one a line, or JSON.", readable=False),
    ] = None,
    level: Annotated[
        Literal["char", "word"] | None,
        typer.Option(help="What a token is.", show_default="char if each token is one character"),
    ] = None,
    unit: Annotated[
        Literal["line", "stream"],
        typer.Option(help="What comes before the first token. stream: the end of a sentence, line: the zero vector."),
    ] = "stream",
    activation: Activation = "tanh",
    eos: Annotated[
        str | None, typer.Option(help="Token for the end of a sentence.", show_default="the usual names")
    ] = None,
    unk: Annotated[str | None, typer.Option(help="Token for unknown tokens.", show_default="the usual names")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Read a model of another program.

    FILE is what charlm export has written, or a state_dict of PyTorch in a safetensors file. A state_dict has
    nn.Embedding, nn.LSTM, nn.GRU or nn.RNN, and nn.Linear, and needs --vocabulary.

    \b
    charlm import names.onnx -o names.safetensors
    charlm import lm_torch.safetensors -o lm --vocabulary tokens.txt
    """
    from charlm import checkpoint
    from charlm.cli.escapes import unescaped
    from charlm.cli.training_output import output_files
    from charlm.errors import UsageError
    from charlm.exchange.formats import import_from
    from charlm.exchange.state_dict import Reading, read_vocabulary

    model, _ = output_files(output)
    read = [file, *([vocabulary] if vocabulary is not None else [])]
    refuse_same_file(map(str, read), model, hint="name another file for the model")
    check_new(model, force=force)
    reading = None
    given = [flag for flag, value in (("--level", level), ("--eos", eos), ("--unk", unk)) if value is not None]
    if vocabulary is None and given:
        raise UsageError(f"{given[0]} without --vocabulary", hint="only a state_dict of PyTorch needs it")
    if vocabulary is not None:
        special = (None if token is None else unescaped(token) for token in (eos, unk))
        reading = Reading(read_vocabulary(vocabulary), level, unit, activation, *special)
    language_model = import_from(file, reading=reading)
    with signals.undisturbed():
        checkpoint.save(model, language_model)
    config = language_model.model.config
    ui.note(
        f"{config.cell} {config.num_layers} x {config.hidden_size}, {language_model.text.level} level, "
        f"{config.vocabulary_size:,} tokens, {language_model.model.parameters.count:,} parameters"
    )

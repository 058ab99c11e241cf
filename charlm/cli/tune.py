"""`charlm tune`: search for the settings with the lowest validation loss."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from charlm.cli import signals, ui
from charlm.cli.command import TrainingCommand
from charlm.cli.options import CorpusArgument
from charlm.cli.tables_out import NoHeader
from charlm.cli.train import train
from charlm.cli.tuning_run import TuningRun, is_training_setting

COMMAND = TrainingCommand


def tune(
    context: typer.Context,
    corpus: CorpusArgument,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="Model file to write.", show_default=False, readable=False),
    ],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the model file.")] = False,
    minutes: Annotated[float | None, typer.Option(metavar="N", help="Search for about N minutes.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Run N trials, stopped ones included.")] = None,
    trial_minutes: Annotated[
        float | None,
        typer.Option(
            metavar="N", help="Train each trial for N minutes.", show_default="as train does, at most --minutes / 8"
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Share the search with other processes, and continue it: sqlite:///FILE."),
    ] = None,
    format: Annotated[Literal["text", "tsv", "csv", "jsonl"], typer.Option(help="Output format.")] = "text",
    no_header: NoHeader = False,
    **settings: Any,
) -> None:
    """Search for the best settings of a training.

    The best ones have the lowest validation loss. The first trial has the settings that `charlm train` would choose.
    Flags of `train` are the same in all trials. Trials that fall behind are stopped early. The model is that of the
    best trial.

    \b
    charlm tune names.txt -o names --minutes 10
    charlm tune book.txt -o book --minutes 60 --trial-minutes 5
    charlm tune names.txt -o names --trials 20 --num-layers 2
    charlm tune book.txt -o book --minutes 60 --storage sqlite:///book.db
    """
    # Standard output is checked before any work is done.
    table = ui.Output()
    run = TuningRun(context, corpus, output, settings["valid"])
    signals.state.raises = True
    code = run.run(trials=trials, minutes=minutes, trial_minutes=trial_minutes, storage=storage, force=force)
    run.print_table(format, table, has_header=not no_header)
    if code:
        raise typer.Exit(code)


def _signature() -> inspect.Signature:
    """Return the parameters of `tune`, with those options of `train` that are settings."""
    own = inspect.signature(tune, eval_str=True).parameters
    *named, _ = own.values()
    others = [
        one
        for name, one in inspect.signature(train, eval_str=True).parameters.items()
        if name not in own and is_training_setting(name)
    ]
    return inspect.Signature([*named, *others], return_annotation=None)


# So the options of `train` are declared once.
tune.__signature__ = _signature()  # type: ignore[attr-defined]

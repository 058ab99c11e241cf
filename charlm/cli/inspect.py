"""`charlm inspect`: options, and the choice of a view; the views are in `inspect_views/`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from charlm.cli import signals, ui
from charlm.cli.command import Command
from charlm.cli.inspect_views import SUFFIX, Asked
from charlm.cli.inspect_views.activations import Wanted, show_activations
from charlm.cli.inspect_views.card import show_card
from charlm.cli.inspect_views.commands import show_commands
from charlm.cli.inspect_views.gradients import show_gradients
from charlm.cli.inspect_views.samples import show_samples
from charlm.cli.inspect_views.summary import show_summary
from charlm.cli.inspect_views.trace import show_trace
from charlm.cli.inspect_views.vocabulary import show_vocabulary
from charlm.cli.options import ModelsArgument, open_model, refuse_same_file
from charlm.cli.pages import SUFFIXES, output_file
from charlm.cli.tables_out import NoHeader

PICTURES = (".svg", ".png")


def _is_model(argument: str) -> bool:
    """Return whether an argument names a model, with or without its suffix, not another file."""
    return argument.endswith(SUFFIX) or (not os.path.exists(argument) and os.path.exists(argument + SUFFIX))


# Options whose value may be left out, and whether the argument after one is its value.
_OPTIONAL: dict[str, Callable[[str], bool]] = {
    "--plot": lambda argument: Path(argument).suffix != "" and not _is_model(argument),
    "--gradients": lambda argument: not _is_model(argument),
}


class InspectCommand(Command):
    """A command with options whose value may be left out, which Typer does not support."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert `-` for each value that is left out, and parse the result."""
        completed: list[str] = []
        for number, argument in enumerate(args):
            completed.append(argument)
            if argument in _OPTIONAL:
                following = args[number + 1 : number + 2]
                given = following and (following[0] == "-" or not following[0].startswith("-"))
                if not (given and (following[0] == "-" or _OPTIONAL[argument](following[0]))):
                    completed.append("-")
        return super().parse_args(ctx, completed)


COMMAND = InspectCommand  # `make_app` uses it in place of `Command`


def inspect(
    models: ModelsArgument,
    plot: Annotated[
        str | None,
        typer.Option(metavar="[FILE]", help="Plot the curves in characters, or in FILE.svg or FILE.png."),
    ] = None,
    gradients: Annotated[
        str | None,
        typer.Option(metavar="[FILE]", help="lm: measure on a text how far back in time gradients reach."),
    ] = None,
    longest: Annotated[int, typer.Option(min=1, max=1000, help="--gradients: largest number of steps back.")] = 24,
    vocabulary: Annotated[
        bool,
        typer.Option("--vocabulary", help="Print only the tokens, by id; for --task translate, of both sides."),
    ] = False,
    command: Annotated[
        bool, typer.Option("--command", help="Print only the train command that repeats the training.")
    ] = False,
    samples: Annotated[bool, typer.Option("--samples", help="Print only the samples of the training.")] = False,
    trace: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help=r"lm: print every symbol of the equations with its numbers, step by step; at most 19"
            " tokens.",
        ),
    ] = None,
    trace_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="--trace: also write a page, FILE.md or FILE.tex.")
    ] = None,
    activations: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help=r"List the units that vary most over a text; @FILE reads a file, - standard input."
        ),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            help="--activations: show LAYER:UNIT, from 0, or LAYER:UNIT:PART: a, c, update, forget, output, relevance"
            " or candidate.",
            metavar="UNIT",
        ),
    ] = None,
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="--activations: also write FILE.html, the text in colour.")
    ] = None,
    states: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="--activations: also write FILE.npz, all states and gates by layer."),
    ] = None,
    format: Annotated[
        Literal["text", "tsv", "csv", "jsonl", "markdown"],
        typer.Option(
            help="Output format; tsv, csv: the training history, or what the options above name; markdown: a model"
            " card."
        ),
    ] = "text",
    no_header: NoHeader = False,
) -> None:
    """Print what is in a model file.

    \b
    charlm inspect names
    charlm inspect names --plot
    charlm inspect names --format jsonl | jq .history
    charlm inspect rnn lstm --format csv
    charlm inspect names --format markdown > README.md
    charlm inspect tiny --trace abc --trace-file abc.tex
    charlm inspect rnn gru lstm --gradients text.txt --plot gradients.svg
    charlm inspect names --activations Christopher
    charlm inspect names --activations @names.txt --unit 1:23 --html unit.html
    """
    picture = None if plot in (None, "-") else Path(str(plot))
    if picture is not None:
        refuse_same_file(
            [*map(str, models), *([gradients] if gradients else [])], picture, hint="name another file for the picture"
        )
        _check_picture(picture)
    _check_trace_file(models, trace, trace_file)
    wanted = _wanted_activations(models, activations, unit, html, states)
    views = {"--command": command, "--samples": samples, "--vocabulary": vocabulary, "--trace": trace is not None}
    views |= {"--activations": wanted is not None, "--gradients": gradients is not None}
    given = [flag for flag, is_given in views.items() if is_given]
    if format == "markdown":
        _check_alone([*given, *(["--plot"] if plot is not None else [])])
    _check_views(given, has_plot=plot is not None)
    opened = [(str(path), open_model(path, "cpu")) for path in models]
    asked = Asked(opened, format, ui.Output(), not no_header)
    if format == "markdown":
        show_card(asked)
    elif command:
        show_commands(asked)
    elif samples:
        show_samples(asked)
    elif trace is not None:
        show_trace(asked, trace, trace_file)
    elif wanted is not None:
        show_activations(asked, wanted)
    elif gradients is not None:
        show_gradients(asked, gradients, longest, plot)
    elif vocabulary:
        show_vocabulary(asked, plot)
    else:
        show_summary(asked, plot)
    asked.output.close()


def _wanted_activations(
    models: list[Path], text: str | None, unit: str | None, html: str | None, states: str | None
) -> Wanted | None:
    """Return what is wanted of activations, None for nothing; raise UsageError for options that do not fit."""
    from charlm.errors import UsageError

    given = {"--unit": unit, "--html": html, "--states": states}
    used = next((name for name, value in given.items() if value is not None), None)
    if text is None:
        if used is not None:
            raise UsageError(f"{used} without --activations", hint="add --activations TEXT, or leave it out")
        return None
    if len(models) > 1 and (html is not None or states is not None):
        raise UsageError(
            f"{'--html' if html is not None else '--states'} with {len(models)} models", hint="name one model"
        )
    wanted = Wanted(text, unit, None, None)
    inputs = [*models, *([wanted.file] if wanted.file is not None else [])]
    return replace(
        wanted,
        page=None if html is None else output_file("--html", html, SUFFIXES, inputs),
        states=None if states is None else output_file("--states", states, (".npz",), inputs),
    )


def _check_alone(flags: list[str]) -> None:
    """Raise UsageError if another view is asked for than the model card."""
    from charlm.errors import UsageError

    if flags:
        raise UsageError(
            f"{flags[0]} with --format markdown", hint="markdown prints a model card: leave one of both out"
        )


def _check_views(flags: list[str], *, has_plot: bool) -> None:
    """Raise UsageError for two views at once, of which one would be left out."""
    from charlm.errors import UsageError

    if has_plot and not {"--gradients", "--vocabulary"} & set(flags):
        flags = [*flags, "--plot"] if flags else flags
    if len(flags) > 1:
        raise UsageError(f"{flags[0]} with {flags[1]}", hint=f"ask for one after the other: leave {flags[1]} out")


def _check_picture(path: Path) -> None:
    from charlm.errors import UsageError
    from charlm.storage.files import check_writable

    if path.suffix.lower() not in PICTURES:
        raise UsageError(
            f"--plot {path}: unknown picture format", hint="name FILE.svg or FILE.png, or leave the name out"
        )
    with signals.undisturbed():
        check_writable(path)


def _check_trace_file(models: list[Path], trace: str | None, page: Path | None) -> None:
    from charlm.cli.inspect_views.trace_pages import SUFFIXES
    from charlm.errors import UsageError
    from charlm.storage.files import check_writable

    if page is None:
        return
    if trace is None:
        raise UsageError("--trace-file without --trace", hint="add --trace TEXT, or leave it out")
    if page.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--trace-file {page}: unknown page format", hint="name FILE.md or FILE.tex")
    refuse_same_file(map(str, models), page, hint="name another file for the page")
    with signals.undisturbed():
        check_writable(page)

"""`charlm inspect`: print the contents of model files, and how far back in time their gradients reach."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from charlm.cli import inspect_tables, signals, ui
from charlm.cli.command import Command
from charlm.cli.inspect_tables import tokens
from charlm.cli.options import ModelsArgument, input_lines, open_model, refuse_same_file
from charlm.cli.tables_out import NoHeader, tsv_field, write_records
from charlm.cli.training_lines import figures_of_test
from charlm.storage.files import display_name

_SUFFIX = ".safetensors"
PICTURES = (".svg", ".png")


def _is_model(argument: str) -> bool:
    """Return whether an argument names a model, with or without its suffix, not another file."""
    return argument.endswith(_SUFFIX) or (not os.path.exists(argument) and os.path.exists(argument + _SUFFIX))


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
    format: Annotated[
        Literal["text", "tsv", "csv", "jsonl"],
        typer.Option(help="Output format; tsv, csv: the training history, or what the options above name."),
    ] = "text",
    no_header: NoHeader = False,
) -> None:
    """Print what is in a model file.

    \b
    charlm inspect names.safetensors
    charlm inspect names.safetensors --plot
    charlm inspect names.safetensors --format jsonl | jq .history
    charlm inspect rnn.safetensors lstm.safetensors --format csv
    charlm inspect rnn.safetensors gru.safetensors lstm.safetensors --gradients text.txt --plot gradients.svg
    """
    picture = None if plot in (None, "-") else Path(str(plot))
    if picture is not None:
        refuse_same_file(
            [*map(str, models), *([gradients] if gradients else [])], picture, hint="name another file for the picture"
        )
        _check_picture(picture)
    # A list, not a dict, because a file that is named twice has two records.
    opened = [(str(path), open_model(path, "cpu")) for path in models]
    output = ui.Output()
    is_table = format in ("tsv", "csv")
    if command:
        from charlm.cli.repeating import training_command

        commands = [training_command(one, path) for path, (_, one) in zip(models, opened, strict=True)]
        if format == "text":
            for line in commands:
                output.line(line)
        else:
            rows = ({"model": name, "command": line} for (name, _), line in zip(opened, commands, strict=True))
            write_records(rows, format, output, has_header=not no_header)
    elif is_table and gradients is None:
        what = "samples" if samples else "vocabulary" if vocabulary else "history"
        table = list(inspect_tables.united(inspect_tables.of_models(opened, what)))
        columns = list(table[0]) if table else ["model"]
        write_records(table, format, output, columns, has_header=not no_header)
    elif samples:
        _samples(opened, format, output)
    elif gradients is not None:
        _gradients(opened, gradients, longest, format, plot, output, has_header=not no_header)
    else:
        if picture is not None:
            from charlm.cli import pictures

            histories = [one.history for _, one in opened]
            # Written before the text, whose reader may go away.
            with signals.undisturbed():
                pictures.losses(dict(zip(_short(opened), histories, strict=True)), picture)
        for name, language_model in opened:
            _inspect(
                name, language_model, output, vocabulary=vocabulary, format=format, plot=plot, many=len(models) > 1
            )
    output.close()


def _samples(opened: list[tuple[str, Any]], format: str, output: ui.Output) -> None:
    """Print the samples that were drawn while the models were trained."""
    for name, language_model in opened:
        which = {"model": name} if len(opened) > 1 else {}
        if which and format == "text":
            output.line(f"== {name}")
        for sample in language_model.run.samples:
            if format == "jsonl":
                output.line(ui.strict_json({**sample, **which}))
            else:
                output.line(f"{sample['step']:>10,}  {tsv_field(sample['text'])}")


def _check_picture(path: Path) -> None:
    from charlm.errors import UsageError
    from charlm.storage.files import check_writable

    if path.suffix.lower() not in PICTURES:
        raise UsageError(
            f"--plot {path}: unknown picture format", hint="name FILE.svg or FILE.png, or leave the name out"
        )
    with signals.undisturbed():
        check_writable(path)


def _short(opened: Iterable[tuple[str, Any]]) -> list[str]:
    """Return a different name for each model, without folders and suffix if possible."""
    whole = [name.removesuffix(_SUFFIX) for name, _ in opened]
    short = [Path(name).name for name in whole]
    names: list[str] = []
    for name in short if len(set(short)) == len(set(whole)) else whole:
        others = (f"{name} ({number})" for number in itertools.count(2))
        names.append(name if name not in names else next(one for one in others if one not in {*names, *short, *whole}))
    return names


def _inspect(
    name: str, language_model: Any, output: ui.Output, *, vocabulary: bool, format: str, plot: str | None, many: bool
) -> None:
    if many and format == "text":
        output.line(f"== {name}")
    which = {"model": name} if many else {}
    if vocabulary:
        for record in tokens(language_model):
            if format == "text":
                output.line("\t".join(map(tsv_field, record.values())))
            else:
                output.line(ui.strict_json({**record, **which}))
    elif format == "jsonl":
        output.line(ui.strict_json({**_record(language_model), **which}))
    else:
        for line in _describe(language_model):
            output.line(line)
    if plot == "-" and format == "text":
        from charlm.cli.chart import loss_chart

        for line in loss_chart(language_model.history):
            output.line(line)


def _gradients(
    opened: list[tuple[str, Any]],
    file: str,
    longest: int,
    format: str,
    plot: str | None,
    output: ui.Output,
    *,
    has_header: bool,
) -> None:
    """Print and plot the norms of each model's gradients by the distance in time."""
    from charlm.cli.chart import decay_chart
    from charlm.inference.vanishing import gradient_decay

    # A file is read again for each model, so that errors name the file and the line.
    lines = list(input_lines([file])) if file == "-" else None
    measured = [
        gradient_decay(one, input_lines([file]) if lines is None else lines, longest=longest) for _, one in opened
    ]
    decays = dict(zip(_short(opened), measured, strict=True))
    if plot not in (None, "-"):
        from charlm.cli import pictures

        # Written before the text, whose reader may go away.
        with signals.undisturbed():
            pictures.decays({name: decay.norms.tolist() for name, decay in decays.items()}, Path(str(plot)))
    if format == "jsonl":
        for (name, _), decay in zip(opened, decays.values(), strict=True):
            norms = [{"k": k, "norm": float(norm)} for k, norm in enumerate(decay.norms)]
            output.line(ui.strict_json({"model": name, "gradients": norms, "half_life": decay.half_life}))
    elif format != "text":
        write_records(inspect_tables.of_gradients(decays), format, output, has_header=has_header)
    else:
        width = max(12, *(len(name) + 2 for name in decays))
        output.line("mean norm of dL<t>/da<t-k>")
        output.line(f"{'k':>9}" + "".join(f"{name:>{width}}" for name in decays))
        for k in range(max(len(decay.norms) for decay in decays.values())):
            cells = (f"{decay.norms[k]:.3e}" if k < len(decay.norms) else "" for decay in decays.values())
            output.line(f"{k:>9}" + "".join(f"{cell:>{width}}" for cell in cells))
        output.line(
            f"{'half-life':>9}" + "".join(f"{ui.figure(decay.half_life, 2):>{width}}" for decay in decays.values())
        )
        for line in decay_chart({name: decay.norms.tolist() for name, decay in decays.items()}):
            output.line(line)


def _record(language_model: Any) -> dict[str, Any]:
    parts = (language_model.text, language_model.model.config, language_model.train)
    shapes = language_model.model.parameters.shapes
    target, run = language_model.codec.target, language_model.run
    return {
        "task": language_model.task,
        "core": language_model.core,
        "commands": [f"charlm {name}" for name in language_model.commands],
        "labels": list(language_model.labels),
        "config": {name: value for part in parts for name, value in part.to_dict().items()},
        "parameters": language_model.model.parameters.count,
        "arrays": {name: list(shape) for name, shape in shapes.items()},
        "vocabulary_size": len(language_model.tokenizer.vocabulary),
        **({"target_vocabulary_size": len(target.vocabulary)} if target is not None else {}),
        **({"corpus": run.corpus} if run.corpus else {}),
        **({"test": {"file": run.test_file, **run.test}} if run.test else {}),
        "history": language_model.history,
        "outcome": None if language_model.outcome is None else language_model.outcome.to_dict(),
    }


def _describe(language_model: Any) -> list[str]:
    from charlm.cli.history import history_lines

    record = _record(language_model)
    lines = [f"task           {record['task']}, for {', '.join(record['commands'])}"]
    for title, part in (
        ("text", language_model.text),
        ("network", language_model.model.config),
        ("training", language_model.train),
    ):
        settings = (f"{key}={value}" for key, value in part.to_dict().items() if value not in (None, [], ()))
        lines.append(f"{title:<14} {' '.join(settings)}")
    if record["core"] is not None:
        lines.append(f"core           {record['core']}")
    tokens = language_model.tokenizer.vocabulary.tokens
    lines.append(
        f"vocabulary     {len(tokens):,}: {' '.join(map(repr, tokens[2:12]))}{' ...' if len(tokens) > 12 else ''}"
    )
    if record["labels"]:
        labels = record["labels"]
        lines.append(f"labels         {len(labels):,}: {' '.join(labels[:20])}{' ...' if len(labels) > 20 else ''}")
    if language_model.codec.target is not None:
        target = language_model.codec.target.vocabulary.tokens
        lines.append(
            f"target         {len(target):,}: {' '.join(map(repr, target[2:12]))}{' ...' if len(target) > 12 else ''}"
        )
    if "corpus" in record:
        lines.append(f"corpus         {' '.join(map(display_name, record['corpus']))}")
    if "test" in record:
        lines.append(f"test           {figures_of_test(record['test'])}")
    lines.append(f"parameters     {record['parameters']:,}")
    lines += [f"  {name:<20} {' x '.join(map(str, shape))}" for name, shape in record["arrays"].items()]
    return [*lines, *history_lines(language_model)]

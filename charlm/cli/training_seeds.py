"""`charlm train --seeds`: several trainings that differ in their seed, of which the best is kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from charlm.cli import resumption, signals, ui
from charlm.cli.options import choose_seed
from charlm.cli.tables_out import write_records
from charlm.cli.train_options import TrainOptions
from charlm.cli.training_output import kept_alone, output_files
from charlm.cli.training_run import train_once
from charlm.errors import UsageError
from charlm.storage.files import display_name

# Options that have another meaning, or none, for several trainings.
_NOT_WITH_SEEDS = ("log", "keep_checkpoint", "dry_run")


def train_seeds(command: str, options: TrainOptions, output: Path) -> int:
    """Train once with each seed, keep the best model, and print mean and spread; return the exit code.

    All hold out the lines of the first one, so that their figures can be compared.
    Each training has a model file of its own until all have ended. If they are broken off, the best so far is kept, and
    the trainings that have ended are not repeated by --resume.
    """
    _check(options)
    values = options.values
    model, checkpoint = output_files(output)
    if model.exists() and not (values["force"] or values["resume"]):
        raise UsageError(f"output exists, {model}", hint="--force overwrites it, -o names another")
    first = choose_seed() if values["seed"] is None else values["seed"]
    if "seed" not in options.given:
        ui.needed(f"seed {first}")
    seeds = range(first, first + values["seeds"])
    paths = {seed: _path(model, seed) for seed in seeds}
    if not (values["force"] or values["resume"]):
        _refuse_existing(paths.values())
    results: list[Any] = []
    with kept_alone(output, model, checkpoint):
        try:
            for seed, path in paths.items():
                held_out_seed = results[0].held_out_seed if results else None
                if code := _train(command, options, path, seed, held_out_seed):
                    _keep_best(results, model)
                    _say_how_to_go_on(command, options, model, first)
                    return code
                results.append(_result(path, seed))
        except SystemExit:
            _keep_best(results, model)
            _say_how_to_go_on(command, options, model, first)
            raise
        except Exception:
            _keep_best(results, model)
            raise
        _print(results)
        best = _keep_best(results, model)
        for one in results:
            for path in output_files(one.path):
                with contextlib.suppress(OSError):
                    path.unlink()
    ui.note(f"wrote {model}, seed {best}")
    if values["format"] != "text":
        records = _records(results, is_table=values["format"] != "jsonl")
        write_records(records, values["format"], ui.Output(), has_header=not values["no_header"])
    return 0


def _path(model: Path, seed: int) -> Path:
    """Return the model file of one seed."""
    return model.with_name(f"{model.name.removesuffix('.safetensors')}.seed-{seed}.safetensors")


def _refuse_existing(paths: Iterable[Path]) -> None:
    """Raise UsageError if a file of one of the seeds exists."""
    for path in (file for one in paths for file in output_files(one)):
        if path.exists():
            hint = "--resume continues trainings that were stopped, --force overwrites, -o names another output"
            raise UsageError(f"output exists, {display_name(str(path))}", hint=hint)


def _check(options: TrainOptions) -> None:
    for name in _NOT_WITH_SEEDS:
        if options.given.get(name) not in (None, False) or (name == "keep_checkpoint" and name in options.given):
            flag = f"--{name.replace('_', '-')}" if options.given[name] is not False else "--no-checkpoint"
            raise UsageError(f"--seeds with {flag}", hint=f"it is for one training: leave out {flag} or --seeds")
    if "-" in options.values["corpus"]:
        raise UsageError("--seeds with a corpus from standard input", hint="it is read several times: name a file")
    if options.values["resume"] and "seed" not in options.given:
        raise UsageError("--seeds with --resume and without --seed", hint="add the first seed: --seed N")


def _train(command: str, options: TrainOptions, path: Path, seed: int, held_out_seed: int | None) -> int:
    """Train with one seed, unless it is resumed and has ended already; return the exit code.

    held_out_seed: of the lines that the trainings before held out; None if they drew none, and for the first one
    """
    checkpoint = output_files(path)[1]
    is_resumed = options.values["resume"] and checkpoint.exists()
    if options.values["resume"] and path.exists() and not is_resumed:
        return 0
    ui.note(f"seed {seed}:")
    # The training before has installed a handler of its own.
    signals.at_signals(signals.take_signal)
    changed = {"seed": seed, "resume": is_resumed, "force": True, "seeds": None}
    given = {**options.given, "seed": seed}
    if held_out_seed is not None and not is_resumed:
        given["valid_seed"] = changed["valid_seed"] = held_out_seed
    return train_once(command, replace(options, values={**options.values, **changed}, given=given), path, alone=False)


def _result(path: Path, seed: int) -> Any:
    from charlm.seeds import result_of

    return result_of(path, seed)


def _keep_best(results: Sequence[Any], model: Path) -> int | None:
    """Write the best model so far, if there is one, and return its seed."""
    from charlm.seeds import best_of
    from charlm.storage.files import write_atomically

    if not results:
        return None
    best = best_of(results)
    write_atomically(model, best.path.read_bytes())
    return int(best.seed)


def _names(results: Sequence[Any]) -> list[str]:
    """Return the names of the figures that all results have."""
    return [name for name in results[0].figures if all(name in one.figures for one in results)]


def _records(results: Sequence[Any], *, is_table: bool) -> Iterator[dict[str, Any]]:
    """Yield a record for each seed: its figures, and whether its model was kept, 0 or 1 in a table."""
    from charlm.seeds import best_of

    for one in results:
        is_kept = one is best_of(results)
        figures = {name: one.figures[name] for name in _names(results)}
        yield {"seed": one.seed, **figures, "kept": int(is_kept) if is_table else is_kept}


def _print(results: Sequence[Any]) -> None:
    """Print a row for each seed, and the mean and the standard deviation of each figure."""
    from charlm.seeds import best_of, spread_of

    names = _names(results)
    width = max(12, *(len(name) + 2 for name in names))

    def row(title: str, cells: Sequence[str]) -> None:
        ui.note(f"{title:<12}" + "".join(f"{cell:>{width}}" for cell in cells))

    row("seed", names)
    for one in results:
        mark = "*" if one is best_of(results) else ""
        row(f"{one.seed}{mark}", [ui.figure(one.figures[name]) for name in names])
    spreads = [spread_of(results, name) for name in names]
    row("mean", [ui.figure(mean) for mean, _ in spreads])
    row("deviation", ["-" if deviation is None else ui.figure(deviation) for _, deviation in spreads])


def _say_how_to_go_on(command: str, options: TrainOptions, model: Path, first: int) -> None:
    ui.needed("continue all seeds with:")
    line = resumption.command(command, options.values["corpus"], model, options.values["valid"], options.given)
    ui.needed(f"{line} --seed {first} --seeds {options.values['seeds']}{_settings(options)}")


def _settings(options: TrainOptions) -> str:
    """Return the settings that were given, which trainings that have not begun need."""
    from charlm.cli.train_options import settings_given
    from charlm.cli.training_command import flags_of

    names = {**{name: name for name in settings_given(options.given)}, "learning_rate": "lr"}
    chosen = {names[name]: options.given[names[name]] for name in settings_given(options.given)}
    chosen |= {
        name: options.given[name]
        for name in ("condition", "init_from", "sample_every", "sample_prompt", "format", "no_header")
        if options.given.get(name)
    }
    for name in ("seed", "valid"):
        chosen.pop(name, None)
    return "".join(f" {flag}" for flag in flags_of(chosen))

"""The lines that a training prints: what it is about to do, and how it goes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from charlm.cli import ui
from charlm.quoting import shell_argument

_TOKENS = {"char": "letters"}  # the plural of a level, if it is another word


@dataclass(frozen=True)
class Units:
    """What the loss is a mean over, what the speed and the held-out part count, and what the baseline knows."""

    loss: str
    pace: str
    tokens: str
    baseline: str


def describe(session: Any, *, with_memory: bool = True) -> int:
    """Print the sizes of a training, and warnings about it; return the memory that it needs, in bytes.

    with_memory: print this memory; an estimate counts that of the process, too
    """
    from charlm.training import memory_needed

    lm = session.language_model
    config, vocabulary = lm.train, lm.tokenizer.vocabulary
    labels = f"{len(lm.labels):,} labels, " if lm.labels else ""
    needed = memory_needed(session.trainer)
    memory = f", about {needed / 1e6:,.0f} MB of memory" if with_memory else ""
    ui.note(
        f"{session.train.size:,} {lm.facts.step}s to train on, {session.valid.size:,} held out, "
        f"vocabulary {len(vocabulary):,}, {labels}{lm.model.parameters.count:,} parameters{memory}"
    )
    if words := in_words(session.chosen, has_valid_file=bool(config.valid)):
        ui.note(f"settings from the corpus: {', '.join(words)}")
    for warning in session.warnings:
        ui.warn(warning)
    if lm.text.unit == "line" and session.train.sequences == 1 and (config.valid or not session.valid.size):
        alone = "the corpus is one record: no part of it can be held out"
        ui.warn(lm.facts.one_record if lm.facts.one_record and not lm.is_conditioned else alone)
    if session.batch_size < config.batch_size or session.seq_length < config.seq_length:
        ui.warn(f"the corpus is small: batches of {session.batch_size} x {session.seq_length} tokens")
    if not session.valid.size and (config.patience is not None or config.schedule == "plateau"):
        ui.warn("without held-out text --patience and --schedule plateau have no effect")
    return needed


# The settings that may follow from the corpus, in the order in which they are printed.
_IN_WORDS = {
    "unit": "the lines read as one text",
    "min_count": "tokens seen at least {} times",
    "valid_fraction": "{:.0%} held out",
    "num_layers": "layers {}",
    "hidden_size": "hidden size {}",
    "embedding_size": "embedding size {}",
    "cutoffs": "cutoffs {}",
    "dropout": "dropout {:g}",
    "batch_size": "batch size {}",
    "seq_length": "sequence length {}",
    "learning_rate": "learning rate {:g}",
    "epochs": "{} epochs",
    "max_steps": "{:,} steps",
    "patience": "patience {}",
}
_NOTHING = (("min_count", 1), ("embedding_size", 0))


def in_words(chosen: Mapping[str, Any], *, has_valid_file: bool = False) -> list[str]:
    """Return settings as phrases, those of no effect left out."""
    shown = {name: value for name, value in chosen.items() if (name, value) not in _NOTHING}
    if has_valid_file:
        shown.pop("valid_fraction", None)
    if "cutoffs" in shown:
        shown["cutoffs"] = " and ".join(f"{cutoff:,}" for cutoff in shown["cutoffs"])
    return [words.format(shown[name]) for name, words in _IN_WORDS.items() if name in shown]


def units_of(language_model: Any) -> Units:
    """Return the names of what a model of this task predicts."""
    facts, level = language_model.facts, language_model.text.level
    token = "piece" if level == "subword" else level
    read = {"token": token}.get(facts.unit, facts.unit)
    tokens = f"{facts.step if facts.target else token}s"
    return Units(facts.target or token, read, tokens, facts.frequencies or _TOKENS.get(level, f"{token}s"))


def legend(session: Any) -> str:
    """Return the line before the evaluations: the loss of the frequencies, and the meaning of the star."""
    trainer, units = session.trainer, units_of(session.language_model)
    keep = trainer.config.keep
    star = {"accuracy": "the best accuracy", "f1": "the best F1"}.get(keep)
    meaning = f"kept so far, the latest within a standard error of {star}" if star else "best so far"
    shown = f"; * {meaning}" if trainer.validation is not None and keep != "last" else ""
    return f"{units.baseline} alone {trainer.baseline_nats:.4f} nats/{units.loss}{shown}"


def progress_line(progress: Any, rate: float, left: float, units: Units, keep: str | None) -> str:
    """Return the line for an evaluation, or for a step before the first one.

    rate: units trained on per second; left: seconds to the end
    """
    star = "*" if progress.is_best and keep != "last" else " "
    valid = "" if progress.valid_nats is None else f"  valid {progress.valid_nats:.4f}"
    figures = "".join(f"  {name} {value:.4f}" for name, value in progress.figures.items())
    return (
        f"step {progress.step:,}/{progress.total_steps:,}  epoch {progress.epoch:.2f}  "
        f"train {progress.train_nats:.4f}{valid}{figures}{star if valid else ''}  nats/{units.loss}  "
        f"lr {rate_figure(progress.learning_rate)}  {rate:,.0f} {units.pace}s/s  {_clock(left)} left"
    )


def figures_of_test(test: Mapping[str, Any]) -> str:
    """Return the figures of a test file in one line; test: its name under `file`, and the figures."""
    figures = [
        f"{name} {ui.figure(value) if isinstance(value, float) else value}"
        for name, value in test.items()
        if name != "file" and value is not None
    ]
    return f"{test['file']}: {', '.join(figures)}"


def rate_figure(value: float) -> str:
    """Return a learning rate with three significant digits, without an exponent from 1e-6 on."""
    short = f"{value:.3g}"
    return format(Decimal(short), "f") if value >= 1e-6 or not value else short


def end_line(session: Any, model_path: Path, seconds: float) -> str:
    """Return what a finished training has come to, and what to type next."""
    outcome, units = session.trainer.outcome(), units_of(session.language_model)
    what = "last" if session.trainer.config.keep == "last" else "best"
    alone = f"{units.baseline} alone {outcome.baseline_nats:.3g}"
    if outcome.figure is not None:  # a figure without a unit stands before it
        alone += f" nats/{units.loss}"
    if outcome.valid_nats is None:
        history = session.trainer.numbers.history
        last = f", training loss {history[-1]['train_nats']:.4g} nats/{units.loss}" if history else ""
        found = f"{outcome.steps:,} steps{last}, nothing held out, {_duration(seconds)}; {alone}"
    else:
        found = f"{outcome.valid_nats:.4g} nats/{units.loss}"
        if outcome.figure is not None:
            found = f"{'F1' if outcome.figure_name == 'f1' else outcome.figure_name} {outcome.figure:.4f}, {found}"
        elif units.loss in ("char", "byte", "piece", "word"):
            found += f" ({outcome.valid_nats / math.log(2.0):.3g} bits)"
        part = "all" if outcome.judged == outcome.held_out else f"{outcome.judged:,} of"
        judged = f"on {part} {outcome.held_out:,} held-out {units.tokens}"
        step = f"at step {outcome.kept_step:,} of {outcome.steps:,}"
        found = f"{what} {found} {judged}, {step}, {_duration(seconds)}; {alone}"
    return f"{found}. Now: {_next_command(session.language_model, model_path)}"


def _next_command(language_model: Any, model_path: Path) -> str:
    model = shell_argument(str(model_path))
    if "fill" in language_model.commands:
        return f"charlm fill {model} FILE"
    if "predict" in language_model.commands:
        return f"charlm predict {model} FILE"
    label = f" --class {shell_argument(language_model.labels[0])}" if language_model.is_conditioned else ""
    count = "" if language_model.is_stream or language_model.facts.answers == "pieces" else " -n 10"
    return f"charlm generate {model}{label}{count}"


def _duration(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 120:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _clock(seconds: float) -> str:
    """Return a time as M:SS or H:MM:SS."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"

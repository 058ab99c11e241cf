"""`charlm inspect` without other options: the configuration, the parameters and the history of each model."""

from __future__ import annotations

from typing import Any

from charlm.cli import ui
from charlm.cli.inspect_views import Asked, losses
from charlm.cli.inspect_views.history import history_lines
from charlm.cli.inspect_views.words import network_words, text_words, training_words
from charlm.cli.training_lines import figures_of_test
from charlm.storage.files import display_name


def show_summary(asked: Asked, plot: str | None) -> None:
    """Print each model; a table has the history of its training.

    plot: the picture of the losses, - for one in characters; several models are then a line each
    """
    losses.draw(asked, plot)
    if asked.is_table:
        asked.table({"model": name, **row} for name, one in asked.models for row in one.history)
        return
    if plot is not None and asked.format == "text" and len(asked.models) > 1:
        losses.table(asked)
        losses.chart(asked, plot)
        return
    for name, language_model in asked.models:
        asked.title(name)
        if asked.format == "jsonl":
            asked.output.line(ui.strict_json({**record_of(language_model), **asked.name_of(name)}))
            continue
        for line in described(language_model):
            asked.output.line(line)
    losses.chart(asked, plot)


def record_of(language_model: Any) -> dict[str, Any]:
    """Return what `--format jsonl` prints of a model."""
    parts = (language_model.text, language_model.model.config, language_model.train)
    shapes = language_model.model.parameters.shapes
    target, run = language_model.codec.target, language_model.run
    return {
        "task": language_model.task,
        **({} if language_model.version is None else {"charlm": language_model.version}),
        "core": language_model.core,
        "commands": [f"charlm {name}" for name in language_model.commands],
        "labels": list(language_model.labels),
        "config": {k: v for part in parts for k, v in part.to_dict().items() if k != "piece_model"},
        "parameters": language_model.model.parameters.count,
        "arrays": {name: list(shape) for name, shape in shapes.items()},
        "vocabulary_size": len(language_model.tokenizer.vocabulary),
        **({"target_vocabulary_size": len(target.vocabulary)} if target is not None else {}),
        **({"corpus": run.corpus} if run.corpus else {}),
        **({"test": {"file": run.test_file, **run.test}} if run.test else {}),
        "history": language_model.history,
        "outcome": None if language_model.outcome is None else language_model.outcome.to_dict(),
    }


def described(language_model: Any) -> list[str]:
    """Return what is in a model, as lines of text."""
    record = record_of(language_model)
    lines = [f"task           {record['task']}, for {', '.join(record['commands'])}"]
    lines.append(f"network        {network_words(language_model.model.config)}")
    lines.append(f"text           {text_words(language_model.text)}")
    lines.append(f"training       {training_words(language_model.train)}")
    if language_model.version is not None:
        lines.append(f"charlm         {language_model.version}")
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

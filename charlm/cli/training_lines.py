"""The lines that a training prints: what it is about to do, and how it goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charlm.cli import ui


def describe(session: Any) -> int:
    """Print the sizes of a training, and warnings about it; return the memory that it needs, in bytes."""
    from charlm.training import memory_needed

    lm = session.language_model
    config, vocabulary = lm.train, lm.tokenizer.vocabulary
    labels = f"{len(lm.labels):,} labels, " if lm.labels else ""
    needed = memory_needed(session.trainer)
    ui.note(
        f"{session.train.size:,} {lm.facts.step}s to train on, {session.valid.size:,} held out, "
        f"vocabulary {len(vocabulary):,}, {labels}{lm.model.parameters.count:,} parameters, "
        f"about {needed / 1e6:,.0f} MB of memory"
    )
    if session.chosen:
        ui.note(f"settings from the corpus: {', '.join(in_words(session.chosen))}")
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
    "dropout": "dropout {:g}",
    "batch_size": "batch size {}",
    "seq_length": "sequence length {}",
    "learning_rate": "learning rate {:g}",
    "epochs": "{} epochs",
    "max_steps": "{:,} steps",
    "patience": "patience {}",
}
_NOTHING = (("min_count", 1), ("embedding_size", 0))


def in_words(chosen: Mapping[str, Any]) -> list[str]:
    """Return settings as phrases, those of no effect left out."""
    shown = {name: value for name, value in chosen.items() if (name, value) not in _NOTHING}
    return [words.format(shown[name]) for name, words in _IN_WORDS.items() if name in shown]


def evaluation_line(progress: Any, rate: float, unit: str) -> str:
    """Return the line for an evaluation; rate: units trained on per second."""
    valid = (
        "" if progress.valid_nats is None else f"  valid {progress.valid_nats:.4f}{'*' if progress.is_best else ' '}"
    )
    return (
        f"step {progress.step:,}/{progress.total_steps:,}  epoch {progress.epoch:.2f}  "
        f"train {progress.train_nats:.4f}{valid}  nats/{unit}  lr {progress.learning_rate:.2g}  {rate:,.0f} {unit}s/s"
    )


def figures_of_test(test: Mapping[str, Any]) -> str:
    """Return the figures of a test file in one line; test: its name under `file`, and the figures."""
    figures = [
        f"{name} {ui.figure(value) if isinstance(value, float) else value}"
        for name, value in test.items()
        if name != "file" and value is not None
    ]
    return f"{test['file']}: {', '.join(figures)}"

"""`charlm inspect --format markdown`: a model card, to be published beside the model file.

Its first lines are YAML as the Hugging Face Hub reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from charlm.cli import ui
from charlm.cli.inspect_views import SUFFIX, Asked
from charlm.cli.inspect_views.history import kept_step
from charlm.cli.inspect_views.words import network_words, text_words, training_words
from charlm.cli.training_lines import figures_of_test, units_of
from charlm.quoting import shell_argument
from charlm.storage.files import display_name

# The Hub's names of tasks, by what a model answers.
_PIPELINES = {
    "text": "text-generation",
    "tags": "token-classification",
    "classes": "text-classification",
    "translations": "translation",
    "pieces": "text-to-audio",
}
_LONGEST_LIST = 50  # labels


def show_card(asked: Asked) -> None:
    """Print a card for each model."""
    for name, language_model in asked.models:
        for line in _card(name, language_model):
            asked.output.line(line)


def _card(name: str, language_model: Any) -> Iterator[str]:
    """Yield the lines of a model's card."""
    from charlm.cli.repeating import training_command

    facts, config, run = language_model.facts, language_model.model.config, language_model.run
    pipeline = "fill-mask" if facts.is_cloze else _PIPELINES[facts.answers]
    yield from ["---", "library_name: charlm", f"pipeline_tag: {pipeline}"]
    yield from [f"tags: [charlm, {config.cell}, {language_model.text.level}]", "---", ""]
    yield f"# {_plain(Path(name).name.removesuffix(SUFFIX))}"
    yield ""
    yield from _table(
        ("", ""),
        [
            ("task", f"`{facts.name}`"),
            ("network", _plain(network_words(config))),
            ("parameters", f"{language_model.model.parameters.count:,}"),
            ("text", _plain(text_words(language_model.text))),
            *_names(language_model),
        ],
    )
    yield from ["", "## Use", "", "```sh", "pip install charlm-rnn"]
    model = shell_argument(Path(name).name)
    yield from (f"charlm {command} {model} --help" for command in language_model.commands)
    yield from ["```", "", "## Training", "", f"{_plain(training_words(language_model.train))}.", ""]
    if run.corpus:
        yield f"Corpus: {', '.join(map(_code, map(display_name, run.corpus)))}."
        yield ""
    yield from ["```sh", training_command(language_model, Path(name)), "```"]
    yield from _figures(language_model)
    if run.samples:
        yield from ["", f"## A sample, at step {run.samples[-1]['step']:,}", ""]
        # Lines that begin with four spaces are literal text, whatever they contain.
        yield from (f"    {ui.printable(line)}" for line in run.samples[-1]["text"].split("\n"))


def _names(language_model: Any) -> Iterator[tuple[str, str]]:
    tokens = language_model.tokenizer.vocabulary.tokens
    yield "vocabulary", f"{len(tokens):,} tokens: {_listed(tokens[2:12], len(tokens) - 2)}"
    if labels := language_model.labels:
        yield "labels", f"{len(labels):,}: {_listed(labels[:_LONGEST_LIST], len(labels))}"
    if (target := language_model.codec.target) is not None:
        other = target.vocabulary.tokens
        yield "target", f"{len(other):,} tokens: {_listed(other[2:12], len(other) - 2)}"


def _figures(language_model: Any) -> Iterator[str]:
    """Yield the figures of the training, and a row for the kept weights or the last ones."""
    outcome, run, units = language_model.outcome, language_model.run, units_of(language_model)
    rows = []
    if outcome is not None:
        rows.append((f"baseline, {units.baseline} alone", f"{outcome.baseline_nats:.4f} nats/{units.loss}"))
        if outcome.valid_nats is not None:
            judged = f"{outcome.judged:,} held-out {units.tokens}"
            rows.append((f"validation, {judged}", f"{outcome.valid_nats:.4f} nats/{units.loss}"))
            if outcome.figure is not None:
                rows.append((f"validation, {outcome.figure_name}", f"{outcome.figure:.4f}"))
    if run.test:
        rows.append(("test", _plain(figures_of_test({"file": run.test_file, **run.test}))))
    history = language_model.history
    if history:
        kept = kept_step(language_model)
        row = next((one for one in history if one["step"] == kept), history[-1])
        rows.append((f"training, step {row['step']:,}", f"{row['train_nats']:.4f} nats/{units.loss}"))
    if rows:
        yield from ["", "## Figures", ""]
        yield from _table(("figure", "value"), rows)


def _table(header: tuple[str, str], rows: list[tuple[str, str]]) -> Iterator[str]:
    for number, row in enumerate([header, *rows]):
        yield f"| {' | '.join(row)} |"
        if number == 0:
            yield "|---|---|"


def _listed(names: Any, count: int) -> str:
    return " ".join(map(_code, names)) + (" ..." if count > len(names) else "")


def _code(text: str) -> str:
    """Return text as inline code: between more backticks than it has in a row."""
    shown = ui.printable(text).replace("\n", "\\n").replace("\t", "\\t").replace("|", "\\|")
    ticks = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    apart = " " if shown.startswith("`") or shown.endswith("`") or not shown.strip() else ""
    return f"{ticks}{apart}{shown}{apart}{ticks}"


def _plain(text: str) -> str:
    """Return text whose characters have no meaning in Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", " ".join(ui.printable(text).split()))

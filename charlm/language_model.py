"""A network together with the text that it knows: what a model file holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from charlm.config import TextConfig, TrainConfig
from charlm.errors import UsageError
from charlm.nn.model import Model
from charlm.text import Tokenizer
from charlm.text.reader import TaskText
from charlm.text.tasks import task_text
from charlm.text.tokens.codec import Codec

COMMANDS = {  # what a model of each task is for
    "lm": ("generate", "score", "evaluate"),
    "cloze": ("fill", "score", "evaluate"),
    "tag": ("predict", "evaluate"),
    "classify": ("predict", "evaluate"),
    "translate": ("predict", "evaluate"),
    "music": ("generate", "evaluate"),
}


@dataclass(frozen=True)
class LanguageModel:
    """A trained model, the names that it knows, and how both came to be.

    history: one record an evaluation, in order: step, epoch, train_nats, valid_nats, learning_rate
    """

    model: Model
    codec: Codec
    text: TextConfig
    train: TrainConfig
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def tokenizer(self) -> Tokenizer:
        """What turns the text that the model reads into tokens."""
        return self.codec.tokenizer

    @property
    def task(self) -> str:
        """What the model was trained for."""
        return self.model.config.task

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that a model of its task is for."""
        return COMMANDS[self.task]

    @property
    def labels(self) -> tuple[str, ...]:
        """The tags, the classes, or what a conditioned model can be told to begin with."""
        return self.codec.labels

    @property
    def is_conditioned(self) -> bool:
        """Whether a label is what the model reads first."""
        return self.task in ("lm", "music") and bool(self.labels)

    @property
    def is_stream(self) -> bool:
        """Whether the model was trained on one stream, in which the newline is a token like any other."""
        return self.text.unit == "stream"

    @property
    def reader(self) -> TaskText:
        """What reads a corpus of the model's task."""
        return task_text(self.task, self.text, conditioned=self.is_conditioned)

    def label_number(self, label: str | None) -> int:
        """Give the number of the label to begin with; raises UsageError where none is given, or none that is known."""
        if label not in self.labels:
            what = "no class is given" if label is None else f"the class {label!r} was never seen in training"
            listed = ", ".join(self.labels[:8]) + (", ..." if len(self.labels) > 8 else "")
            raise UsageError(what, hint=f"name one with --class: {listed}")
        return self.labels.index(label)

    def require(self, command: str) -> None:
        """Raise UsageError, naming the command that is meant, where the model is not one for `command`."""
        if command not in self.commands:
            raise UsageError(
                f"charlm {command} does not work with a --task {self.task} model",
                hint=f"use {', '.join(f'charlm {name}' for name in self.commands)}",
            )

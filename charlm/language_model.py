"""A network together with the text that it knows: what a model file holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from charlm.config import TextConfig, TrainConfig
from charlm.nn.model import Model
from charlm.text import Tokenizer


@dataclass(frozen=True)
class LanguageModel:
    """A trained model, its tokenizer, and how both came to be.

    history: one record an evaluation, in order: step, epoch, train_nats, valid_nats, learning_rate
    """

    model: Model
    tokenizer: Tokenizer
    text: TextConfig
    train: TrainConfig
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_stream(self) -> bool:
        """Whether the model was trained on one stream, in which the newline is a token like any other."""
        return self.text.unit == "stream"

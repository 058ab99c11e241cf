"""The names that a model knows, and their numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from charlm.text.tokens.tokenizer import Tokenizer

BINARY = ("0", "1")  # tags that answer no and yes, as the notes' y<t> does for names of persons
SPECIAL = 2  # `<EOS>` and `<UNK>`, which stand before the keys in the vocabulary of music and are none


@dataclass(frozen=True)
class Codec:
    """Names to numbers and back: those of a task's input, its labels, and those of what it translates into."""

    tokenizer: Tokenizer
    labels: tuple[str, ...] = ()
    target: Tokenizer | None = None

    def sizes(self, task: str) -> dict[str, int]:
        """Give the fields of `ModelConfig` that follow from it."""
        return {
            "vocabulary_size": len(self.tokenizer.vocabulary),
            "labels": 1 if task == "tag" and self.labels == BINARY else len(self.labels),
            "target_size": 0 if self.target is None else len(self.target.vocabulary),
        }

    def label_ids(self, labels: Iterable[str]) -> np.ndarray:
        """Give the numbers of labels, int32."""
        numbers = {label: number for number, label in enumerate(self.labels)}
        return np.array([numbers[label] for label in labels], np.int32)

    def first_inputs(self, labels: Iterable[str]) -> np.ndarray:
        """Give x<1> of lines conditioned on labels: their numbers come after those of the tokens."""
        first: np.ndarray = len(self.tokenizer.vocabulary) + self.label_ids(labels)
        return first

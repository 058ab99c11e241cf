"""The names that a model knows, and their ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from charlm.task import task_of
from charlm.text.tokens.characters import spelled
from charlm.text.tokens.tokenizer import Tokenizer
from charlm.text.tokens.vocabulary import NOTHING

# Tags for no and yes, like the notes' y<t> for names of persons.
BINARY = ("0", "1")

# `<EOS>` and `<UNK>`: the tokens that stand before all others in a vocabulary.
SPECIAL = 2


@dataclass(frozen=True)
class Codec:
    """Names to ids and back: the tokens of the input, the labels, and the tokens of a translation's target.

    characters: those that a network distinguishes which reads words by their characters too; None: it does not
    """

    tokenizer: Tokenizer
    labels: tuple[str, ...] = ()
    target: Tokenizer | None = None
    characters: tuple[str, ...] | None = None

    def sizes(self, task: str) -> dict[str, int]:
        """Return the fields of `ModelConfig` that follow from the names."""
        is_binary = self.labels == BINARY and task_of(task).binary_head
        return {
            "vocabulary_size": len(self.tokenizer.vocabulary),
            "labels": 1 if is_binary else len(self.labels),
            "target_size": 0 if self.target is None else len(self.target.vocabulary),
            "characters": len(self.characters or ()),
        }

    def outputs(self, task: str) -> int:
        """Return the number of units of a task's output layer."""
        facts, sizes = task_of(task), self.sizes(task)
        return sizes["labels"] if facts.needs_labels else sizes["target_size"] or sizes["vocabulary_size"]

    def read_words(self, words: Iterable[str]) -> tuple[np.ndarray, np.ndarray | None]:
        """Return what a network reads of words that are split already: their ids [n], int32, and None.

        A network that reads their characters too has a table: the numbers [n] are then those of its rows. A row of the
        table, `[words + 1, 1 + K]` int32, is the id of a word and then its characters, `NOTHING` after the last one.
        The last row is `NOTHING`.
        """
        if self.characters is None:
            return self.tokenizer.encode_tokens(words), None
        row_of: dict[str, int] = {}
        numbers = np.fromiter((row_of.setdefault(word, len(row_of)) for word in words), np.int32)
        ids = self.tokenizer.encode_tokens(row_of)
        characters = spelled(map(self.tokenizer.splitter.normalized, row_of), self.characters)
        rows = np.concatenate([ids[:, None], characters], axis=1)
        return numbers, np.concatenate([rows, np.full_like(rows, NOTHING, shape=(1, rows.shape[1]))])

    def label_ids(self, labels: Iterable[str]) -> np.ndarray:
        """Return the ids of labels, int32."""
        ids = {label: i for i, label in enumerate(self.labels)}
        return np.array([ids[label] for label in labels], np.int32)

    def first_inputs(self, labels: Iterable[str]) -> np.ndarray:
        """Return x<1> of lines conditioned on labels, int32: the ids of labels come after those of tokens."""
        first: np.ndarray = len(self.tokenizer.vocabulary) + self.label_ids(labels)
        return first

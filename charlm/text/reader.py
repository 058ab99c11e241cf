"""What the readers of all tasks have in common: a corpus is read into records, learned from, split and encoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Iterable, Sequence
from typing import Any

import numpy as np

from charlm.config import TextConfig, TrainConfig
from charlm.errors import CorpusError
from charlm.text.dataset import Encoded
from charlm.text.ids.held_out import split_lines
from charlm.text.tokens.codec import Codec


class TaskText(ABC):
    """How the corpus of a task is read, learned from and encoded.

    warnings: what looked wrong with the corpus that was learned last, although it could be
    """

    warnings: Sequence[str] = ()

    @abstractmethod
    def read(self, lines: Iterable[str], known: Container[str] | None = None) -> list[Any]:
        """Read the records; known: what their labels may be. Raises CorpusError with the place of what is none."""

    @abstractmethod
    def codec(self, records: list[Any], text: TextConfig, train: TrainConfig, everything: list[Any]) -> Codec:
        """Learn the tokens from the records of the training part, and the labels, a closed set, from all."""

    @abstractmethod
    def encode(self, records: list[Any], codec: Codec) -> Encoded:
        """Turn records into numbers."""

    def gather(self, lines: Iterable[str]) -> Any:
        """Read a whole corpus into what all methods below take in its place; raises CorpusError where it cannot be."""
        return list(lines)

    def learn(
        self, lines: Iterable[str], text: TextConfig, train: TrainConfig, fraction: float
    ) -> tuple[Codec, Encoded, Encoded]:
        """Learn the names from a corpus, and encode it with a part of it held out, whose names are not learned.

        Raises CorpusError where there is nothing to learn.
        """
        records = self.read(lines)
        self.warnings = self.doubts(records)
        learned, held_out = _split(records, fraction, train.seed)
        codec = self.codec(learned, text, train, records)
        return codec, self.encode(learned, codec), self.encode(held_out, codec)

    def again(self, lines: Iterable[str], codec: Codec, train: TrainConfig, fraction: float) -> tuple[Encoded, Encoded]:
        """Encode a corpus as `learn` did, with the names that it learned."""
        learned, held_out = _split(self.read(lines), fraction, train.seed)
        return self.encode(learned, codec), self.encode(held_out, codec)

    def encode_corpus(self, lines: Iterable[str], codec: Codec) -> Encoded:
        """Encode a corpus, nothing held out, with names that were learned from another.

        Raises CorpusError with the place of what is no record, or has a label that was not learned.
        """
        return self.encode(self.read(lines, set(codec.labels) or None), codec)

    def doubts(self, records: list[Any]) -> list[str]:
        """Return a warning for each thing that looks wrong with the records of a corpus to learn from."""
        del records
        return []

    def labels(self, records: list[Any]) -> list[str]:
        """Give all labels of records."""
        return [label for label, _ in records]


def sorted_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return each label once, sorted."""
    return tuple(sorted(set(labels)))


def labels_to_choose_from(labels: Iterable[str], name: str) -> tuple[str, ...]:
    """Return each label once, sorted; raise CorpusError where there is only one, as there is nothing to choose then."""
    found = sorted_labels(labels)
    if len(found) == 1:
        raise CorpusError(
            f"{found[0]!r} is the only {name}", hint=f"there is nothing to choose: give a corpus with two {name}s"
        )
    return found


def offsets_of(lengths: Iterable[int]) -> np.ndarray:
    """Return where each of some sequences laid end to end begins, and where the last one ends, int64."""
    return np.concatenate([[0], np.cumsum(np.fromiter(lengths, np.int64))]).astype(np.int64)


def _split(records: list[Any], fraction: float, seed: int) -> tuple[list[Any], list[Any]]:
    learned, held_out = ([records[i] for i in part] for part in split_lines(len(records), fraction, seed))
    if not learned:
        raise CorpusError("the corpus is empty", hint="name a file with a record in it")
    return learned, held_out

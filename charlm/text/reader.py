"""What all readers of a corpus have in common: they read records, learn the names, hold out a part, and encode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Container, Iterable, Sequence
from typing import Any, ClassVar

from charlm.config import TextConfig, TrainConfig
from charlm.errors import CorpusError
from charlm.text.dataset import Encoded
from charlm.text.ids.held_out import split_lines
from charlm.text.tokens.codec import Codec


class Gathered(list[Any]):
    """The records of a corpus that was read."""


class CorpusReader(ABC):
    """The reader of a task's corpus.

    warnings: what looked wrong with the last corpus that was learned, one sentence each
    answers_warning: warning for input lines that are records of a corpus, and so contain the answers
    learns_characters: whether `codec` also learns the characters of the words
    """

    warnings: Sequence[str] = ()
    answers_warning: ClassVar[str] = ""
    learns_characters: bool = False

    def __init__(self, text: TextConfig) -> None:
        self.text = text

    @abstractmethod
    def read(self, lines: Iterable[str], known: Collection[str] | None = None) -> list[Any]:
        """Read the records; raise CorpusError with the place of a malformed one.

        known: the allowed labels; None for all
        """

    @abstractmethod
    def codec(self, records: list[Any], train: TrainConfig, everything: list[Any]) -> Codec:
        """Learn the tokens from the training part, and the labels, a closed set, from the whole corpus.

        records: those of the training part; everything: those of the whole corpus
        """

    @abstractmethod
    def encode(self, records: list[Any], codec: Codec) -> Encoded:
        """Return the records as ids."""

    def gather(self, lines: Iterable[str]) -> Any:
        """Read a whole corpus, unless it is read already; the methods below take the result in place of lines.

        Raises CorpusError with the place of a malformed record.
        """
        return lines if isinstance(lines, Gathered) else Gathered(self.read(lines))

    def records_in(self, corpus: Any) -> int:
        """Return the number of records of a corpus that was gathered."""
        return len(corpus)

    def is_running_text(self, corpus: Any) -> bool:
        """Return whether a corpus that was gathered is one text, whose lines belong together."""
        return False

    def learn(self, lines: Iterable[str], train: TrainConfig, fraction: float) -> tuple[Codec, Encoded, Encoded]:
        """Hold out a fraction of the corpus, learn the names from the rest, and encode both parts.

        Raises CorpusError for an empty or malformed corpus.
        """
        records = self.gather(lines)
        self.warnings = self.doubts(records)
        learned, held_out = _split(records, fraction, train.held_out_seed)
        codec = self.codec(learned, train, records)
        return codec, self.encode(learned, codec), self.encode(held_out, codec)

    def again(self, lines: Iterable[str], codec: Codec, train: TrainConfig, fraction: float) -> tuple[Encoded, Encoded]:
        """Encode both parts of a corpus with the names that `learn` returned; the parts are the same."""
        learned, held_out = _split(self.gather(lines), fraction, train.held_out_seed)
        return self.encode(learned, codec), self.encode(held_out, codec)

    def encode_corpus(self, lines: Iterable[str], codec: Codec) -> Encoded:
        """Encode a whole corpus with the names that were learned from another one.

        Raises CorpusError with the place of a malformed record or an unknown label.
        """
        records = lines if isinstance(lines, Gathered) else self.read(lines, set(codec.labels) or None)
        return self.encode(records, codec)

    def doubts(self, records: list[Any]) -> list[str]:
        """Return a warning for each thing that looks wrong with the records of a training corpus."""
        return []

    def labels(self, records: list[Any]) -> list[str]:
        """Return all labels of the records."""
        return [label for label, _ in records]

    def has_answer(self, line: str, labels: Container[str]) -> bool:
        """Return whether a line of input looks like a record of a corpus, which contains its answer."""
        return False


def labels_to_choose_from(labels: Iterable[str], name: str) -> tuple[str, ...]:
    """Return each label once, sorted; raise CorpusError if there is only one."""
    found = tuple(sorted(set(labels)))
    if len(found) == 1:
        raise CorpusError(f"{found[0]!r} is the only {name}", hint=f"give a corpus with at least two {name}s")
    return found


def _split(records: list[Any], fraction: float, seed: int) -> tuple[list[Any], list[Any]]:
    learned, held_out = ([records[i] for i in part] for part in split_lines(len(records), fraction, seed))
    if not learned:
        raise CorpusError("the corpus is empty", hint="name a file with at least one record")
    return learned, held_out

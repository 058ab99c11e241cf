"""The reader of music: pieces, each with its genre if the model is conditioned."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from charlm.config import TextConfig, TrainConfig
from charlm.errors import CorpusError
from charlm.text.dataset import Pieces, offsets_of
from charlm.text.doubts import doubts_about_labels
from charlm.text.lines.reading import numbered
from charlm.text.reader import CorpusReader, labels_to_choose_from
from charlm.text.records import check_label, columns
from charlm.text.tokens.codec import SPECIAL, Codec
from charlm.text.tokens.levels import splitter_of
from charlm.text.tokens.music_steps import PIANO, parse_steps
from charlm.text.tokens.tokenizer import Tokenizer
from charlm.text.tokens.vocabulary import EOS, UNK, Vocabulary


class MusicRecord(NamedTuple):
    """A piece, its genre (empty without --condition), and its place in the corpus."""

    genre: str
    steps: list[tuple[int, ...]]
    place: str


class Music(CorpusReader):
    """Pieces of music; if conditioned, each one with a genre, which is x<1>."""

    def __init__(self, text: TextConfig, *, conditioned: bool = False) -> None:
        super().__init__(text)
        self.conditioned = conditioned

    def read(self, lines: Iterable[str], known: Collection[str] | None = None) -> list[MusicRecord]:
        records = []
        for line, place in numbered(lines):
            genre, piece = columns(line, "genre TAB piece", place) if self.conditioned else ("", line)
            if self.conditioned:
                check_label(genre, known, "genre", place)
            try:
                steps = list(parse_steps(piece))
            except ValueError as error:
                raise CorpusError(f"{error}, {place}", hint="see the README on what this task reads") from error
            if not steps:
                raise CorpusError(f"a piece without steps, {place}", hint="leave the line out")
            records.append(MusicRecord(genre, steps, place))
        return records

    def codec(self, records: list[Any], train: TrainConfig, everything: list[Any]) -> Codec:
        keys = {*PIANO, *chain.from_iterable(chain.from_iterable(steps) for _, steps, _ in everything)}
        vocabulary = Vocabulary((EOS, UNK, *map(str, range(min(keys), max(keys) + 1))))
        labels = labels_to_choose_from(self.labels(everything), "genre") if self.conditioned else ()
        return Codec(Tokenizer(splitter_of(self.text), vocabulary), labels)

    def encode(self, records: list[Any], codec: Codec) -> Pieces:
        keys = codec.tokenizer.vocabulary.ids
        offsets = offsets_of(len(record.steps) for record in records)
        roll = np.zeros((int(offsets[-1]), len(keys) - SPECIAL), np.uint8)
        placed = ((record.place, step) for record in records for step in record.steps)
        for number, (place, step) in enumerate(placed):
            for key in step:
                if str(key) not in keys:
                    raise CorpusError(
                        f"the key {key} was never seen in training, {place}",
                        hint="charlm inspect MODEL --vocabulary lists the keys that the model knows",
                    )
                roll[number, keys[str(key)] - SPECIAL] = 1
        labels = codec.label_ids(self.labels(records)) if self.conditioned else None
        return Pieces(roll, offsets, labels, len(codec.labels))

    def doubts(self, records: list[Any]) -> list[str]:
        pieces = [tuple(record.steps) for record in records]
        return doubts_about_labels(self.labels(records), pieces, ("genre", "piece")) if self.conditioned else []

    def labels(self, records: list[Any]) -> list[str]:
        return [record.genre for record in records]

"""The readers of the corpora: what each task reads, and how that becomes ids. A new reader is one entry of `READERS`.

| task | a record of the corpus | x<t> | y<t> |
|---|---|---|---|
| lm | a line | the token before | the token |
| lm, conditioned | label TAB text | the token before; x<1> is the label | the token |
| cloze | a line | the token, hidden from the network at step t | the token |
| tag | lines token TAB tag, up to a blank line | the token | its tag |
| classify | label TAB text | the token | the label, at the last step only |
| translate | source TAB target | the target's token before; the source is read first | the target's token |
| music | a piece a line, or genre TAB piece | the keys before | the keys |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from charlm.config import TextConfig, TrainConfig
from charlm.errors import CorpusError
from charlm.task import task_of
from charlm.text.batches.lanes import NO_TARGET
from charlm.text.dataset import Dataset, Encoded, Pairs, Sequences, offsets_of
from charlm.text.doubts import doubts_about_labels, doubts_about_pairs
from charlm.text.ids.encoder import count_tokens
from charlm.text.ids.store import Store
from charlm.text.learning import encode_corpus, encode_parts, gather, learn_spacing, learn_vocabulary, spelling_as
from charlm.text.music_text import Music
from charlm.text.reader import CorpusReader, labels_to_choose_from
from charlm.text.records import pairs
from charlm.text.running_text import is_running_text
from charlm.text.tag_lines import read_sentences
from charlm.text.tokens.characters import common_characters
from charlm.text.tokens.codec import BINARY, SPECIAL, Codec
from charlm.text.tokens.levels import gathering_splitter, splitter_of
from charlm.text.tokens.splitter import RESERVED
from charlm.text.tokens.subword import learn_pieces
from charlm.text.tokens.tokenizer import Tokenizer
from charlm.text.tokens.unknown_words import common_shapes
from charlm.text.tokens.vocabulary import EOS_ID, Vocabulary


class Texts(CorpusReader):
    """Lines without labels: a record is a line."""

    def read(self, lines: Iterable[str], known: Collection[str] | None = None) -> list[Any]:
        return list(lines)

    def codec(self, records: list[Any], train: TrainConfig, everything: list[Any]) -> Codec:
        return Codec(_tokenizer_of(records, self.text, train))


class Lines(Texts):
    """Lines for a language model: each one a sequence, or all of them one stream. A corpus may exceed the memory."""

    def encode(self, records: list[Any], codec: Codec) -> Dataset:
        return Dataset.of(*codec.tokenizer.encode_lines(records), self.text.unit)

    def gather(self, lines: Iterable[str]) -> Store:
        return gather(lines, gathering_splitter(self.text))

    def records_in(self, corpus: Store) -> int:
        return corpus.lines

    def is_running_text(self, corpus: Store) -> bool:
        return is_running_text(corpus)

    def learn(self, lines: Iterable[str], train: TrainConfig, fraction: float) -> tuple[Codec, Encoded, Encoded]:
        tokenizer, learned, held_out = learn_vocabulary(
            lines,
            self.text,
            fraction=fraction,
            seed=train.held_out_seed,
            max_size=train.vocab_size,
            min_count=train.min_count,
        )
        return Codec(tokenizer), learned, held_out

    def again(self, lines: Iterable[str], codec: Codec, train: TrainConfig, fraction: float) -> tuple[Encoded, Encoded]:
        return encode_parts(codec.tokenizer, lines, self.text.unit, fraction=fraction, seed=train.held_out_seed)

    def encode_corpus(self, lines: Iterable[str], codec: Codec) -> Encoded:
        return encode_corpus(codec.tokenizer, lines, self.text.unit)


class Cloze(Texts):
    """Lines in which every token but `<EOS>` is a target."""

    def encode(self, records: list[Any], codec: Codec) -> Sequences:
        ids, offsets = codec.tokenizer.encode_lines(records)
        ids = ids[ids != EOS_ID]
        return Sequences(ids, ids, offsets - np.arange(offsets.size))


class Tagged(CorpusReader):
    """Sentences with a tag for each token. Unknown words are distinguished by their shapes."""

    answers_warning = "the lines look like token TAB tag, but each is read as a sentence: use --columns"

    def read(self, lines: Iterable[str], known: Collection[str] | None = None) -> list[Any]:
        return read_sentences(lines, self.text, known)

    def codec(self, records: list[Any], train: TrainConfig, everything: list[Any]) -> Codec:
        splitter = splitter_of(self.text)
        found = Counter(splitter.normalized(token) for tokens, _ in records for token in tokens)
        counts: Counter[str] = Counter()
        for token, count in found.items():
            counts[splitter.spelled(token)] += count
        for reserved in RESERVED:
            counts.pop(reserved, None)
        words = _vocabulary_of(counts, train)
        rare = [token for token in found if splitter.spelled(token) not in words.ids]
        shapes = common_shapes(set(rare).difference(RESERVED))
        tokenizer = Tokenizer(splitter, Vocabulary((*words.tokens, *shapes)))
        tags = set(self.labels(everything))
        labels = BINARY if tags <= set(BINARY) else labels_to_choose_from(tags, "tag")
        return Codec(tokenizer, labels, characters=common_characters(found) if self.learns_characters else None)

    def encode(self, records: list[Any], codec: Codec) -> Sequences:
        ids, table = codec.read_words(chain.from_iterable(tokens for tokens, _ in records))
        offsets = offsets_of(len(tokens) for tokens, _ in records)
        return Sequences(ids, codec.label_ids(self.labels(records)), offsets, table)

    def doubts(self, records: list[Any]) -> list[str]:
        tokens = [token for tokens, _ in records for token in tokens]
        return doubts_about_labels(self.labels(records), tokens, ("tag", "token"), label_last=True)

    def labels(self, records: list[Any]) -> list[str]:
        return [tag for _, tags in records for tag in tags]

    def has_answer(self, line: str, labels: Container[str]) -> bool:
        return line.count("\t") == 1 and line.split("\t")[1] in labels


class Labelled(CorpusReader):
    """Texts with one label each, the target of the last token, `<EOS>`."""

    answers_warning = "the lines begin with a label and a tab, which are read as text: cut -f2 removes them"

    def read(self, lines: Iterable[str], known: Collection[str] | None = None) -> list[Any]:
        return list(pairs(lines, "label TAB text", known))

    def codec(self, records: list[Any], train: TrainConfig, everything: list[Any]) -> Codec:
        labels = labels_to_choose_from(self.labels(everything), "label")
        return Codec(_tokenizer_of([one for _, one in records], self.text, train), labels)

    def doubts(self, records: list[Any]) -> list[str]:
        return doubts_about_labels(self.labels(records), [one for _, one in records], ("label", "text"))

    def encode(self, records: list[Any], codec: Codec) -> Encoded:
        ids, offsets = codec.tokenizer.encode_lines([one for _, one in records])
        targets = np.full_like(ids, NO_TARGET)
        targets[offsets[1:] - 1] = codec.label_ids(self.labels(records))
        return Sequences(ids, targets, offsets)

    def has_answer(self, line: str, labels: Container[str]) -> bool:
        return "\t" in line and line.split("\t", 1)[0] in labels


class Conditioned(Labelled):
    """Lines for a language model, each with a label, its x<1>. The ids of labels come after those of tokens."""

    def encode(self, records: list[Any], codec: Codec) -> Encoded:
        ids, offsets = codec.tokenizer.encode_lines([one for _, one in records])
        return Dataset.of(ids, offsets, "line", codec.first_inputs(self.labels(records)))


class Translated(CorpusReader):
    """Lines with their translations."""

    answers_warning = "the lines look like source TAB target, but are read as sources: cut -f1 removes the targets"

    def read(self, lines: Iterable[str], known: Collection[str] | None = None) -> list[Any]:
        return list(pairs(lines, "source TAB target"))

    def codec(self, records: list[Any], train: TrainConfig, everything: list[Any]) -> Codec:
        source, target = (_tokenizer_of([pair[side] for pair in records], self.text, train) for side in (0, 1))
        return Codec(source, target=target)

    def encode_corpus(self, lines: Iterable[str], codec: Codec) -> Pairs:
        records = self.gather(lines)
        self.warnings = [*self.warnings, *(f"held out: {doubt}" for doubt in self.doubts(records))]
        return self.encode(records, codec)

    def doubts(self, records: list[Any]) -> list[str]:
        return doubts_about_pairs(records)

    def encode(self, records: list[Any], codec: Codec) -> Pairs:
        assert codec.target is not None
        return Pairs(
            codec.tokenizer.encode_lines([source for source, _ in records]),
            codec.target.encode_lines([target for _, target in records]),
        )

    def has_answer(self, line: str, labels: Container[str]) -> bool:
        return line.count("\t") == 1 and all(side.strip() for side in line.split("\t"))


READERS: dict[str, Callable[[TextConfig], CorpusReader]] = {
    "lines": Lines,
    "labelled lines": Conditioned,
    "gaps": Cloze,
    "tagged sentences": Tagged,
    "labelled texts": Labelled,
    "pairs": Translated,
    "pieces": Music,
    "labelled pieces": partial(Music, conditioned=True),
}


def corpus_reader(task: str, text: TextConfig, *, conditioned: bool, spells: bool = False) -> CorpusReader:
    """Return the reader of a task's corpus; spells: whether the network reads the characters of words too."""
    facts = task_of(task)
    reader = READERS[facts.conditioned_reader if conditioned else facts.reader](text)
    reader.learns_characters = spells
    return reader


def _tokenizer_of(texts: Sequence[str], text: TextConfig, train: TrainConfig) -> Tokenizer:
    if text.level == "subword" and not text.piece_model:
        reading = gathering_splitter(text)
        text = replace(text, piece_model=learn_pieces(map(reading.spelled, texts), train.vocab_size))
    splitter = splitter_of(text)
    vocabulary = splitter.vocabulary or _vocabulary_of(count_tokens(texts, splitter), train)
    return Tokenizer(spelling_as(splitter, learn_spacing(texts, splitter), vocabulary), vocabulary)


def _vocabulary_of(counts: dict[str, int], train: TrainConfig) -> Vocabulary:
    vocabulary = Vocabulary.build(counts, max_size=train.vocab_size, min_count=train.min_count)
    if len(vocabulary) == SPECIAL:
        hint = "lower --min-count" if counts else "give a corpus with at least one word"
        raise CorpusError("no token is left in the vocabulary", hint=hint)
    return vocabulary

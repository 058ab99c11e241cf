"""What each task reads, and how that becomes numbers. A new task is one class and one line in `TASK_TEXTS`.

| task | a record of the corpus | x<t> | y<t> |
|---|---|---|---|
| lm | a line | the token before | the token |
| lm, conditioned | label TAB text | the token before; x<1> is the label | the token |
| cloze | a line | the token, which the network does not get to see at t | the token |
| tag | lines token TAB tag, up to a blank one | the token | its tag |
| classify | label TAB text | the token | the label, at the last step alone |
| translate | source TAB target | the target's token before; the source is read first | the target's token |
| music | a piece a line, or genre TAB piece | the keys before | the keys |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from charlm.config import TextConfig, TrainConfig
from charlm.errors import CorpusError
from charlm.text.batches.lanes import NO_TARGET
from charlm.text.dataset import Dataset, Encoded, Pairs, Sequences, encode
from charlm.text.doubts import doubts_about_labels, doubts_about_pairs
from charlm.text.ids.encoder import count_tokens
from charlm.text.learning import Gathered, encode_corpus, gather, learn_vocabulary
from charlm.text.music_text import Music
from charlm.text.reader import TaskText, labels_to_choose_from, offsets_of
from charlm.text.records import pairs, sentences
from charlm.text.tokens.codec import BINARY, SPECIAL, Codec
from charlm.text.tokens.splitter import RESERVED, splitter_of
from charlm.text.tokens.tokenizer import Tokenizer
from charlm.text.tokens.unknown_words import common_shapes
from charlm.text.tokens.vocabulary import EOS_ID, Vocabulary


class Lines(TaskText):
    """The language model's lines, each a sequence of its own, or one stream of them; of any number."""

    def __init__(self, text: TextConfig) -> None:
        self.text = text

    def read(self, lines: Iterable[str], known: Container[str] | None = None) -> list[Any]:
        return list(lines)

    def codec(self, records: list[Any], text: TextConfig, train: TrainConfig, everything: list[Any]) -> Codec:
        return Codec(_tokenizer_of(records, text, train))

    def encode(self, records: list[Any], codec: Codec) -> Dataset:
        return encode(codec.tokenizer, records, self.text.unit)

    def gather(self, lines: Iterable[str]) -> Gathered:
        return gather(lines, splitter_of(self.text))

    def learn(
        self, lines: Iterable[str], text: TextConfig, train: TrainConfig, fraction: float
    ) -> tuple[Codec, Encoded, Encoded]:
        tokenizer, learned, held_out = learn_vocabulary(
            lines, text, fraction=fraction, seed=train.seed, max_size=train.vocab_size, min_count=train.min_count
        )
        return Codec(tokenizer), learned, held_out

    def again(self, lines: Iterable[str], codec: Codec, train: TrainConfig, fraction: float) -> tuple[Encoded, Encoded]:
        return encode_corpus(codec.tokenizer, lines, self.text.unit).split(fraction, train.seed)

    def encode_corpus(self, lines: Iterable[str], codec: Codec) -> Encoded:
        return encode_corpus(codec.tokenizer, lines, self.text.unit)


class Cloze(TaskText):
    """Lines of which every token is a target; the end of the line is none, as it is no secret."""

    def read(self, lines: Iterable[str], known: Container[str] | None = None) -> list[Any]:
        return list(lines)

    def codec(self, records: list[Any], text: TextConfig, train: TrainConfig, everything: list[Any]) -> Codec:
        return Codec(_tokenizer_of(records, text, train))

    def encode(self, records: list[Any], codec: Codec) -> Sequences:
        ids, offsets = codec.tokenizer.encode_lines(records)
        ids = ids[ids != EOS_ID]
        return Sequences(ids, ids, offsets - np.arange(offsets.size))


class Tagged(TaskText):
    """Sentences with a tag for each token; unknown words are told apart by their shapes."""

    def read(self, lines: Iterable[str], known: Container[str] | None = None) -> list[Any]:
        return list(sentences(lines, known))

    def codec(self, records: list[Any], text: TextConfig, train: TrainConfig, everything: list[Any]) -> Codec:
        splitter = splitter_of(text)
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
        return Codec(tokenizer, labels)

    def encode(self, records: list[Any], codec: Codec) -> Sequences:
        ids = codec.tokenizer.encode_tokens(chain.from_iterable(tokens for tokens, _ in records))
        return Sequences(ids, codec.label_ids(self.labels(records)), offsets_of(len(tokens) for tokens, _ in records))

    def doubts(self, records: list[Any]) -> list[str]:
        tokens = [token for tokens, _ in records for token in tokens]
        return doubts_about_labels(self.labels(records), tokens, ("tag", "token"), label_last=True)

    def labels(self, records: list[Any]) -> list[str]:
        return [tag for _, tags in records for tag in tags]


class Labelled(TaskText):
    """Texts with one label each, which is asked for after the last token, `<EOS>`."""

    def read(self, lines: Iterable[str], known: Container[str] | None = None) -> list[Any]:
        return list(pairs(lines, "label TAB text", known))

    def codec(self, records: list[Any], text: TextConfig, train: TrainConfig, everything: list[Any]) -> Codec:
        labels = labels_to_choose_from(self.labels(everything), "label")
        return Codec(_tokenizer_of([one for _, one in records], text, train), labels)

    def doubts(self, records: list[Any]) -> list[str]:
        return doubts_about_labels(self.labels(records), [one for _, one in records], ("label", "text"))

    def encode(self, records: list[Any], codec: Codec) -> Encoded:
        ids, offsets = codec.tokenizer.encode_lines([one for _, one in records])
        targets = np.full_like(ids, NO_TARGET)
        targets[offsets[1:] - 1] = codec.label_ids(self.labels(records))
        return Sequences(ids, targets, offsets)


class Conditioned(Labelled):
    """The language model's lines, each with the label that is its x<1>: its number comes after those of the tokens."""

    def encode(self, records: list[Any], codec: Codec) -> Encoded:
        ids, offsets = codec.tokenizer.encode_lines([one for _, one in records])
        return Dataset.of(ids, offsets, "line", codec.first_inputs(self.labels(records)))


class Translated(TaskText):
    """Lines with their translations."""

    def read(self, lines: Iterable[str], known: Container[str] | None = None) -> list[Any]:
        return list(pairs(lines, "source TAB target"))

    def codec(self, records: list[Any], text: TextConfig, train: TrainConfig, everything: list[Any]) -> Codec:
        source, target = (_tokenizer_of([pair[side] for pair in records], text, train) for side in (0, 1))
        return Codec(source, target=target)

    def encode_corpus(self, lines: Iterable[str], codec: Codec) -> Pairs:
        records = self.read(lines)
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


TASK_TEXTS: dict[str, Callable[[TextConfig, bool], TaskText]] = {  # of a text's configuration and of --condition
    "lm": lambda text, conditioned: Conditioned() if conditioned else Lines(text),
    "cloze": lambda text, conditioned: Cloze(),
    "tag": lambda text, conditioned: Tagged(),
    "classify": lambda text, conditioned: Labelled(),
    "translate": lambda text, conditioned: Translated(),
    "music": lambda text, conditioned: Music(conditioned=conditioned),
}


def task_text(task: str, text: TextConfig, *, conditioned: bool) -> TaskText:
    """Give what reads the corpus of a task."""
    return TASK_TEXTS[task](text, conditioned)


def _tokenizer_of(texts: Sequence[str], text: TextConfig, train: TrainConfig) -> Tokenizer:
    splitter = splitter_of(text)
    return Tokenizer(splitter, _vocabulary_of(count_tokens(texts, splitter), train))


def _vocabulary_of(counts: dict[str, int], train: TrainConfig) -> Vocabulary:
    vocabulary = Vocabulary.build(counts, max_size=train.vocab_size, min_count=train.min_count)
    if len(vocabulary) == SPECIAL:
        hint = "lower --min-count" if counts else "give a corpus with at least one word in it"
        raise CorpusError("no token is left in the vocabulary", hint=hint)
    return vocabulary

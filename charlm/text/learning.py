"""A corpus encoded once, its vocabulary learned, and a part of it held out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice

import numpy as np

from charlm.config import TextConfig
from charlm.errors import CorpusError
from charlm.text.dataset import Dataset
from charlm.text.ids.cache import Entry, evict
from charlm.text.ids.encoder import Encoder, count_tokens, make_encoder
from charlm.text.ids.store import DiskStore, MemoryStore, Store
from charlm.text.ids.store_writer import StoreWriter
from charlm.text.lines.reading import Lines, blocks_of
from charlm.text.tokens.joining import Spacing, SpacingCounts
from charlm.text.tokens.levels import gathering_splitter, splitter_of
from charlm.text.tokens.splitter import PunctuationSplitter, Splitter
from charlm.text.tokens.subword import learn_pieces
from charlm.text.tokens.tokenizer import Tokenizer
from charlm.text.tokens.vocabulary import EOS_ID, UNK_ID, Vocabulary

MOST_IN_MEMORY = 1 << 24  # tokens
# Of a vocabulary as JSON: the header of a model file has room for a little more than twice that.
_MOST_BYTES = 40_000_000


def gather(lines: Iterable[str] | Store, splitter: Splitter) -> Store:
    """Encode a corpus in one pass, unless it is encoded already, or an earlier run has left it in the cache.

    The ids are provisional: tokens are numbered in the order in which they occur first, after `<EOS>` and `<UNK>`.
    Lines of files are read in blocks, others one by one. Up to `MOST_IN_MEMORY` tokens stay in memory; a larger corpus
    goes to the disk block by block.
    Raises CorpusError if the lines cannot be read. Raises ResourceError if neither the cache, nor the folder for
    temporary files, nor the memory has room for the ids.
    """
    if isinstance(lines, Store):
        return lines
    entry = Entry(lines, splitter) if isinstance(lines, Lines) and lines.size is not None else None
    found = entry.find() if entry else None
    if found is not None:
        return found
    counts = SpacingCounts()
    blocks = blocks_of(lines, words=splitter.joins_with_spaces)
    return _stored(_counted(blocks, splitter, counts), make_encoder(splitter), counts, entry)


def _stored(blocks: Iterable[str], encoder: Encoder, counts: SpacingCounts, entry: Entry | None = None) -> Store:
    """Encode blocks of lines, in memory or on the disk; entry: the place in the cache."""
    encoded = map(encoder, blocks)
    begun, size = [np.empty(0, np.int32)], 0
    for ids in encoded:
        begun.append(ids)
        size += ids.size
        if size >= MOST_IN_MEMORY:
            return _on_disk(encoder, chain(begun[1:], encoded), counts, entry)
    return MemoryStore.of(np.concatenate(begun, dtype=np.int32), encoder.tokens, counts.spacing())


def _on_disk(encoder: Encoder, encoded: Iterator[np.ndarray], counts: SpacingCounts, entry: Entry | None) -> DiskStore:
    evict()
    with StoreWriter(keep=entry is not None) as writer:
        for ids in encoded:
            writer.add(ids)
        return writer.finish(encoder.tokens, entry.name if entry else None, counts.spacing())


def _counted(blocks: Iterable[str], splitter: Splitter, counts: SpacingCounts) -> Iterator[str]:
    """Yield blocks of lines, and count the spaces between their tokens."""
    for block in blocks:
        if isinstance(splitter, PunctuationSplitter) and not counts.is_full:
            counts.add_lines(block.split("\n"), splitter.spaced)
        yield block


def learn_vocabulary(
    lines: Iterable[str] | Store,
    config: TextConfig,
    *,
    fraction: float,
    seed: int,
    max_size: int | None = None,
    min_count: int = 1,
) -> tuple[Tokenizer, Dataset, Dataset]:
    """Encode a corpus, hold out a part, and learn the vocabulary of the other part alone.

    The held-out part measures the model on text that it has not seen: a word that occurs there alone is unknown.
    Returns the tokenizer, the training part and the held-out part. Raises CorpusError if there is nothing to learn,
    and what `gather` raises.
    """
    corpus = gather(lines, gathering_splitter(config))
    whole, known = Dataset(corpus, config.unit), len(corpus.tokens)
    if not corpus.counts(known)[2:].any():
        raise CorpusError("the corpus is empty", hint="name a text file with at least one word in it")
    train, valid = whole.split(fraction, seed)
    if config.level == "subword":
        learned = config if config.piece_model else replace(config, piece_model=learn_pieces(lines_of(train), max_size))
        pieces = splitter_of(learned)
        assert pieces.vocabulary is not None
        return Tokenizer(pieces, pieces.vocabulary), _recoded(train, pieces), _recoded(valid, pieces)
    splitter = splitter_of(config)
    seen = zip(corpus.tokens, train.counts(known).tolist(), strict=True)
    counts = {token: count for token, count in islice(seen, 2, None) if count}
    vocabulary = splitter.vocabulary or Vocabulary.build(counts, max_size=max_size, min_count=min_count)
    if len(vocabulary) == 2:
        raise CorpusError(
            "no token is left in the vocabulary", hint="lower --min-count" if counts else "lower --valid-fraction"
        )
    if (size := len(json.dumps(vocabulary.tokens))) > _MOST_BYTES:
        raise CorpusError(
            f"the vocabulary takes {size:,} bytes, and a model file has room for {_MOST_BYTES:,}",
            hint="give --vocab-size or --min-count, or --level char if no spaces separate the words",
        )
    numbers = _ids_of(corpus.tokens, vocabulary)
    splitter = spelling_as(splitter, corpus.spacing, vocabulary)
    return Tokenizer(splitter, vocabulary), replace(train, numbers=numbers), replace(valid, numbers=numbers)


def spelling_as(splitter: Splitter, spacing: Spacing, vocabulary: Vocabulary) -> Splitter:
    """Return the splitter that joins the tokens of a vocabulary with a learned spacing, if it can learn one."""
    return (
        splitter.spelling_as(spacing.within(vocabulary.ids)) if isinstance(splitter, PunctuationSplitter) else splitter
    )


def learn_spacing(texts: Iterable[str], splitter: Splitter) -> Spacing:
    """Return the spacing of texts, read once; without any context for a rule that does not learn one."""
    counts = SpacingCounts()
    if isinstance(splitter, PunctuationSplitter):
        counts.add_lines(texts, splitter.spaced)
    return counts.spacing()


def encode_corpus(tokenizer: Tokenizer, lines: Iterable[str] | Store, unit: str) -> Dataset:
    """Encode a corpus with a given vocabulary; raises what `gather` raises."""
    return encode_parts(tokenizer, lines, unit, fraction=0.0, seed=0)[0]


def encode_parts(
    tokenizer: Tokenizer, lines: Iterable[str] | Store, unit: str, *, fraction: float, seed: int
) -> tuple[Dataset, Dataset]:
    """Encode a corpus with a given vocabulary, and hold out the part that `learn_vocabulary` holds out.

    Returns the training part and the held-out part. Raises what `gather` raises.
    """
    corpus = gather(lines, tokenizer.splitter.gathered_by)
    parts = Dataset(corpus, unit).split(fraction, seed)
    if tokenizer.splitter.gathered_by is not tokenizer.splitter:
        train, valid = (_recoded(part, tokenizer.splitter) for part in parts)
    else:
        numbers = _ids_of(corpus.tokens, tokenizer.vocabulary)
        train, valid = (replace(part, numbers=numbers) for part in parts)
    return train, valid


def _recoded(part: Dataset, splitter: Splitter) -> Dataset:
    """Return a part of a corpus of characters in the tokens of another rule."""
    store = _stored(blocks_of(lines_of(part), words=False), make_encoder(splitter), SpacingCounts())
    return Dataset(store, part.unit)


def lines_of(corpus: Dataset) -> Iterator[str]:
    """Yield the lines of a corpus that was gathered by characters; a part of a stream may end within one."""
    points = np.array([ord("\n"), ord("\ufffd"), *map(ord, corpus.store.tokens[2:])], "<u4")
    begun = ""
    for ids in corpus.parts():
        *lines, begun = (begun + points[ids].tobytes().decode("utf-32-le", "surrogatepass")).split("\n")
        yield from lines
    if begun:
        yield begun


def _ids_of(tokens: Sequence[str], vocabulary: Vocabulary) -> np.ndarray:
    """Return the id in a vocabulary of each provisional id, int32."""
    return np.array([EOS_ID, UNK_ID, *map(vocabulary.id_of, tokens[2:])], np.int32)


def counted(
    lines: Iterable[str], config: TextConfig, *, max_size: int | None = None, min_count: int = 1
) -> tuple[Splitter, Vocabulary, dict[str, int]]:
    """Return the splitter and the vocabulary of a whole corpus, and how often its tokens occur, frequent ones first.

    Pieces are learned from the corpus, which is then in memory. Raises what reading the lines raises.
    """
    if config.level == "subword" and not config.piece_model:
        lines = list(lines)
        spelled = map(gathering_splitter(config).spelled, lines)
        config = replace(config, piece_model=learn_pieces(spelled, max_size))
    splitter = splitter_of(config)
    counts = count_tokens(lines, splitter)
    found = Vocabulary.build(counts, max_size=max_size, min_count=min_count)
    ordered = {token: counts[token] for token in found.tokens[2:]}
    return splitter, splitter.vocabulary or found, ordered


def coverage_of(counts: Mapping[str, int], vocabulary: Vocabulary) -> dict[str, int | float]:
    """Return how much of a text is out of vocabulary: tokens, types, and the rate of tokens.

    counts: how often each token of the text occurs
    """
    unknown = {token: count for token, count in counts.items() if token not in vocabulary.ids}
    tokens, oov = sum(counts.values()), sum(unknown.values())
    return {
        "tokens": tokens,
        "oov": oov,
        "oov_rate": oov / tokens if tokens else 0.0,
        "types": len(counts),
        "oov_types": len(unknown),
    }

"""The vocabulary of a corpus, learned from the part that is not held out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import islice

from charlm.config import TextConfig
from charlm.errors import CorpusError
from charlm.text.dataset import Dataset
from charlm.text.gathering import Gathered, gather
from charlm.text.stored import StoredLines, StoredStream
from charlm.text.tokens.splitter import splitter_of
from charlm.text.tokens.tokenizer import Tokenizer
from charlm.text.tokens.vocabulary import Vocabulary

_MOST_BYTES = 40_000_000  # of a vocabulary as JSON: a model file's header has room for twice as many, and a little more

Part = Dataset | StoredLines | StoredStream


def learn_vocabulary(
    lines: Iterable[str] | Gathered,
    config: TextConfig,
    *,
    fraction: float,
    seed: int,
    max_size: int | None = None,
    min_count: int = 1,
) -> tuple[Tokenizer, Part, Part]:
    """Encode a corpus and hold out a part of it, with a vocabulary of the other part alone.

    The held-out part is to tell how the model does on text that it has not seen; a word that only it has is unknown.
    Returns the tokenizer, the training part and the held-out part. Raises CorpusError where there is nothing to learn,
    and as `gather` does.
    """
    splitter = splitter_of(config)
    corpus = gather(lines, splitter)
    whole, known = corpus.whole(config.unit), len(corpus.tokens)
    if not whole.counts(known)[2:].any():
        raise CorpusError("the corpus is empty", hint="name a text file with at least one word in it")
    train, valid = whole.split(fraction, seed)
    seen = zip(corpus.tokens, train.counts(known).tolist(), strict=True)
    counts = {token: count for token, count in islice(seen, 2, None) if count}
    vocabulary = Vocabulary.build(counts, max_size=max_size, min_count=min_count)
    if len(vocabulary) == 2:
        raise CorpusError(
            "no token is left in the vocabulary", hint="lower --min-count" if counts else "lower --valid-fraction"
        )
    if (size := len(json.dumps(vocabulary.tokens))) > _MOST_BYTES:
        raise CorpusError(
            f"the vocabulary takes {size:,} bytes, and a model file has room for {_MOST_BYTES:,}",
            hint="give --vocab-size or --min-count, or --level char where words are not set apart",
        )
    numbers = corpus.ids_of(vocabulary)
    return Tokenizer(splitter, vocabulary), train.renumbered(numbers), valid.renumbered(numbers)


def encode_corpus(tokenizer: Tokenizer, lines: Iterable[str] | Gathered, unit: str) -> Part:
    """Encode a corpus with a vocabulary that is there already; raises what `gather` raises."""
    corpus = gather(lines, tokenizer.splitter)
    return corpus.whole(unit).renumbered(corpus.ids_of(tokenizer.vocabulary))


def coverage_of(counts: Mapping[str, int], vocabulary: Vocabulary) -> dict[str, int | float]:
    """Give how much of a text, as token counts, a vocabulary lacks: tokens, types, and the rate of each."""
    unknown = {token: count for token, count in counts.items() if token not in vocabulary.ids}
    tokens, oov = sum(counts.values()), sum(unknown.values())
    return {
        "tokens": tokens,
        "oov": oov,
        "oov_rate": oov / tokens if tokens else 0.0,
        "types": len(counts),
        "oov_types": len(unknown),
    }

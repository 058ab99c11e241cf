"""Choosing among drawn texts: those that are new, each once, the likeliest first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from charlm.config import Record
from charlm.errors import UsageError
from charlm.language_model import LanguageModel
from charlm.text import Tokenizer

STALLED = 1_000  # draws in a row without a text that may be kept, after which no more are drawn
_DIGEST_BYTES = 16  # that stand for a text: two of 10^9 texts share them with a probability of 10^-21


class Drawn(Protocol):
    """A drawn text, as `Sampler.sample` and `PieceSampler.sample` return it."""

    log_prob: float

    @property
    def text(self) -> str:
        """The prompt and the continuation."""

    @property
    def tokens(self) -> list[str]:
        """The drawn tokens."""


AnyDrawn = TypeVar("AnyDrawn", bound=Drawn)


@dataclass(frozen=True)
class Choice(Record):
    """Which of the drawn texts to keep. Raises UsageError for an impossible choice.

    count: number of texts to keep
    unique: keep each text once
    best_of: number of draws from which the likeliest is kept
    sort: put the likeliest first, after all are drawn
    min_length, max_length: characters of a text, its prompt included; None for any number
    """

    count: int = 1
    unique: bool = False
    best_of: int = 1
    sort: bool = False
    min_length: int = 0
    max_length: int | None = None

    def __post_init__(self) -> None:
        for flag, value, least in (
            ("--num-samples", self.count, 1),
            ("--best-of", self.best_of, 1),
            ("--min-length", self.min_length, 0),
            ("--max-length", self.max_length, 0),
        ):
            if value is not None and value < least:
                raise UsageError(f"{flag} {value} is too small", hint=f"the smallest value is {least}")
        if self.max_length is not None and self.max_length < self.min_length:
            raise UsageError(
                f"--max-length {self.max_length} is below --min-length {self.min_length}",
                hint="no text has such a length: raise --max-length or lower --min-length",
            )

    def fits(self, text: str) -> bool:
        """Return whether a text has an allowed length."""
        return self.min_length <= len(text) and (self.max_length is None or len(text) <= self.max_length)


@dataclass
class Counts:
    """What has been drawn so far.

    drawn: number of texts
    distinct: how many of them differ; counted if each text is kept once
    known: how many of them are known; of those that differ, if each text is kept once
    kept: number of texts that were kept
    is_stalled: whether `STALLED` draws in a row brought no text that may be kept
    """

    drawn: int = 0
    distinct: int = 0
    known: int = 0
    kept: int = 0
    is_stalled: bool = False


class Texts:
    """A set of texts, two of which are equal if they have the same tokens.

    Differences that the model does not see do not count: white space between words, capitals after `--lowercase`,
    equivalent characters after `--normalize`. Each text takes about 150 bytes of memory, whatever its length.
    """

    def __init__(self, tokenizer: Tokenizer, texts: Iterable[str] = ()) -> None:
        self._tokenizer = tokenizer
        self.digests = {digest_of(text, tokenizer) for text in texts}

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and digest_of(text, self._tokenizer) in self.digests

    def __len__(self) -> int:
        return len(self.digests)


def digest_of(text: str, tokenizer: Tokenizer) -> bytes:
    """Return a hash of the tokens of a text of any number of lines."""
    splitter = tokenizer.splitter
    spelled = splitter.spelled(text)
    if splitter.joins_with_spaces:
        spelled = "\n".join(" ".join(splitter.split(line)) for line in text.split("\n"))
    return hashlib.blake2b(spelled.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()


def known_texts(language_model: LanguageModel, lines: Iterable[str]) -> Texts:
    """Return the set of the texts that are the lines of a corpus.

    For a conditioned model, a line `LABEL TAB TEXT` with one of its labels is TEXT.
    """
    labels = language_model.labels if language_model.is_conditioned else ()

    def text_of(line: str) -> str:
        label, tab, text = line.partition("\t")
        return text if tab and label in labels else line

    return Texts(language_model.tokenizer, map(text_of, lines))


def mean_log_prob(drawn: Drawn) -> float:
    """Return (1/T) ln P, the mean over the T drawn tokens; 0 without any.

    A sum would put the shortest texts first.
    """
    return drawn.log_prob / max(1, len(drawn.tokens))


def choose(
    draw: Callable[[int], AnyDrawn],
    choice: Choice,
    tokenizer: Tokenizer,
    *,
    known: Texts | None = None,
    counts: Counts | None = None,
) -> Iterator[AnyDrawn]:
    """Yield the texts to keep, in the order in which they are drawn, or the likeliest first.

    The draws have the numbers 0, 1, 2 and so on. What is kept of them depends on the draws before, but no draw does.
    Of each `best_of` draws in turn, the likeliest text that may be kept is kept. The likeliest text has the highest
    `mean_log_prob`; of equally likely ones, the first. Fewer than `count` texts are yielded if `STALLED` draws in a
    row bring no text that may be kept.

    If the likeliest come first, all kept texts are held in memory. If each text is kept once, each distinct one takes
    about 150 bytes.

    draw: returns the text with a number
    known: texts that are left out
    counts: updated on the way
    """
    kept = _kept(draw, choice, tokenizer, known or Texts(tokenizer), counts if counts is not None else Counts())
    yield from sorted(kept, key=lambda one: -mean_log_prob(one)) if choice.sort else kept


def _kept(
    draw: Callable[[int], AnyDrawn], choice: Choice, tokenizer: Tokenizer, known: Texts, counts: Counts
) -> Iterator[AnyDrawn]:
    """Yield the texts to keep in the order in which they are drawn."""
    # The digests of the texts so far, and whether each was kept; empty unless each text is kept once.
    was_kept: dict[bytes, bool] = {}
    in_vain = 0
    while counts.kept < choice.count and not counts.is_stalled:
        best: tuple[AnyDrawn, bytes] | None = None
        for _ in range(choice.best_of):
            one = draw(counts.drawn)
            counts.drawn += 1
            digest = digest_of(one.text, tokenizer) if choice.unique or known.digests else b""
            is_known, is_first = digest in known.digests, digest not in was_kept
            if choice.unique:
                counts.distinct += is_first
                was_kept.setdefault(digest, False)
            counts.known += is_known and is_first
            if is_known or was_kept.get(digest, False) or not choice.fits(one.text):
                in_vain += 1
                counts.is_stalled = in_vain == STALLED
            else:
                in_vain = 0
                if best is None or mean_log_prob(one) > mean_log_prob(best[0]):
                    best = one, digest
            if counts.is_stalled:
                break
        if best is not None:
            if choice.unique:
                was_kept[best[1]] = True
            counts.kept += 1
            yield best[0]

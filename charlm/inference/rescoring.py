"""N-best lists rescored by a language model, and the weights that suit them best.

A hypothesis of a recogniser or translator has the total

    score + lm_weight ln P(text) + word_bonus words

and of the hypotheses of an utterance the one with the largest total is the best.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from charlm.errors import CorpusError, UsageError
from charlm.inference.scoring import Scorer
from charlm.inference.weight_search import NBest, WeightSearch
from charlm.inference.word_errors import word_errors
from charlm.language_model import LanguageModel
from charlm.text.lines.reading import WINDOW_SIZE, windows
from charlm.text.nbest import Hypothesis, in_lists

_LISTS = 64  # lists that are scored together
# As Kaldi counts them: other white space, such as U+00A0, may be inside a word.
_WORD = re.compile(r"[^ \t\n\v\f\r]+")


@dataclass(frozen=True)
class Weights:
    """The weight of ln P, and what is added for each word."""

    lm_weight: float = 1.0
    word_bonus: float = 0.0


@dataclass(frozen=True)
class Scored:
    """A hypothesis and what the language model says of it.

    number: its place in the list of its utterance, from 1
    lnp: ln P(text); for a cloze model the pseudo-log-probability
    words: number of its words, which white space separates
    """

    utterance: str
    number: int
    score: float
    text: str
    lnp: float
    words: int

    def total_with(self, weights: Weights) -> float:
        """Return score + lm_weight lnp + word_bonus words."""
        return self.score + weights.lm_weight * self.lnp + weights.word_bonus * self.words


@dataclass(frozen=True)
class Rescored(Scored):
    """A hypothesis and its total."""

    total: float


@dataclass(frozen=True)
class Tuned:
    """Weights found with reference texts, and the word errors that they leave.

    utterances, words: number of utterances with a reference, and of words in their references
    errors_before, errors: of the hypotheses with the best score, and of those with the best total
    oracle_errors: the fewest that the lists allow, with the best hypothesis of each
    without_reference, without_hypotheses: names of the utterances that were left out
    """

    weights: Weights
    utterances: int
    words: int
    errors_before: int
    errors: int
    oracle_errors: int
    without_reference: tuple[str, ...] = ()
    without_hypotheses: tuple[str, ...] = ()

    @property
    def wer_before(self) -> float:
        """The word error rate of the hypotheses with the best score."""
        return self.errors_before / self.words

    @property
    def wer(self) -> float:
        """The word error rate with the weights."""
        return self.errors / self.words

    @property
    def oracle(self) -> float:
        """The smallest word error rate that the lists allow."""
        return self.oracle_errors / self.words


def scored_lists(
    model: LanguageModel,
    hypotheses: Iterable[tuple[str, float, str] | Hypothesis],
    *,
    label: str | None = None,
    batch_size: int = 64,
    at_once: bool = False,
) -> Iterator[list[Scored]]:
    """Return an iterator over the scored hypotheses of each utterance, in order.

    Memory does not grow with the number of utterances, except for their names. Each distinct text is scored once,
    unless millions of characters lie between. An empty text is scored like an empty line.

    hypotheses: utterance, score and text; those of an utterance are adjacent
    label: the first input of a conditioned model
    at_once: yield each list before the next one is read
    Raises CorpusError for hypotheses that are not adjacent, UsageError for a label that does not fit the model.
    """
    if model.is_conditioned:
        model.label_number(label)
    elif label is not None:
        raise UsageError("--class: this model was not trained with --condition", hint="train one with --condition")
    lists = windows(in_lists(hypotheses), 1 if at_once else _LISTS, size=_characters)
    return _scored(Scorer(model, batch_size=batch_size, label=label), lists)


def _scored(scorer: Scorer, lists: Iterable[list[list[Hypothesis]]]) -> Iterator[list[Scored]]:
    known: dict[str, float] = {}
    for window in lists:
        if sum(map(len, known)) > WINDOW_SIZE:
            known.clear()
        new = dict.fromkeys(one.text for found in window for one in found if one.text not in known)
        known.update((score.text, -score.nats + 0.0) for score in scorer.score(new))
        for found in window:
            yield [
                Scored(one.utterance, number, one.score, one.text, known[one.text], len(words_of(one.text)))
                for number, one in enumerate(found, start=1)
            ]


def _characters(hypotheses: Sequence[Hypothesis]) -> int:
    return sum(len(one.text) for one in hypotheses)


def words_of(text: str) -> list[str]:
    """Return the words of a text, which white space separates."""
    return _WORD.findall(text)


def ranked(scored: Iterable[Scored], weights: Weights) -> list[Rescored]:
    """Return hypotheses with their totals, the best first; equal ones stay in their order."""
    found = [
        Rescored(one.utterance, one.number, one.score, one.text, one.lnp, one.words, one.total_with(weights))
        for one in scored
    ]
    return sorted(found, key=lambda one: -one.total)


def rescore(
    model: LanguageModel,
    hypotheses: Iterable[tuple[str, float, str] | Hypothesis],
    weights: Weights,
    *,
    all: bool = False,
    label: str | None = None,
) -> Iterator[Rescored]:
    """Return an iterator over the best hypothesis of each utterance, in order.

    all: yield all hypotheses, the best of an utterance first
    hypotheses, label: as for `scored_lists`, which also names what is raised
    """
    lists = scored_lists(model, hypotheses, label=label)
    return (one for scored in lists for one in ranked(scored, weights)[: None if all else 1])


def tune_weights(lists: Iterable[Sequence[Scored]], references: Mapping[str, str]) -> Tuned:
    """Return the weights with which the best hypotheses have the fewest word errors.

    Of weights with equally few errors, those in the middle of a large region are taken, and few digits.
    The errors of a hypothesis are the substitutions, insertions and deletions of words, see `word_errors`.

    lists: of one utterance each, as `scored_lists` yields them
    references: the text of each utterance; utterances without a reference, or without a list, are left out
    Raises CorpusError if no list has a reference, or if the references have no words.
    """
    with_errors: list[list[tuple[float, float, float, int]]] = []
    left_out, unused, words = [], dict(references), 0
    for scored in lists:
        name = scored[0].utterance
        if name not in references:
            left_out.append(name)
            continue
        unused.pop(name, None)
        reference = words_of(references[name])
        words += len(reference)
        errors: dict[str, int] = {}
        for one in scored:
            if one.text not in errors:
                errors[one.text] = word_errors(reference, words_of(one.text))
        with_errors.append([(one.score, one.lnp, float(one.words), errors[one.text]) for one in scored])
    if not with_errors:
        what = f"no reference for {left_out[0]!r} or any other utterance" if left_out else "there are no hypotheses"
        raise CorpusError(f"nothing to tune: {what}", hint="give references with the ids of the lists")
    if not words:
        raise CorpusError("nothing to tune: the references have no words", hint="give lines ID TAB TEXT")
    nbest = NBest.of(with_errors)
    weights = Weights(*WeightSearch(nbest).best())
    return Tuned(
        weights,
        len(with_errors),
        words,
        nbest.errors_with(0.0, 0.0),
        nbest.errors_with(weights.lm_weight, weights.word_bonus),
        sum(min(one[3] for one in found) for found in with_errors),
        tuple(left_out),
        tuple(unused),
    )

"""What a model finds of lines of text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from charlm.api.lines import plain_lines
from charlm.inference.activations import Recorder, states_of
from charlm.inference.adaptation import Adapter
from charlm.inference.cloze import Filled, Filler
from charlm.inference.comparison import Compared
from charlm.inference.comparison import compare as comparison_of
from charlm.inference.filtering import FilteredLine, Rule
from charlm.inference.filtering import filter_lines as filtered_lines
from charlm.inference.pairs import ScoredPair, read_pairs
from charlm.inference.pairs import score_pairs as scored_pairs
from charlm.inference.prediction import Prediction
from charlm.inference.prediction import predict as predictions_of
from charlm.inference.rank import Ranked
from charlm.inference.rank import rank as ranking_of
from charlm.inference.rescoring import Rescored, Tuned, Weights, scored_lists, tune_weights
from charlm.inference.rescoring import rescore as rescored
from charlm.inference.scoring import Score, Scorer
from charlm.inference.surprisal import Per, Surprisal, surprisals
from charlm.inference.trace import Trace
from charlm.inference.trace import trace as trace_of
from charlm.language_model import LanguageModel


def adapt(model: LanguageModel, **options: Any) -> Adapter:
    """Return a model that adapts to the text it reads, for `score` and `surprisal`, in the order of its lines.

    The model itself is not changed. `language_model` of the result has the weights of dynamic evaluation so far.

    options: `rate` and `length` of dynamic evaluation; `cache`, `weight` and `flatness` of a neural cache
    Raises UsageError for a model of another task and for an invalid number.
    """
    return Adapter(model, **options)


def score(model: LanguageModel | Adapter, lines: Iterable[str]) -> Iterator[Score]:
    """Yield the score of each line, in order: `nats`, `log10p`, `prob`, `tokens`, `oov`, `perplexity`.

    model: or what `adapt` returns
    Raises UsageError for a model of another task.
    """
    if isinstance(model, Adapter):
        return model.scorer().score(plain_lines(lines))
    model.require("score")
    return Scorer(model).score(plain_lines(lines))


def surprisal(
    model: LanguageModel | Adapter,
    lines: Iterable[str],
    *,
    per: Per | None = None,
    region: str | None = None,
    has_eos: bool = True,
) -> Iterator[Surprisal]:
    """Yield a record for each word of each line: `line`, `position`, `text`, `surprisal`, `entropy`, `rank`, etc.

    model: or what `adapt` returns
    per: "word", "token" or "region"
    region: the mark between regions, which is not part of the text; a record is then of a region unless `per` is given
    has_eos: yield a record for `<EOS>`, the end of each line
    Raises UsageError for a model of another task, and for regions without a mark.
    """
    adapter = model if isinstance(model, Adapter) else None
    language_model = model.language_model if isinstance(model, Adapter) else model
    language_model.require("surprisal")
    return surprisals(language_model, plain_lines(lines), per=per, region=region, has_eos=has_eos, adapter=adapter)


def rank(
    model: LanguageModel,
    lines: Iterable[str],
    *,
    count: int = 20,
    by: str = "bits-per-char",
    likeliest: bool = False,
    above: float | None = None,
    masks: Collection[str] = (),
) -> list[Ranked]:
    """Return the oddest lines, the oddest first: `rank`, `number` of the line, `text`, `value`, `score`, `runs`.

    `runs` are the odd parts of the text, each with `start`, `end` and `bits`. Memory grows with `count` only.

    by: what ranks: bits-per-char, bits or perplexity
    likeliest: return the likeliest lines in place of the oddest
    above: leave out lines whose value is not above it
    masks: what is scored as zeros: digits, hex
    Raises UsageError for an unknown measure or mask, or a model of another task.
    """
    model.require("rank")
    return ranking_of(model, plain_lines(lines), count=count, by=by, likeliest=likeliest, above=above, masks=masks)


def filter_lines(
    model: LanguageModel,
    lines: Iterable[str],
    *,
    below: float | None = None,
    above: float | None = None,
    top: str | int | None = None,
    percentile: float | None = None,
    of: Iterable[str] | None = None,
    minus: LanguageModel | None = None,
    by: str = "bits-per-char",
    reverse: bool = False,
) -> Iterator[FilteredLine]:
    """Yield the lines that stay, in order: `number`, from 1, `text` and `value`, in bits a character by default.

    One of these tells which lines stay:
    below, above: those with a lower, or a higher value
    top: those with the lowest values: "20%" of all lines, or a number of lines; all lines are then read first
    percentile: those whose value is at most this percentile of the values of a clean text `of`

    minus: a second model, whose value is subtracted (Moore and Lewis 2010)
    by: bits-per-char, bits or perplexity
    reverse: yield the other lines
    Raises UsageError for an invalid rule or a model of another task, CorpusError for a clean text without lines.
    """
    rule = Rule(below, above, top, percentile, has_clean=of is not None)
    for one in (model, *([minus] if minus else [])):
        one.require("filter")
    clean = () if of is None else plain_lines(of)
    return filtered_lines(model, plain_lines(lines), rule, of=clean, minus=minus, by=by, reverse=reverse)


def score_pairs(model: LanguageModel, lines: Iterable[str]) -> Iterator[ScoredPair]:
    """Yield each minimal pair with `good` and `bad`, the scores of its sentences, and `credit`: 1, 1/2 for a tie, or 0.

    lines: JSON Lines as those of BLiMP, or good TAB bad
    Raises UsageError for a model that scores no text, CorpusError for a malformed line.
    """
    return scored_pairs(model, read_pairs(plain_lines(lines)))


def compare(models: Mapping[str, LanguageModel], lines: Iterable[str]) -> list[Compared]:
    """Return the bits a character of each model on the same text, with standard errors; the best comes first.

    models: by name
    Raises UsageError for models that cannot be compared, CorpusError for a text without characters.
    """
    return comparison_of(models, plain_lines(lines))


def rescore(
    model: LanguageModel,
    hypotheses: Iterable[tuple[str, float, str]],
    *,
    lm_weight: float = 1.0,
    word_bonus: float = 0.0,
    all: bool = False,
    label: str | None = None,
) -> Iterator[Rescored]:
    """Yield the best hypothesis of each utterance: `utterance`, `text`, `score`, `lnp`, `words`, `total`.

    The best has the largest total = score + lm_weight lnp + word_bonus words, with lnp = ln P(text).

    hypotheses: utterance, score and text; those of one utterance are adjacent
    all: yield all hypotheses, the best of an utterance first
    label: x<1> of a conditioned model
    Raises UsageError for a model of another task, CorpusError for an utterance in two places.
    """
    model.require("rescore")
    return rescored(model, hypotheses, Weights(lm_weight, word_bonus), all=all, label=label)


def tune_rescoring(
    model: LanguageModel,
    hypotheses: Iterable[tuple[str, float, str]],
    references: Mapping[str, str],
    *,
    label: str | None = None,
) -> Tuned:
    """Return the weights for `rescore` that lead to the fewest word errors: `weights`, `wer_before`, `wer`, `oracle`.

    hypotheses, label: as for `rescore`
    references: the right text of each utterance; utterances without one are left out
    Raises what `rescore` raises, and CorpusError if there is nothing to tune on.
    """
    model.require("rescore")
    return tune_weights(scored_lists(model, hypotheses, label=label), references)


def fill(model: LanguageModel, lines: Iterable[str], *, candidates: int = 1) -> Iterator[Filled]:
    """Yield each line with its gaps `___` filled: `filled`, and `gaps`, the likeliest candidates with their `prob`."""
    model.require("fill")
    return Filler(model, candidates=candidates).fill(plain_lines(lines))


def predict(model: LanguageModel, lines: Iterable[str], **options: Any) -> Iterator[Prediction]:
    """Yield the tags, class or translation of each line: `prediction` and `prob`; `beam` is for translations."""
    return predictions_of(model, plain_lines(lines), **options)


def activations(model: LanguageModel, lines: Iterable[str]) -> dict[str, np.ndarray]:
    """Return what all units and gates do over a text: arrays with a row for each token, as `states_of` names them.

    Raises UsageError for a model of music, CorpusError for a malformed line of a conditioned model.
    """
    return states_of(Recorder(model), plain_lines(lines))


def trace(model: LanguageModel, text: str) -> Trace:
    """Return every symbol of the model's equations over a text, with its numbers, forward and backward: `records`.

    text: after a label and a tab if the model is conditioned; with its end at most 20 tokens
    Raises UsageError for a model of another task or a longer text.
    """
    return trace_of(model, text)

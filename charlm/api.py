"""The Python API: functions that train, save, load and use models."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from charlm import checkpoint
from charlm.backends import get_backend
from charlm.config import ModelConfig, SampleConfig, TextConfig, TrainConfig
from charlm.inference.activations import Recorder, states_of
from charlm.inference.choosing import Choice, choose, known_texts
from charlm.inference.cloze import Filled, Filler
from charlm.inference.comparison import Compared
from charlm.inference.comparison import compare as comparison_of
from charlm.inference.generation import Sample, Sampler
from charlm.inference.music import Piece, PieceSampler
from charlm.inference.next_tokens import NextToken
from charlm.inference.next_tokens import next_tokens as next_tokens_of
from charlm.inference.pairs import ScoredPair, read_pairs
from charlm.inference.pairs import score_pairs as scored_pairs
from charlm.inference.prediction import Prediction
from charlm.inference.prediction import predict as predictions_of
from charlm.inference.rank import Ranked
from charlm.inference.rank import rank as ranking_of
from charlm.inference.scoring import Score, Scorer
from charlm.inference.trace import Trace
from charlm.inference.trace import trace as trace_of
from charlm.language_model import LanguageModel
from charlm.session import SIZES, prepare_from


def train(lines: Iterable[str], *, condition: bool = False, **options: Any) -> LanguageModel:
    """Train a model on lines and return it with the weights of its best evaluation.

    condition: whether each line begins with a label and a tab; the label is then x<1>
    options: fields of `TextConfig`, `ModelConfig` and `TrainConfig`; those not given follow from the corpus
    Raises UsageError for an invalid option, TypeError for an unknown one, CorpusError for an empty or malformed corpus.
    Raises DivergenceError if the loss becomes NaN or infinite and cannot be recovered.
    """
    names = {field.name for kind in (TextConfig, ModelConfig, TrainConfig) for field in fields(kind)}
    if strange := sorted(set(options) - (names - {*SIZES, "valid"})):
        raise TypeError(f"train() has no option {strange[0]!r}")
    session = prepare_from(_lines(lines), options, conditioned=condition)
    for _ in session.trainer.run():
        pass
    session.trainer.take_best()
    return replace(session.language_model, outcome=session.trainer.outcome())


def save(model: LanguageModel, path: str | Path) -> None:
    """Write a model file, atomically; raise ResourceError if that fails."""
    checkpoint.save(Path(path), model)


def load(path: str | Path, *, device: str = "auto") -> LanguageModel:
    """Read a model file; raise ModelFileError if it is missing, damaged or not a model.

    path: with or without the suffix `.safetensors`
    """
    return checkpoint.load(Path(path), get_backend(device)).language_model


def generate(model: LanguageModel, prompt: str = "", *, label: str | None = None, seed: int = 0, **options: Any) -> str:
    """Return one sampled text, or piece of music, that begins with the prompt.

    label: x<1> of a conditioned model
    options: fields of `SampleConfig`
    Raises UsageError for an invalid option or a model of another task.
    """
    model.require("generate")
    config = SampleConfig(**options)
    if model.facts.answers == "pieces":
        return PieceSampler(model, config).sample(prompt, label=label, seed=seed).text
    return Sampler(model, config, label=label).sample(prompt, seed=seed).text


def generate_many(
    model: LanguageModel,
    count: int,
    prompt: str = "",
    *,
    label: str | None = None,
    seed: int = 0,
    not_in: Iterable[str] = (),
    unique: bool = False,
    best_of: int = 1,
    sort: bool = False,
    min_length: int = 0,
    max_length: int | None = None,
    **options: Any,
) -> Iterator[Sample] | Iterator[Piece]:
    """Yield sampled texts, or pieces of music: `text`, `new_text`, `tokens`, `log_prob`.

    The texts are some of those that `count` draws or more give with the seed, see `inference.choosing.choose`. Fewer
    are yielded if 1,000 draws in a row bring no new one.

    not_in: lines that are left out
    unique: yield each text once
    best_of: number of draws from which the likeliest per token is taken
    sort: yield the likeliest per token first
    min_length, max_length: characters of a text, its prompt included
    label, options: as for `generate`
    Raises what `generate` raises.
    """
    model.require("generate")
    config, choice = SampleConfig(**options), Choice(count, unique, best_of, sort, min_length, max_length)
    known = known_texts(model, _lines(not_in))
    if model.facts.answers == "pieces":
        pieces = PieceSampler(model, config)
        return choose(
            lambda number: pieces.sample(prompt, label=label, seed=seed, number=number),
            choice,
            model.tokenizer,
            known=known,
        )
    sampler = Sampler(model, config, label=label)
    return choose(lambda number: sampler.sample(prompt, seed=seed, number=number), choice, model.tokenizer, known=known)


def next_tokens(
    model: LanguageModel, prompt: str = "", *, candidates: int = 10, label: str | None = None
) -> list[NextToken]:
    """Return the likeliest tokens after a prompt, the likeliest first: `token`, `prob`, `log10p`.

    Raises UsageError for a model of another task.
    """
    model.require("next")
    return next_tokens_of(model, prompt, candidates=candidates, label=label)


def score_pairs(model: LanguageModel, lines: Iterable[str]) -> Iterator[ScoredPair]:
    """Yield each minimal pair with `good` and `bad`, the scores of its sentences, and `credit`: 1, 1/2 for a tie, or 0.

    lines: JSON Lines as those of BLiMP, or good TAB bad
    Raises UsageError for a model that scores no text, CorpusError for a malformed line.
    """
    return scored_pairs(model, read_pairs(_lines(lines)))


def score(model: LanguageModel, lines: Iterable[str]) -> Iterator[Score]:
    """Yield the score of each line, in order: `nats`, `log10p`, `prob`, `tokens`, `oov`, `perplexity`.

    Raises UsageError for a model of another task.
    """
    model.require("score")
    return Scorer(model).score(_lines(lines))


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
    return ranking_of(model, _lines(lines), count=count, by=by, likeliest=likeliest, above=above, masks=masks)


def activations(model: LanguageModel, lines: Iterable[str]) -> dict[str, np.ndarray]:
    """Return what all units and gates do over a text: arrays with a row for each token, as `states_of` names them.

    Raises UsageError for a model of music, CorpusError for a malformed line of a conditioned model.
    """
    return states_of(Recorder(model), _lines(lines))


def compare(models: Mapping[str, LanguageModel], lines: Iterable[str]) -> list[Compared]:
    """Return the bits a character of each model on the same text, with standard errors; the best comes first.

    models: by name
    Raises UsageError for models that cannot be compared, CorpusError for a text without characters.
    """
    return comparison_of(models, _lines(lines))


def trace(model: LanguageModel, text: str) -> Trace:
    """Return every symbol of the model's equations over a text, with its numbers, forward and backward: `records`.

    text: after a label and a tab if the model is conditioned; with its end at most 20 tokens
    Raises UsageError for a model of another task or a longer text.
    """
    return trace_of(model, text)


def fill(model: LanguageModel, lines: Iterable[str], *, candidates: int = 1) -> Iterator[Filled]:
    """Yield each line with its gaps `___` filled: `filled`, and `gaps`, the likeliest candidates with their `prob`."""
    model.require("fill")
    return Filler(model, candidates=candidates).fill(_lines(lines))


def predict(model: LanguageModel, lines: Iterable[str], **options: Any) -> Iterator[Prediction]:
    """Yield the tags, class or translation of each line: `prediction` and `prob`; `beam` is for translations."""
    return predictions_of(model, _lines(lines), **options)


def _lines(lines: Iterable[str]) -> Iterator[str]:
    """Return the lines without their newlines, which open files have; raise TypeError for a single string."""
    if isinstance(lines, str):
        raise TypeError("lines must be an iterable of strings, not one string: use text.splitlines()")
    return (line.removesuffix("\n") for line in lines)

"""What a model draws, and what may come next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from charlm.api.lines import plain_lines
from charlm.config import SampleConfig
from charlm.inference.choosing import Choice, choose, known_texts
from charlm.inference.generation import Sample, Sampler
from charlm.inference.music import Piece, PieceSampler
from charlm.inference.next_tokens import NextToken
from charlm.inference.next_tokens import next_tokens as next_tokens_of
from charlm.language_model import LanguageModel


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
    min_length: int | None = None,
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
    min_length, max_length: characters of a text, its prompt included; without `min_length`, empty texts are left out if
        unknown or distinct ones are asked for
    label, options: as for `generate`
    Raises what `generate` raises.
    """
    model.require("generate")
    known = known_texts(model, plain_lines(not_in))
    least = int(unique or bool(known)) if min_length is None else min_length
    config, choice = SampleConfig(**options), Choice(count, unique, best_of, sort, least, max_length)
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

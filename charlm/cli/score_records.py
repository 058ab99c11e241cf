"""The records of `charlm score`: a line, its words, its tokens or its suspects, and lines for other programs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from charlm.cli import ui
from charlm.cli.tables_in import Source

_BASES = {"10": ("log10p", math.log(10.0)), "2": ("log2p", math.log(2.0)), "e": ("lnp", 1.0)}


@dataclass(frozen=True)
class Look:
    """What a record of a score looks like.

    key, unit: name of the log-probability, and nats in a unit of it
    pseudo: "pseudo_" in front of the names of a cloze model's figures, else ""
    per: line, word or token
    is_labelled: whether the model reads labels
    with_suspects: whether a record has suspects
    splitter: the rule that splits a line into tokens
    shaded: if given, a function of a score and its text that returns the text in colour
    """

    key: str
    unit: float
    pseudo: str
    per: str
    is_labelled: bool
    with_suspects: bool
    splitter: Any
    shaded: Callable[[Any, str], Any] | None = None

    @classmethod
    def of(
        cls,
        language_model: Any,
        log_base: str,
        per: str,
        *,
        with_suspects: bool,
        shaded: Callable[[Any, str], Any] | None = None,
    ) -> Look:
        """Return the look of a model's scores."""
        key, unit = _BASES[log_base]
        pseudo = "pseudo_" if language_model.facts.is_cloze else ""
        splitter = language_model.tokenizer.splitter
        return cls(pseudo + key, unit, pseudo, per, language_model.is_conditioned, with_suspects, splitter, shaded)

    @property
    def names(self) -> set[str]:
        """All names in the records."""
        of_line = {"prob", "perplexity", "bits_per_char"}
        also = {"text", "label", "suspects", "token_scores", "word_scores"}
        of_parts = {"line", self.per} if self.per != "line" else set()
        return {self.key, "tokens", "oov", *(self.pseudo + name for name in of_line), *also, *of_parts}

    def columns(self, format: str) -> list[str]:
        """Return the columns of a table."""
        if self.per != "line":
            tokens = ["tokens"] if self.per == "word" else []
            return ["line", self.per, self.key, *tokens, "oov"]
        label = ["label"] if self.is_labelled else []
        third = "suspects" if self.with_suspects else f"{self.pseudo}perplexity"
        return [self.key, "tokens", "oov", third, *label, "text"]

    def log_p(self, nats: float) -> float:
        """Return log P in the base that was asked for; 0 for -0."""
        return -nats / self.unit + 0.0


def records(found: Iterable[Any], source: Source, look: Look, format: str) -> Iterator[dict[str, Any]]:
    """Yield the records of scores in a format.

    found: scores, each with its suspects if the look has them
    """
    for number, one in enumerate(found, start=source.before + 1):
        score, suspects = one if look.with_suspects else (one, [])
        row = source.taken()
        if format != "jsonl" and look.per != "line":
            for part in _parts(score, look):
                yield source.joined(row, {"line": number, **part}, format)
            continue
        record = _record(score, look, is_whole=format == "jsonl")
        if look.with_suspects:
            record["suspects"] = _suspects(suspects, look, format)
        elif look.per != "line":
            parts = _parts(score, look)
            record[f"{look.per}_scores"] = [{**part, "oov": _json_oov(part["oov"], look)} for part in parts]
        record = source.joined(row, record, format)
        if look.shaded is not None:
            record["text"] = look.shaded(score, record["text"])
        yield record


def lines(found: Iterable[Any], source: Source, look: Look, format: str, *, negate: bool) -> Iterator[str]:
    """Yield the lines of a format without records: text, kaldi, kenlm or srilm."""
    from charlm.cli import lm_formats

    sign = -1.0 if negate else 1.0
    if format == "kenlm":
        yield from lm_formats.kenlm(_taking(found, source))
    elif format == "srilm":
        yield from lm_formats.srilm(_taking(found, source))
    elif format == "kaldi":
        for score in found:
            yield f"{source.key()} {ui.figure(sign * look.log_p(score.nats))}"
    else:
        for score in _taking(found, source):
            parts = [look.log_p(score.nats)] if look.per == "line" else [one[look.key] for one in _parts(score, look)]
            yield " ".join(ui.figure(sign * part) for part in parts)


def _taking(found: Iterable[Any], source: Source) -> Iterator[Any]:
    """Yield scores, and forget their rows, which are not printed."""
    for one in found:
        source.taken()
        yield one


def _record(score: Any, look: Look, *, is_whole: bool) -> dict[str, Any]:
    """Return the record of a line; is_whole: with the figures that a table leaves out."""
    label = {"label": score.label} if look.is_labelled else {}
    if not is_whole:
        return {
            look.key: look.log_p(score.nats),
            "tokens": score.tokens,
            "oov": score.oov,
            f"{look.pseudo}perplexity": score.perplexity,
            **label,
            "text": score.text,
        }
    return {
        "text": score.text,
        look.key: look.log_p(score.nats),
        f"{look.pseudo}prob": score.prob,
        "tokens": score.tokens,
        "oov": score.oov,
        f"{look.pseudo}perplexity": score.perplexity,
        f"{look.pseudo}bits_per_char": score.bits_per_char,
        **label,
    }


def _parts(score: Any, look: Look) -> list[dict[str, Any]]:
    """Return a record for each token or word of a line."""
    if look.per == "token":
        return [{"token": t.token, look.key: look.log_p(t.nats), "oov": int(t.oov)} for t in score.token_scores]
    from charlm.inference.words import word_scores

    return [
        {"word": one.word, look.key: look.log_p(one.nats), "tokens": one.tokens, "oov": one.oov}
        for one in word_scores(score, look.splitter)
    ]


def _json_oov(oov: int, look: Look) -> Any:
    """Return whether a token is out of vocabulary, or the number of such tokens of a word."""
    return bool(oov) if look.per == "token" else oov


def _suspects(suspects: Iterable[Any], look: Look, format: str) -> Any:
    """Return suspects as JSON, or as token>suggestion."""
    if format != "jsonl":
        return " ".join(f"{one.token}>{one.suggestion.token}" for one in suspects)
    return [
        {
            "position": one.position,
            "token": one.token,
            look.key: -one.nats / look.unit,
            "suggestion": one.suggestion.token,
            "prob": one.suggestion.prob,
        }
        for one in suspects
    ]

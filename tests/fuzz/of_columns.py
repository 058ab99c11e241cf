"""What has to hold of models whose corpora have columns, and of those of music: predicting, evaluating, playing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from charlm.config import SampleConfig
from charlm.inference.figures import figures
from charlm.inference.music import PieceSampler
from charlm.inference.prediction import Translator
from charlm.inference.prediction import predict as predictions_of
from charlm.inference.prediction.tagging import tag_tokens
from charlm.language_model import LanguageModel
from charlm.text import EOS_ID, NOTHING, UNK_ID
from charlm.text.tokens.music_steps import format_step
from tests.fuzz import texts
from tests.fuzz.models import Drawn
from tests.fuzz.properties import compare, ids_of, lines_for, plain_of, require

# ---- predict


def predicting(drawn: Drawn) -> None:
    """Tags, classes and translations are the model's, and the same whatever is read side by side."""
    model, lines = drawn.model, lines_for(drawn)
    if drawn.kind == "translate":
        lines = lines[:5]

    def found(**way: object) -> list[list[float]]:
        return [_probs(one) for one in predictions_of(model, lines, **way)]

    predictions = list(predictions_of(model, lines, batch_size=1))
    require([one.text for one in predictions] == lines, "the texts of predictions", lines)
    compare(drawn, "predict", [_probs(one) for one in predictions], found)
    check = {"tag": _tags_are_plain, "classify": _class_is_plain, "translate": _translation_is_plain}[model.task]
    for one in predictions:
        if len(ids_of(drawn, one.text)) <= 60:
            check(drawn, one)
    if model.task == "translate" and drawn.tolerance < 1e-5:  # else rounding decides between beginnings
        width = int(drawn.rng.integers(2, 6))
        wide = [_probs(one) for one in Translator(model, beam=width, batch_size=1).predict(lines)]
        compare(drawn, "predict --beam", wide, lambda **way: found(beam=width, **way))


def _probs(one) -> list[float]:
    if isinstance(one.prob, list):
        return one.prob
    return [one.prob, *one.others.get("probs", {}).values()] + [v for v in [one.others.get("log10p")] if v is not None]


def _tags_are_plain(drawn: Drawn, one) -> None:
    tokens = drawn.model.tokenizer.split(one.text)
    require(one.others["tokens"] == tokens, "the tokens of tags", one)
    require(len(one.prediction) == len(one.prob) == len(tokens), "one tag a token", one)
    if not tokens:
        return
    log_probs = _plain_tags(drawn.model, tokens)
    at = [drawn.model.labels.index(tag) for tag in one.prediction]
    probs = np.exp(log_probs)
    require(drawn.close(one.prob, probs[np.arange(len(at)), at]), "tags and the equations", one)
    require(drawn.close(one.prob, probs.max(axis=1)), "a tag is not the likeliest", one)


def _plain_tags(model: LanguageModel, tokens: list[str]) -> np.ndarray:
    """Return ln P of every tag of each token, from the equations."""
    known = {character: number for number, character in enumerate(model.codec.characters or (), 1)}
    words = map(model.tokenizer.splitter.normalized, tokens)
    spellings = [[known.get(character, 0) for character in (w if len(w) <= 64 else w[:32] + w[-32:])] for w in words]
    return plain_of(model).tags(model.tokenizer.encode_tokens(tokens).tolist(), spellings)


def _class_is_plain(drawn: Drawn, one) -> None:
    probs = np.exp(plain_of(drawn.model).classes([*ids_of(drawn, one.text), EOS_ID]))
    every = one.others["probs"]
    require(list(every) == list(drawn.model.labels), "the classes", one)
    require(drawn.close(list(every.values()), probs), "classes and the equations", one, probs)
    require(abs(sum(every.values()) - 1.0) < 1e-5, "classes do not sum to 1", one)
    require(one.prob == max(every.values()) == every[one.prediction], "a class is not the likeliest", one)


def _translation_is_plain(drawn: Drawn, one) -> None:
    """Beam 1 is greedy: each token is the likeliest but for <UNK>, until <EOS> or the length that is allowed."""
    plain, target = plain_of(drawn.model), drawn.model.codec.target
    source = [*ids_of(drawn, one.text), EOS_ID]
    limit = 2 * len(source) + 20
    ids = [target.vocabulary.ids[token] for token in one.others["tokens"]]
    whole = ids if len(ids) == limit else [*ids, EOS_ID]
    log_probs = plain.next_token([NOTHING, *whole[:-1]], source=source)
    total = float(log_probs[np.arange(len(whole)), whole].sum())
    require(drawn.close(one.others["log10p"] * math.log(10.0), total), "a translation and the equations", one, total)
    log_probs[:, UNK_ID] = -math.inf
    best = log_probs.max(axis=1)
    picked = log_probs[np.arange(len(whole)), whole]
    require(drawn.close(picked, best), "beam 1 is not greedy", one)


# ---- evaluate, of corpora with columns


def evaluating(drawn: Drawn) -> None:
    """The nats of a corpus with columns are those of the equations, for each size of batch."""
    rng, model = drawn.rng, drawn.model
    lines, expected, counts = CORPORA[model.task](drawn, int(rng.integers(1, 7)))
    for batch_size in (1, 3, 64):
        found = figures(model, lines, batch_size=batch_size)
        per = next(found[key] for key in ("nats_per_token", "nats_per_text", "nats_per_step") if key in found)
        require(drawn.close(per, expected), "evaluate and the equations", lines, batch_size, per, expected)
        require({key: found[key] for key in counts} == counts, "evaluate's counts", found, counts)


def _tagged(drawn: Drawn, count: int):
    rng, model = drawn.rng, drawn.model
    lines, nats, right, tokens = [], [], 0, 0
    for _ in range(count):
        sentence = [w for w in texts.line(rng, oddness=0.1).replace("\t", " ").split(" ") if w] or ["ra"]
        tags = [str(rng.choice(model.labels)) for _ in sentence]
        lines += [f"{word}\t{tag}" for word, tag in zip(sentence, tags, strict=True)] + [""]
        log_probs = _plain_tags(model, sentence)
        nats += [-log_probs[i, model.labels.index(tag)] for i, tag in enumerate(tags)]
        (found, _), tokens = next(iter(tag_tokens(model, [sentence]))), tokens + len(tags)
        right += sum(one == other for one, other in zip(found, tags, strict=True))
    return lines, float(np.mean(nats)), {"sentences": count, "tokens": tokens, "accuracy": right / tokens}


def _labelled(drawn: Drawn, count: int):
    rng, model = drawn.rng, drawn.model
    pairs = [(str(rng.choice(model.labels)), texts.field(rng)) for _ in range(count)]
    nats = []
    for label, text in pairs:
        log_probs = plain_of(model).classes([*ids_of(drawn, text), EOS_ID])
        nats.append(-log_probs[model.labels.index(label)])
    found = predictions_of(model, [text for _, text in pairs])
    right = sum(one.prediction == label for one, (label, _) in zip(found, pairs, strict=True))
    return [f"{a}\t{b}" for a, b in pairs], float(np.mean(nats)), {"texts": count, "accuracy": right / count}


def _pairs(drawn: Drawn, count: int):
    model = drawn.model
    lines, nats = [], []
    for _ in range(count):
        source, target = texts.field(drawn.rng), texts.field(drawn.rng)
        lines.append(f"{source}\t{target}")
        ids = [*model.codec.target.encode(target).tolist(), EOS_ID]
        log_probs = plain_of(model).next_token([NOTHING, *ids[:-1]], source=[*ids_of(drawn, source), EOS_ID])
        nats += (-log_probs[np.arange(len(ids)), ids]).tolist()
    return lines, float(np.mean(nats)), {"sentences": count, "tokens": len(nats)}


def _pieces(drawn: Drawn, count: int):
    rng, model = drawn.rng, drawn.model
    lines, nats = [], []
    for _ in range(count):
        label = str(rng.choice(model.labels)) if model.labels else None
        steps = [_random_keys(drawn) for _ in range(rng.integers(1, 9))]
        lines.append("\t".join([*([label] if label else []), " ".join(map(format_step, steps))]))
        z, on = plain_of(model).keys(_rows(model, steps, label)), np.array([_row(model, keys) for keys in steps])
        nats += np.logaddexp(0.0, (1.0 - 2.0 * on) * z).sum(axis=1).tolist()
    return lines, float(np.mean(nats)), {"pieces": count, "steps": len(nats)}


# ---- music


def _numbers(model: LanguageModel) -> list[int]:
    return [int(name) for name in model.tokenizer.vocabulary.tokens[2:]]


def _random_keys(drawn: Drawn) -> tuple[int, ...]:
    return tuple(key for key in _numbers(drawn.model) if drawn.rng.random() < 0.2)


def _row(model: LanguageModel, keys: Iterable[int]) -> list[float]:
    return [float(key in set(keys)) for key in _numbers(model)]


def _rows(model: LanguageModel, steps: list[tuple[int, ...]], label: str | None) -> np.ndarray:
    """Return what the network reads, a row for each step that it predicts."""
    x = np.zeros((len(steps), len(_numbers(model)) + len(model.labels)))
    for before, row in zip(steps, x[1:], strict=False):
        row[: len(_numbers(model))] = _row(model, before)
    if label is not None:
        x[0, len(_numbers(model)) + model.labels.index(label)] = 1.0
    return x


def playing(drawn: Drawn) -> None:
    """The log-probability of a drawn piece is that of the equations."""
    rng, model = drawn.rng, drawn.model
    label = str(rng.choice(model.labels)) if model.labels else None
    given = [_random_keys(drawn) for _ in range(rng.integers(0, 3))]
    for temperature in (1.0, 0.0, 0.5, 3.0):
        config = SampleConfig(length=int(rng.integers(0, 12)), temperature=temperature)
        piece, again = (
            PieceSampler(model, config).sample(" ".join(map(format_step, given)), label=label, seed=3) for _ in range(2)
        )
        require(piece == again, "the same seed, another piece", piece, again)
        require(len(piece.steps) == len(given) + config.length, "the length of a piece", piece)
        if not piece.steps:
            continue
        z, on = plain_of(model).keys(_rows(model, piece.steps, label)), np.array([_row(model, k) for k in piece.steps])
        expected = -np.logaddexp(0.0, (1.0 - 2.0 * on) * z)[len(given) :].sum()
        require(drawn.close(piece.log_prob, expected), "a piece and the equations", piece, expected)


CORPORA: dict[str, Callable] = {"tag": _tagged, "classify": _labelled, "translate": _pairs, "music": _pieces}

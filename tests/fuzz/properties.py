"""What has to hold of every model, whatever its weights are; each property is a function of a drawn model.

Figures that are equal but for rounding may differ by `models.TOLERANCE`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from charlm import checkpoint
from charlm.backends import NumpyBackend
from charlm.cloze import Filler, suspects
from charlm.config import SampleConfig, TrainConfig
from charlm.figures import figures
from charlm.generation import Sampler
from charlm.language_model import LanguageModel
from charlm.music import PieceSampler
from charlm.prediction import Translator
from charlm.prediction import predict as predictions_of
from charlm.prediction.tagging import tag_tokens
from charlm.scoring import Score, Scorer
from charlm.session import prepare
from charlm.text import EOS, EOS_ID, NOTHING, UNK_ID
from charlm.text.pieces import format_step
from tests.fuzz import texts
from tests.fuzz.cases import Failed
from tests.fuzz.models import Drawn
from tests.fuzz.plain import Plain

_LONG = 150  # pieces of a very long line
_WAYS = ((1, None, 1), (3, None, 1), (64, None, 1), (64, None, 2), (2, 1, 1))  # batch size, window, threads


def holds(condition: bool, what: str, *values: object) -> None:
    """Raise `Failed` where a property does not hold."""
    if not condition:
        raise Failed(f"{what}: {', '.join(map(repr, values))}")


def plain_of(language_model: LanguageModel) -> Plain:
    """Return the same network, computed plainly."""
    parameters = language_model.model.parameters
    return Plain(language_model.model.config, parameters.named(parameters.values))


def lines_for(drawn: Drawn, count: int = 9) -> list[str]:
    """Draw lines as the commands take them that read text: with a label for a conditioned model."""
    rng, labels = drawn.rng, drawn.model.labels
    if drawn.kind == "conditioned":
        return [f"{rng.choice(labels)}\t{texts.field(rng)}" for _ in range(count)]
    many = 20 if rng.random() < 0.1 else count  # more lanes than one process takes
    return texts.lines(rng, many, long=_LONG if drawn.calm and rng.random() < 0.2 else 0)


def ids_of(drawn: Drawn, line: str) -> list[int]:
    """Return the ids of a line's tokens."""
    return drawn.model.tokenizer.encode(line).tolist()


# ---- score


def scoring(drawn: Drawn) -> None:
    """The same figures whatever is read side by side, and those of the equations."""
    lines = lines_for(drawn)
    first = list(Scorer(drawn.model, batch_size=1, per_token=True).score(lines))
    _scores_add_up(drawn, lines, first)
    _compare(drawn, "score", [_figures(score) for score in first], lambda **way: _scored(drawn, lines, **way))
    carried = drawn.model.is_stream
    if carried:
        first = list(Scorer(drawn.model, per_token=True, carry_state=True).score(lines))
        again = list(Scorer(drawn.model, carry_state=True, window=1).score(lines))
        holds(drawn.close([s.nats for s in first], [s.nats for s in again]), "--carry-state by window", lines)
    without = list(Scorer(drawn.model, batch_size=3, has_eos=False).score(lines))
    for line, score, short in zip(lines, list(Scorer(drawn.model, per_token=True).score(lines)), without, strict=True):
        shown = score.token_scores[:-1] if score.has_eos else score.token_scores
        holds(drawn.close(short.nats, sum(t.nats for t in shown)), "--no-eos", line)
    _scores_are_plain(drawn, lines, first, carried)
    _evaluation(drawn, lines, first)


def _scored(drawn: Drawn, lines: list[str], **way: object) -> list[list[float]]:
    return [_figures(score) for score in Scorer(drawn.model, per_token=True, **way).score(lines)]


def _figures(score: Score) -> list[float]:
    return [score.nats, score.oov_nats, score.tokens, score.oov, *(t.nats for t in score.token_scores)]


def _compare(drawn: Drawn, what: str, first: list, found: Callable[..., list]) -> None:
    """Check that each way of reading gives what one line at a time gave; a way may have no effect on some."""
    for batch_size, window, threads in _WAYS[1:]:
        with drawn.model.model.ops.threads(threads):
            other = found(batch_size=batch_size, window=window)
        holds(len(first) == len(other), f"{what}: lines with batches of {batch_size}", len(first), len(other))
        for number, (one, another) in enumerate(zip(first, other, strict=True)):
            holds(
                drawn.close(one, another),
                f"{what}: line {number} with batches of {batch_size}, window {window}, {threads} threads",
                one,
                another,
            )


def _scores_add_up(drawn: Drawn, lines: list[str], scores: list[Score]) -> None:
    holds(len(scores) == len(lines), "one score a line", len(lines), len(scores))
    for line, score in zip(lines, scores, strict=True):
        text = line.split("\t", 1)[1] if drawn.kind == "conditioned" else line
        ids = ids_of(drawn, text)
        each = score.token_scores
        holds(score.text == text, "the text of a score", score.text, text)
        holds(drawn.close(score.nats, sum(t.nats for t in each)), "tokens sum to the line", line)
        holds(drawn.close(score.oov_nats, sum(t.nats for t in each if t.oov)), "OOVs sum to their share", line)
        holds(score.oov == ids.count(UNK_ID) == sum(t.oov for t in each), "OOVs of a line", line, score.oov)
        ends = drawn.model.task != "cloze"
        holds(score.tokens == len(ids) + ends == len(each), "tokens of a line", line, score.tokens)
        holds([t.token_id for t in each] == ids + [EOS_ID] * ends, "ids of a line", line)
        written = [*drawn.model.tokenizer.split(text), *([EOS] if ends else [])]
        holds([t.token for t in each] == written, "tokens as written", line)
        holds(all(t.nats >= -drawn.tolerance for t in each), "a probability above 1", line, each)


def _scores_are_plain(drawn: Drawn, lines: list[str], scores: list[Score], carried: bool) -> None:
    """Compute the same from the equations, of lines that are not too long."""
    plain, labels = plain_of(drawn.model), drawn.model.labels
    vocabulary = len(drawn.model.tokenizer.vocabulary)
    if carried:  # one sequence, all lines of it
        ids = [token.token_id for score in scores for token in score.token_scores][:120]
        nats = [token.nats for score in scores for token in score.token_scores][:120]
        expected = -plain.next_token([NOTHING, *ids[:-1]])[np.arange(len(ids)), ids]
        holds(drawn.close(nats, expected), "carried scores and the equations", lines)
        return
    for line, score in zip(lines, scores, strict=True):
        ids = [token.token_id for token in score.token_scores]
        if not 0 < len(ids) <= 60:
            continue
        if drawn.kind == "cloze":
            log_probs = plain.cloze(ids)
        else:
            first = NOTHING
            if drawn.kind == "conditioned":
                first = vocabulary + labels.index(score.label)
            log_probs = plain.next_token([first, *ids[:-1]])
        expected = -log_probs[np.arange(len(ids)), ids]
        holds(drawn.close([t.nats for t in score.token_scores], expected), "scores and the equations", line)


def _evaluation(drawn: Drawn, lines: list[str], scores: list[Score]) -> None:
    """What `evaluate` says of a corpus is what `score` says of its lines, added up; of a stream, carried."""
    pseudo = "pseudo_" if drawn.kind == "cloze" else ""
    nats, tokens, oov = (sum(getattr(score, name) for score in scores) for name in ("nats", "tokens", "oov"))
    if not tokens:
        return
    for batch_size in (1,) if drawn.model.is_stream else (1, 3, 64):
        found = figures(drawn.model, lines, batch_size=batch_size)
        holds((found["tokens"], found["oov"]) == (tokens, oov), "evaluate's counts and score's", found, tokens, oov)
        per_token = found[f"{pseudo}nats_per_token"]
        holds(drawn.close(per_token, nats / tokens), "evaluate's nats and score's", lines, per_token, nats / tokens)
        ends = drawn.kind != "cloze"
        size = sum(len(score.text.encode("utf-8", "surrogateescape")) + ends for score in scores)
        bits = nats / math.log(2.0) / max(1, size)
        holds(drawn.close(found[f"{pseudo}bits_per_byte"], bits), "evaluate's bits a byte", found, bits)
        known = nats - sum(score.oov_nats for score in scores)
        if tokens > oov and known / (tokens - oov) < 500:
            of_known = math.log(found[f"{pseudo}perplexity_without_oov"])
            holds(drawn.close(of_known, known / (tokens - oov)), "evaluate's perplexity without OOVs", found)


# ---- generate


def generating(drawn: Drawn) -> None:
    """The log-probability of a drawn text is what the model gives that text; top-k of 1 is greedy."""
    rng, model = drawn.rng, drawn.model
    label = str(rng.choice(model.labels)) if model.labels else None
    word_level = model.tokenizer.level == "word"
    prompt = " ".join(texts.word(rng) for _ in range(rng.integers(0, 3)))
    for temperature in (1.0, 0.0, 0.5, 3.0):
        config = SampleConfig(
            length=int(rng.integers(0, 40)),
            temperature=temperature,
            top_k=int(rng.integers(1, 9)) if rng.random() < 0.3 else None,
            top_p=float(rng.random()) if rng.random() < 0.3 else None,
            allow_unk=word_level and bool(rng.random() < 0.5),
        )
        seed = int(rng.integers(1 << 20))
        sampler = Sampler(model, config, label=label)
        sample = sampler.sample(prompt, seed=seed)
        again = Sampler(model, config, label=label).sample(prompt, seed=seed)
        holds(sample == again, "the same seed, another text", config, prompt, sample, again)
        _is_scored_alike(drawn, sample, prompt, label, config)
        holds(len(sample.tokens) <= config.length, "more tokens than asked for", config, sample)
    greedy = Sampler(model, SampleConfig(length=30, temperature=0.0), label=label).sample(prompt, seed=1)
    for narrow in ({"top_k": 1}, {"top_p": 0.0}, {"top_p": 1e-9}):
        one = Sampler(model, SampleConfig(length=30, **narrow), label=label).sample(prompt, seed=2)
        holds(one == greedy, f"{narrow} is not greedy", one, greedy)


def _is_scored_alike(drawn: Drawn, sample, prompt: str, label: str | None, config: SampleConfig) -> None:
    model = drawn.model
    vocabulary = model.tokenizer.vocabulary
    first = NOTHING if label is None else len(vocabulary) + model.labels.index(label)
    begin, ids = ids_of(drawn, prompt), [vocabulary.ids[token] for token in sample.tokens]
    holds(config.allow_unk or UNK_ID not in ids, "<UNK> was drawn", sample)
    if ids:
        log_probs = plain_of(model).next_token([first, *begin, *ids[:-1]])[len(begin) :]
        expected = float(log_probs[np.arange(len(ids)), ids].sum())
        holds(drawn.close(sample.log_prob, expected), "generate's log-probability and the equations", sample, expected)
        mass = 0.0 if config.allow_unk else float(np.exp(log_probs[:, UNK_ID]).sum())
        holds(drawn.close(sample.unk_mass_rejected, mass), "the rejected mass of <UNK>", sample, mass)
    lines = sample.text.split("\n")
    ended = bool(ids) and ids[-1] == EOS_ID
    if ended and model.is_stream:
        lines.pop()
    if label is not None and (not lines[0] or "\t" in lines[0]):
        return  # a line that has no place in a corpus with labels
    scorer = Scorer(model, per_token=True, carry_state=model.is_stream)
    scored = [t for score in scorer.score(lines if label is None else [f"{label}\t{lines[0]}"]) for t in score.token_scores]
    scored = scored if ended else scored[:-1]
    holds([t.token_id for t in scored] == begin + ids, "a drawn text has other tokens than were drawn", sample, scored)
    nats = sum(t.nats for t in scored[len(begin) :])
    holds(drawn.close(-sample.log_prob, nats), "generate's log-probability and score's", sample, nats)


# ---- fill


def filling(drawn: Drawn) -> None:
    """Candidates have the model's probabilities, and are the same whatever is read side by side."""
    rng, model = drawn.rng, drawn.model
    vocabulary = len(model.tokenizer.vocabulary)
    lines = [line.replace("_", "") for line in texts.lines(rng, 8)]
    lines = [line if rng.random() < 0.2 else _with_gaps(line, int(rng.integers(1, 4)), rng) for line in lines]
    count = int(rng.choice([1, 3, vocabulary]))

    def found(batch_size: int, window: int | None):
        return list(Filler(model, candidates=count, batch_size=batch_size, window=window).fill(lines))

    first = found(1, None)
    for line, filled in zip(lines, first, strict=True):
        holds(filled.text == line, "the text of a filled line", line, filled)
        holds(len(filled.gaps) == line.count("___"), "gaps of a line", line, filled)
        holds("___" in line or filled.filled == line, "a line without a gap is changed", line, filled)
        for gap in filled.gaps:
            total = sum(candidate.prob for candidate in gap)
            holds(len(gap) == min(count, vocabulary - 2), "candidates of a gap", line, count, gap)
            holds(total <= 1.0 + 1e-6, "candidates above 1", line, total)
            holds(count < vocabulary - 2 or abs(total - 1.0) < 1e-6, "all candidates below 1", line, total)
        if len(filled.gaps) == 1:
            _is_the_models(drawn, line, filled)
    probs = [[[c.prob for c in gap] for gap in filled.gaps] for filled in first]
    _compare(
        drawn,
        "fill",
        [_flat(one) for one in probs],
        lambda **way: [_flat([[c.prob for c in gap] for gap in filled.gaps]) for filled in found(**way)],
    )


def suspecting(drawn: Drawn) -> None:
    """Suspects are the same whatever is read side by side, and each has something likelier."""
    lines, factor = lines_for(drawn), float(drawn.rng.choice([1.0, 2.0, 100.0]))
    first = list(suspects(drawn.model, lines, factor=factor, batch_size=1))
    scores = Scorer(drawn.model).score(lines)
    for line, score, (own, found) in zip(lines, scores, first, strict=True):
        holds(drawn.close(own.nats, score.nats), "the score beside suspects", line)
        tokens = drawn.model.tokenizer.split(line)
        for one in found:
            holds(tokens[one.position - 1] == one.token, "the place of a suspect", line, one)
            likelier = one.suggestion.prob >= factor * math.exp(-one.nats) * (1.0 - drawn.tolerance)
            holds(likelier, "a suggestion that is less likely", line, one, factor)
    if drawn.tolerance < 1e-5:  # else rounding decides about what is at the threshold
        for batch_size, window, _ in _WAYS[1:]:
            again = suspects(drawn.model, lines, factor=factor, batch_size=batch_size, window=window)
            for (_, one), (_, other) in zip(first, again, strict=True):
                named = [[(s.position, s.token, s.suggestion.token) for s in some] for some in (one, other)]
                holds(named[0] == named[1], f"suspects with batches of {batch_size}", lines, *named)


def _with_gaps(line: str, count: int, rng: np.random.Generator) -> str:
    pieces = line.split(" ")
    for _ in range(count):
        pieces.insert(int(rng.integers(len(pieces) + 1)), "___")
    return " ".join(pieces)


def _flat(gaps: Iterable[Iterable[float]]) -> list[float]:
    return [prob for gap in gaps for prob in gap]


def _is_the_models(drawn: Drawn, line: str, filled) -> None:
    """The only gap of a line has P(token | all others), of the known tokens."""
    before, after = line.split("___")
    ids = [*ids_of(drawn, before), UNK_ID, *ids_of(drawn, after)]
    place = len(ids_of(drawn, before))
    if len(ids) > 60:
        return
    probs = np.exp(plain_of(drawn.model).cloze(ids)[place])
    probs[[EOS_ID, UNK_ID]] = 0.0
    if not probs.sum() > 1e-200:
        return
    probs /= probs.sum()
    vocabulary = drawn.model.tokenizer.vocabulary
    expected = [probs[vocabulary.ids[candidate.token]] for candidate in filled.gaps[0]]
    holds(drawn.close([c.prob for c in filled.gaps[0]], expected), "fill and the equations", line, expected)
    holds(drawn.close(filled.gaps[0][0].prob, probs.max()), "the best candidate is not the likeliest", line)


# ---- predict


def predicting(drawn: Drawn) -> None:
    """Tags, classes and translations are the model's, and the same whatever is read side by side."""
    model, lines = drawn.model, lines_for(drawn)
    if drawn.kind == "translate":
        lines = lines[:5]

    def found(**way: object) -> list[list[float]]:
        return [_probs(one) for one in predictions_of(model, lines, **way)]

    predictions = list(predictions_of(model, lines, batch_size=1))
    holds([one.text for one in predictions] == lines, "the texts of predictions", lines)
    _compare(drawn, "predict", [_probs(one) for one in predictions], found)
    check = {"tag": _tags_are_plain, "classify": _class_is_plain, "translate": _translation_is_plain}[model.task]
    for one in predictions:
        if len(ids_of(drawn, one.text)) <= 60:
            check(drawn, one)
    if model.task == "translate" and drawn.tolerance < 1e-5:  # else rounding decides between beginnings
        width = int(drawn.rng.integers(2, 6))
        wide = [_probs(one) for one in Translator(model, beam=width, batch_size=1).predict(lines)]
        _compare(drawn, "predict --beam", wide, lambda **way: found(beam=width, **way))


def _probs(one) -> list[float]:
    if isinstance(one.prob, list):
        return one.prob
    return [one.prob, *one.others.get("probs", {}).values()] + [v for v in [one.others.get("log10p")] if v is not None]


def _tags_are_plain(drawn: Drawn, one) -> None:
    tokens = drawn.model.tokenizer.split(one.text)
    holds(one.others["tokens"] == tokens, "the tokens of tags", one)
    holds(len(one.prediction) == len(one.prob) == len(tokens), "one tag a token", one)
    if not tokens:
        return
    ids = drawn.model.tokenizer.encode_tokens(tokens).tolist()
    log_probs = plain_of(drawn.model).tags(ids)
    at = [drawn.model.labels.index(tag) for tag in one.prediction]
    probs = np.exp(log_probs)
    holds(drawn.close(one.prob, probs[np.arange(len(ids)), at]), "tags and the equations", one)
    holds(drawn.close(one.prob, probs.max(axis=1)), "a tag is not the likeliest", one)


def _class_is_plain(drawn: Drawn, one) -> None:
    probs = np.exp(plain_of(drawn.model).classes([*ids_of(drawn, one.text), EOS_ID]))
    every = one.others["probs"]
    holds(list(every) == list(drawn.model.labels), "the classes", one)
    holds(drawn.close(list(every.values()), probs), "classes and the equations", one, probs)
    holds(abs(sum(every.values()) - 1.0) < 1e-5, "classes do not sum to 1", one)
    holds(one.prob == max(every.values()) == every[one.prediction], "a class is not the likeliest", one)


def _translation_is_plain(drawn: Drawn, one) -> None:
    """Beam 1 is greedy: each token is the likeliest but for <UNK>, until <EOS> or the length that is allowed."""
    plain, target = plain_of(drawn.model), drawn.model.codec.target
    source = [*ids_of(drawn, one.text), EOS_ID]
    limit = 2 * len(source) + 20
    ids = [target.vocabulary.ids[token] for token in one.others["tokens"]]
    whole = ids if len(ids) == limit else [*ids, EOS_ID]
    log_probs = plain.next_token([NOTHING, *whole[:-1]], source=source)
    total = float(log_probs[np.arange(len(whole)), whole].sum())
    holds(drawn.close(one.others["log10p"] * math.log(10.0), total), "a translation and the equations", one, total)
    log_probs[:, UNK_ID] = -math.inf
    best = log_probs.max(axis=1)
    picked = log_probs[np.arange(len(whole)), whole]
    holds(drawn.close(picked, best), "beam 1 is not greedy", one)


# ---- evaluate, of corpora with columns


def evaluating(drawn: Drawn) -> None:
    """The nats of a corpus with columns are those of the equations, for each size of batch."""
    rng, model = drawn.rng, drawn.model
    lines, expected, counts = _CORPORA[model.task](drawn, int(rng.integers(1, 7)))
    for batch_size in (1, 3, 64):
        found = figures(model, lines, batch_size=batch_size)
        per = next(found[key] for key in ("nats_per_token", "nats_per_text", "nats_per_step") if key in found)
        holds(drawn.close(per, expected), "evaluate and the equations", lines, batch_size, per, expected)
        holds({key: found[key] for key in counts} == counts, "evaluate's counts", found, counts)


def _tagged(drawn: Drawn, count: int):
    rng, model = drawn.rng, drawn.model
    lines, nats, right, tokens = [], [], 0, 0
    for _ in range(count):
        sentence = [w for w in texts.line(rng, oddness=0.1).replace("\t", " ").split(" ") if w] or ["ra"]
        tags = [str(rng.choice(model.labels)) for _ in sentence]
        lines += [f"{word}\t{tag}" for word, tag in zip(sentence, tags, strict=True)] + [""]
        log_probs = plain_of(model).tags(model.tokenizer.encode_tokens(sentence).tolist())
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
        holds(piece == again, "the same seed, another piece", piece, again)
        holds(len(piece.steps) == len(given) + config.length, "the length of a piece", piece)
        if not piece.steps:
            continue
        z, on = plain_of(model).keys(_rows(model, piece.steps, label)), np.array([_row(model, k) for k in piece.steps])
        expected = -np.logaddexp(0.0, (1.0 - 2.0 * on) * z)[len(given) :].sum()
        holds(drawn.close(piece.log_prob, expected), "a piece and the equations", piece, expected)


# ---- train


def learning(drawn: Drawn) -> None:
    """What a training says of its held-out text is what `evaluate` says; the same seed learns the same."""
    model = drawn.model
    if len(model.labels) == 1:
        return  # there is nothing to learn from
    corpus, held_out = (_corpus(drawn, 5) for _ in range(2))
    network = {
        name: value
        for name, value in model.model.config.to_dict().items()
        if name not in ("vocabulary_size", "labels", "target_size")
    }
    config = TrainConfig(
        batch_size=int(drawn.rng.integers(1, 9)),
        seq_length=int(drawn.rng.integers(1, 40)),
        max_steps=int(drawn.rng.integers(1, 4)),
        optimizer=str(drawn.rng.choice(["adam", "rmsprop", "sgd"])),
        schedule=str(drawn.rng.choice(["constant", "cosine", "plateau"])),
        seed=int(drawn.rng.integers(100)),
    )
    trained = []
    for _ in range(2):
        conditioned = model.is_conditioned
        session = prepare(corpus, model.text, network, config, conditioned=conditioned, valid_lines=held_out)
        rows = [progress for progress in session.trainer.run() if progress.is_evaluation]
        session.trainer.take_best()
        trained.append(session.language_model)
    weights = [one.model.parameters.values for one in trained]
    holds(np.array_equal(*weights), "the same seed, other weights", config, network)
    holds(bool(np.isfinite(weights[0]).all()), "weights that are not finite", config, network)
    best = min(row.valid_nats for row in rows)
    if not model.is_stream:  # whose lanes begin elsewhere
        found = figures(trained[0], held_out)
        key = ("pseudo_nats_per_token", "nats_per_token", "nats_per_text", "nats_per_step")
        per = next(found[name] for name in key if name in found)
        holds(drawn.close(per, best), "evaluate and the training's own figure", config, network, per, best)


def _corpus(drawn: Drawn, count: int) -> list[str]:
    """Draw a corpus of the model's kind, with each of its labels and without anything that no file could hold."""
    if drawn.model.task in ("tag", "classify", "translate", "music"):
        lines = _CORPORA[drawn.model.task](drawn, count)[0]
        form = {"tag": "ra\t{}", "classify": "{}\tra", "music": "{}\t- 60"}.get(drawn.model.task, "")
        lines = [form.format(label) for label in drawn.model.labels if form] + lines
    elif drawn.kind == "conditioned":
        lines = [f"{x}\tra" for x in drawn.model.labels] + lines_for(drawn, count)
    else:
        lines = ["ra to", *texts.lines(drawn.rng, count)]
    return [line.replace("\0", "") for line in lines]


# ---- files


def stored(drawn: Drawn, path: Path) -> LanguageModel:
    """Write the model and read it again: nothing of it may have changed."""
    checkpoint.save(path, drawn.model)
    again = checkpoint.load(path, NumpyBackend()).language_model
    one, other = (lm.model.parameters.values for lm in (drawn.model, again))
    holds(np.array_equal(one, other), "weights that were saved and loaded")
    holds(again.model.config == drawn.model.model.config and again.text == drawn.model.text, "a saved configuration")
    holds(again.labels == drawn.model.labels, "saved labels", again.labels)
    names = [lm.tokenizer.vocabulary.tokens for lm in (drawn.model, again)]
    holds(names[0] == names[1], "a saved vocabulary", *names)
    return again


BY_TASK: dict[str, tuple[Callable[[Drawn], None], ...]] = {
    "lm": (scoring, generating, learning),
    "cloze": (scoring, filling, suspecting, learning),
    "tag": (predicting, evaluating, learning),
    "classify": (predicting, evaluating, learning),
    "translate": (predicting, evaluating, learning),
    "music": (playing, evaluating, learning),
}
_CORPORA: dict[str, Callable] = {"tag": _tagged, "classify": _labelled, "translate": _pairs, "music": _pieces}

"""What has to hold of models of text: scoring, evaluating, drawing, filling, suspecting."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from charlm.config import SampleConfig
from charlm.inference.cloze import Filler
from charlm.inference.figures import figures
from charlm.inference.generation import Sampler
from charlm.inference.scoring import Score, Scorer
from charlm.inference.suspects import suspects
from charlm.text import EOS, EOS_ID, NOTHING, UNK_ID
from tests.fuzz import texts
from tests.fuzz.models import Drawn
from tests.fuzz.properties import WAYS, compare, ids_of, lines_for, plain_of, require

# ---- score


def scoring(drawn: Drawn) -> None:
    """The same figures whatever is read side by side, and those of the equations."""
    lines = lines_for(drawn)
    first = list(Scorer(drawn.model, batch_size=1, per_token=True).score(lines))
    _scores_add_up(drawn, lines, first)
    compare(drawn, "score", [_figures(score) for score in first], lambda **way: _scored(drawn, lines, **way))
    carried = drawn.model.is_stream
    if carried:
        first = list(Scorer(drawn.model, per_token=True, carry_state=True).score(lines))
        again = list(Scorer(drawn.model, carry_state=True, window=1).score(lines))
        require(drawn.close([s.nats for s in first], [s.nats for s in again]), "--carry-state by window", lines)
    without = list(Scorer(drawn.model, batch_size=3, has_eos=False).score(lines))
    for line, score, short in zip(lines, list(Scorer(drawn.model, per_token=True).score(lines)), without, strict=True):
        shown = score.token_scores[:-1] if score.has_eos else score.token_scores
        require(drawn.close(short.nats, sum(t.nats for t in shown)), "--no-eos", line)
    _scores_are_plain(drawn, lines, first, carried)
    _evaluation(drawn, lines, first)


def _scored(drawn: Drawn, lines: list[str], **way: object) -> list[list[float]]:
    return [_figures(score) for score in Scorer(drawn.model, per_token=True, **way).score(lines)]


def _figures(score: Score) -> list[float]:
    return [score.nats, score.oov_nats, score.tokens, score.oov, *(t.nats for t in score.token_scores)]


def _scores_add_up(drawn: Drawn, lines: list[str], scores: list[Score]) -> None:
    require(len(scores) == len(lines), "one score a line", len(lines), len(scores))
    for line, score in zip(lines, scores, strict=True):
        text = line.split("\t", 1)[1] if drawn.kind == "conditioned" else line
        ids = ids_of(drawn, text)
        each = score.token_scores
        require(score.text == text, "the text of a score", score.text, text)
        require(drawn.close(score.nats, sum(t.nats for t in each)), "tokens sum to the line", line)
        require(drawn.close(score.oov_nats, sum(t.nats for t in each if t.oov)), "OOVs sum to their share", line)
        require(score.oov == ids.count(UNK_ID) == sum(t.oov for t in each), "OOVs of a line", line, score.oov)
        ends = drawn.model.task != "cloze"
        require(score.tokens == len(ids) + ends == len(each), "tokens of a line", line, score.tokens)
        require([t.token_id for t in each] == ids + [EOS_ID] * ends, "ids of a line", line)
        written = [*drawn.model.tokenizer.split(text), *([EOS] if ends else [])]
        require([t.token for t in each] == written, "tokens as written", line)
        require(all(t.nats >= -drawn.tolerance for t in each), "a probability above 1", line, each)


def _scores_are_plain(drawn: Drawn, lines: list[str], scores: list[Score], carried: bool) -> None:
    """Compute the same from the equations, of lines that are not too long."""
    plain, labels = plain_of(drawn.model), drawn.model.labels
    vocabulary = len(drawn.model.tokenizer.vocabulary)
    if carried:  # one sequence, all lines of it
        ids = [token.token_id for score in scores for token in score.token_scores][:120]
        nats = [token.nats for score in scores for token in score.token_scores][:120]
        expected = -plain.next_token([NOTHING, *ids[:-1]])[np.arange(len(ids)), ids]
        require(drawn.close(nats, expected), "carried scores and the equations", lines)
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
        require(drawn.close([t.nats for t in score.token_scores], expected), "scores and the equations", line)


def _evaluation(drawn: Drawn, lines: list[str], scores: list[Score]) -> None:
    """What `evaluate` says of a corpus is what `score` says of its lines, added up; of a stream, carried."""
    pseudo = "pseudo_" if drawn.kind == "cloze" else ""
    nats, tokens, oov = (sum(getattr(score, name) for score in scores) for name in ("nats", "tokens", "oov"))
    if not tokens:
        return
    for batch_size in (1,) if drawn.model.is_stream else (1, 3, 64):
        found = figures(drawn.model, lines, batch_size=batch_size)
        require((found["tokens"], found["oov"]) == (tokens, oov), "evaluate's counts and score's", found, tokens, oov)
        per_token = found[f"{pseudo}nats_per_token"]
        require(drawn.close(per_token, nats / tokens), "evaluate's nats and score's", lines, per_token, nats / tokens)
        ends = drawn.kind != "cloze"
        size = sum(len(score.text.encode("utf-8", "surrogateescape")) + ends for score in scores)
        bits = nats / math.log(2.0) / max(1, size)
        require(drawn.close(found[f"{pseudo}bits_per_byte"], bits), "evaluate's bits a byte", found, bits)
        known = nats - sum(score.oov_nats for score in scores)
        if tokens > oov and known / (tokens - oov) < 500:
            of_known = math.log(found[f"{pseudo}perplexity_without_oov"])
            require(drawn.close(of_known, known / (tokens - oov)), "evaluate's perplexity without OOVs", found)


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
        require(sample == again, "the same seed, another text", config, prompt, sample, again)
        _is_scored_alike(drawn, sample, prompt, label, config)
        require(len(sample.tokens) <= config.length, "more tokens than asked for", config, sample)
    greedy = Sampler(model, SampleConfig(length=30, temperature=0.0), label=label).sample(prompt, seed=1)
    for narrow in ({"top_k": 1}, {"top_p": 0.0}, {"top_p": 1e-9}):
        one = Sampler(model, SampleConfig(length=30, **narrow), label=label).sample(prompt, seed=2)
        require(one == greedy, f"{narrow} is not greedy", one, greedy)


def _is_scored_alike(drawn: Drawn, sample, prompt: str, label: str | None, config: SampleConfig) -> None:
    model = drawn.model
    vocabulary = model.tokenizer.vocabulary
    first = NOTHING if label is None else len(vocabulary) + model.labels.index(label)
    begin, ids = ids_of(drawn, prompt), [vocabulary.ids[token] for token in sample.tokens]
    require(config.allow_unk or UNK_ID not in ids, "<UNK> was drawn", sample)
    if ids:
        log_probs = plain_of(model).next_token([first, *begin, *ids[:-1]])[len(begin) :]
        expected = float(log_probs[np.arange(len(ids)), ids].sum())
        what = "generate's log-probability and the equations"
        require(drawn.close(sample.log_prob, expected), what, sample, expected)
        mass = 0.0 if config.allow_unk else float(np.exp(log_probs[:, UNK_ID]).sum())
        require(drawn.close(sample.unk_mass_rejected, mass), "the rejected mass of <UNK>", sample, mass)
    lines = sample.text.split("\n")
    ended = bool(ids) and ids[-1] == EOS_ID
    if ended and model.is_stream:
        lines.pop()
    if label is not None and (not lines[0] or "\t" in lines[0]):
        return  # a line that has no place in a corpus with labels
    scorer = Scorer(model, per_token=True, carry_state=model.is_stream)
    scored = [
        t for score in scorer.score(lines if label is None else [f"{label}\t{lines[0]}"]) for t in score.token_scores
    ]
    scored = scored if ended else scored[:-1]
    tokens = [t.token_id for t in scored]
    require(tokens == begin + ids, "a drawn text has other tokens than were drawn", sample, scored)
    nats = sum(t.nats for t in scored[len(begin) :])
    require(drawn.close(-sample.log_prob, nats), "generate's log-probability and score's", sample, nats)


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
        require(filled.text == line, "the text of a filled line", line, filled)
        require(len(filled.gaps) == line.count("___"), "gaps of a line", line, filled)
        require("___" in line or filled.filled == line, "a line without a gap is changed", line, filled)
        for gap in filled.gaps:
            total = sum(candidate.prob for candidate in gap)
            require(len(gap) == min(count, vocabulary - 2), "candidates of a gap", line, count, gap)
            require(total <= 1.0 + 1e-6, "candidates above 1", line, total)
            require(count < vocabulary - 2 or abs(total - 1.0) < 1e-6, "all candidates below 1", line, total)
        if len(filled.gaps) == 1:
            _is_the_models(drawn, line, filled)
    probs = [[[c.prob for c in gap] for gap in filled.gaps] for filled in first]
    compare(
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
        require(drawn.close(own.nats, score.nats), "the score beside suspects", line)
        tokens = drawn.model.tokenizer.split(line)
        for one in found:
            require(tokens[one.position - 1] == one.token, "the place of a suspect", line, one)
            likelier = one.suggestion.prob >= factor * math.exp(-one.nats) * (1.0 - drawn.tolerance)
            require(likelier, "a suggestion that is less likely", line, one, factor)
    if drawn.tolerance < 1e-5:  # else rounding decides about what is at the threshold
        for batch_size, window, _ in WAYS[1:]:
            again = suspects(drawn.model, lines, factor=factor, batch_size=batch_size, window=window)
            for (_, one), (_, other) in zip(first, again, strict=True):
                named = [[(s.position, s.token, s.suggestion.token) for s in some] for some in (one, other)]
                require(named[0] == named[1], f"suspects with batches of {batch_size}", lines, *named)


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
    require(drawn.close([c.prob for c in filled.gaps[0]], expected), "fill and the equations", line, expected)
    require(drawn.close(filled.gaps[0][0].prob, probs.max()), "the best candidate is not the likeliest", line)

"""Scores in the formats of KenLM's `query` and SRILM's `ngram -ppl - -debug 2`, so that their tools can read them.

KenLM prints `word=id n log10p` and a tab for each token, then `Total: log10p OOV: count`, on one line; id 0 is `<unk>`.
SRILM prints each sentence, a line `p( word | context ) = [ngram] p [ log10p ]` for each token, and sums. In place of
the order of the n-gram, we print the number of tokens that the network has read (KenLM) or `rnn` (SRILM).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from charlm.cli import ui
from charlm.text import EOS_ID, UNK_ID

_KENLM_IDS = {UNK_ID: 0, EOS_ID: 2}  # 0 <unk>, 1 <s>, 2 </s>
_BEGIN, _END = "<s>", "</s>"  # tags that these programs put around each sentence
_TAG = re.compile(r"(?<![^ \t])</?s>(?![^ \t])")
_AT_THE_ENDS = re.compile(r"^[ \t]*<s>(?![^ \t])[ \t]*|[ \t]*(?<![^ \t])</s>[ \t]*$")


def without_tags(tokenizer: Any) -> Callable[[str], str]:
    """Return a function that removes a literal `<s>` and `</s>` from the ends of a line, as SRILM does.

    It warns once. A model that was trained on the tags reads them as text, and its lines are not changed.
    """
    is_known = all(UNK_ID not in tokenizer.encode(tag) for tag in (_BEGIN, _END))
    warned = False

    def prepare(text: str) -> str:
        nonlocal warned
        if "s>" not in text or not _TAG.search(text):
            return text
        if not warned:
            treatment = "scored as text, as in training" if is_known else "removed at the ends of a line"
            ui.warn(f"the text contains <s> or </s>, {treatment}")
            warned = True
        return text if is_known else _AT_THE_ENDS.sub("", text)

    return prepare


def _whole(score: Any) -> Any:
    """Return a score in which literal tags at the ends of the line are merged with the next token.

    P(<s>, y) = P(<s>) P(y | <s>), so the probability of the line does not change, and it has only one `</s>`.
    """
    tokens = list(score.token_scores)
    if score.has_eos and len(tokens) > 1 and _is(_END, tokens[-2]):
        tokens[-2:] = [replace(tokens[-1], nats=tokens[-2].nats + tokens[-1].nats)]
    if len(tokens) > 1 and _is(_BEGIN, tokens[0]):
        tokens[:2] = [replace(tokens[1], nats=tokens[0].nats + tokens[1].nats)]
    if len(tokens) == len(score.token_scores):
        return score
    oov_nats = math.fsum(token.nats for token in tokens if token.oov)
    text = _AT_THE_ENDS.sub("", score.text)
    return replace(score, text=text, token_scores=tokens, tokens=len(tokens), oov_nats=oov_nats)


def _is(tag: str, token: Any) -> bool:
    return token.token == tag and not token.oov


def kenlm(scores: Iterable[Any]) -> Iterator[str]:
    """Yield a line in KenLM's format for each score, and KenLM's summary at the end."""
    total = known = 0.0
    tokens = oov = 0
    for score in map(_whole, scores):
        words = []
        for at, token in enumerate(score.token_scores):
            surface = "</s>" if token.token_id == EOS_ID else _visible(token.token)
            number = _KENLM_IDS.get(token.token_id, token.token_id + 1)
            words.append(f"{surface}={number} {at + 2} {_short(_log10(token.nats))}\t")
        yield f"{''.join(words)}Total: {_short(_log10(score.nats))} OOV: {score.oov}"
        total += _log10(score.nats)
        known += _log10(score.nats - score.oov_nats)
        tokens, oov = tokens + score.tokens, oov + score.oov
    yield f"Perplexity including OOVs:\t{_short(_perplexity(total, tokens))}"
    yield f"Perplexity excluding OOVs:\t{_short(_perplexity(known, tokens - oov))}"
    yield f"OOVs:\t{oov}"
    yield f"Tokens:\t{tokens}"


def srilm(scores: Iterable[Any]) -> Iterator[str]:
    """Yield lines in SRILM's format for each score, and SRILM's summary at the end; sums exclude OOVs."""
    sentences = words = oov = ends = 0
    total = 0.0
    for score in map(_whole, scores):
        yield score.text
        context = "<s> "
        for token in score.token_scores:
            surface = "</s>" if token.token_id == EOS_ID else "<unk>" if token.oov else _visible(token.token)
            found = f"[rnn] {_short(math.exp(-token.nats))} [ {_short(_log10(token.nats))} ]"
            yield f"\tp( {surface} | {context}) \t= {'[OOV] 0 [ -inf ]' if token.oov else found}"
            context = f"{surface} ..."
        own_words = score.tokens - int(score.has_eos)
        own_total = _log10(score.nats - score.oov_nats)
        yield from _srilm_sums("", 1, own_words, score.oov, own_total, ends=int(score.has_eos))
        yield ""
        sentences, words, oov, total = sentences + 1, words + own_words, oov + score.oov, total + own_total
        ends += score.has_eos
    yield from _srilm_sums("file -: ", sentences, words, oov, total, ends=ends)


def _srilm_sums(name: str, sentences: int, words: int, oov: int, log10: float, *, ends: int) -> Iterator[str]:
    yield f"{name}{sentences} sentences, {words} words, {oov} OOVs"
    ppl = _short(_perplexity(log10, words - oov + ends))
    ppl1 = _short(_perplexity(log10, words - oov))
    yield f"0 zeroprobs, logprob= {_short(log10)} ppl= {ppl} ppl1= {ppl1}"


def _visible(token: str) -> str:
    """Return a token without white space, which separates fields: a space becomes U+2581, as in SentencePiece.

    A tag inside a line is escaped, because it does not end the line.
    """
    if token in (_BEGIN, _END):
        return token.replace("<", "\\x3c")
    return "".join("\u2581" if c == " " else f"\\x{ord(c):02x}" if c.isspace() else c for c in token)


def _log10(nats: float) -> float:
    return -nats / math.log(10.0) + 0.0


def _perplexity(log10: float, tokens: int) -> float | None:
    try:
        return 10.0 ** (-log10 / tokens) if tokens else None
    except OverflowError:
        return math.inf


def _short(number: float | None) -> str:
    return "undefined" if number is None else f"{number:g}"

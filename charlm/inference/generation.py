"""Drawing text from a model: one pass over the prompt, then one step a token."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

import numpy as np

from charlm.config import SampleConfig
from charlm.errors import ModelFileError, UsageError
from charlm.language_model import LanguageModel
from charlm.nn.stepping import Stepper
from charlm.randomness import SAMPLE, generator
from charlm.text import EOS_ID, NOTHING, UNK_ID

_PROMPT_STEPS = 256  # tokens of a prompt that the network reads at a time
_PART = 1 << 16  # characters of a prompt that are split into tokens at a time
# Where a prompt may be cut, before a character that changes neither the tokens before it nor their spelling: words
# end at a space, and no letter's lower case depends on what stands beyond a space or a character of Chinese, Japanese
# or Korean. Combining marks are none of these characters.
_CUTS = {
    "word": "[ \n]",
    "char, lower case": "[ \n\u3000-\u3029\u3030-\u3098\u309b-\u9fff\uac00-\ud7a3]",
    "char": "[\n -~\u3000-\u3029\u3030-\u3098\u309b-\u9fff\uac00-\ud7a3]",
}


def next_token_probs(
    log_probs: np.ndarray, config: SampleConfig, *, banned: Sequence[int] = (UNK_ID,)
) -> tuple[np.ndarray, float]:
    """Turn log-probabilities into what is drawn from, in this order: ban, temperature, top-k, top-p, renormalise.

    log_probs [V]: ln P of each token. Nothing is redrawn: a banned token's probability is 0 before the draw, which is
    the distribution that rejecting it would give. Temperature 0 leaves the likeliest token, ties to the smaller id.
    Returns the probabilities, float64 [V], and the mass that was banned. Raises UsageError where no token is left.
    """
    scores = np.array(log_probs, np.float64)
    banned_mass = 0.0
    for token_id in banned:
        banned_mass += math.exp(scores[token_id])
        scores[token_id] = -math.inf
    best = float(np.maximum.reduce(scores))
    if not math.isfinite(best):
        if math.isnan(best):
            raise ModelFileError("the model outputs NaN", hint="its training diverged: train it again")
        raise UsageError("no token is left to draw: all that the model expects is <UNK>", hint="add --allow-unk")
    if config.temperature == 0.0:
        probs = np.zeros(scores.size)
        probs[int(np.argmax(scores))] = 1.0
        return probs, banned_mass
    scores -= best
    if config.temperature != 1.0:
        with np.errstate(over="ignore"):  # the smallest temperatures divide to -inf, whose probability is 0
            scores /= config.temperature
    probs = np.exp(scores, out=scores)
    for token_id in banned:
        probs[token_id] = 0.0
    if config.top_k is not None and config.top_k < probs.size:
        probs[np.argsort(-probs, kind="stable")[config.top_k :]] = 0.0
    probs /= np.add.reduce(probs)
    if config.top_p is not None:
        order = np.argsort(-probs, kind="stable")
        beyond = np.cumsum(probs[order]) - probs[order] >= config.top_p
        beyond[0] = False
        probs[order[beyond]] = 0.0
        probs /= probs.sum()
    return probs, banned_mass


@dataclass
class Sample:
    """One drawn text.

    text: prompt and continuation; tokens: those drawn, with `<EOS>` if it was, and with what a stop cut off;
    log_prob: their ln P under the model as it is, before temperature and bans; unk_mass_rejected: the probability of
    `<UNK>` summed over the draws
    """

    text: str = ""
    tokens: list[str] = field(default_factory=list)
    log_prob: float = 0.0
    unk_mass_rejected: float = 0.0


class Sampler:
    """Draws texts from a language model; each is a function of the prompt, the seed and its number.

    label: what a conditioned model reads first. Raises UsageError where that is none it knows, or not asked for.
    """

    def __init__(self, language_model: LanguageModel, config: SampleConfig, *, label: str | None = None) -> None:
        self.language_model, self.config = language_model, config
        self._first = NOTHING
        if language_model.is_conditioned:
            self._first = len(language_model.tokenizer.vocabulary) + language_model.label_number(label)
        elif label is not None:
            raise UsageError("--class: this model was not trained with --condition", hint="train one with --condition")
        self._model = language_model.model
        self._banned = () if config.allow_unk else (UNK_ID,)
        self._workspace = self._model.workspace()
        self._steppers: list[Stepper] = []  # those that no text is drawn with just now

    def unknown(self, prompt: str, *, most: int | None = None) -> list[str]:
        """Return the tokens of the prompt that the vocabulary lacks, `most` at most; they are read as `<UNK>`."""
        tokenizer = self.language_model.tokenizer
        found: dict[str, None] = {}
        for lines in self._parts(prompt):
            ids = tokenizer.encode_lines(lines)[0]
            tokens = chain.from_iterable(map(tokenizer.split, lines))
            pairs = zip(tokens, ids[ids != EOS_ID].tolist(), strict=True)
            found.update((token, None) for token, token_id in pairs if token_id == UNK_ID)
            if most is not None and len(found) >= most:
                break
        return list(found)[:most]

    def sample(self, prompt: str = "", *, seed: int = 0, number: int = 0) -> Sample:
        """Draw one text, whole."""
        sample = Sample()
        sample.text = "".join(self.pieces(prompt, seed=seed, number=number, into=sample))
        return sample

    def pieces(self, prompt: str = "", *, seed: int = 0, number: int = 0, into: Sample | None = None) -> Iterator[str]:
        """Yield one text, piece by piece as it is drawn, the prompt first; fill `into`, but for its text, on the way.

        Beside the prompt, memory does not grow with it. Raises UsageError for a prompt with a newline where the model
        knows none.
        """
        lm = self.language_model
        if "\n" in prompt and not lm.is_stream:
            raise UsageError("the prompt holds a newline", hint="this model was trained line by line: prompt with one")
        written = _Writer(lm)
        yield from filter(None, map(written.text, self._parts(prompt)))
        drawn = self._continued(prompt, seed, number, written, into if into is not None else Sample())
        if self.config.stop:
            drawn = _until(drawn, self.config.stop)
        yield from filter(None, drawn)

    def _continued(self, prompt: str, seed: int, number: int, written: _Writer, sample: Sample) -> Iterator[str]:
        """Read the prompt, and yield a piece for each token drawn."""
        rng = generator(seed, SAMPLE, number)
        log_probs, state = self._read(prompt)
        stepper = self._steppers.pop() if self._steppers else self._model.stepper()
        stepper.load(state)
        try:
            yield from self._drawn(log_probs, stepper, written, rng, sample)
        finally:
            self._steppers.append(stepper)

    def _drawn(
        self, log_probs: np.ndarray, stepper: Stepper, written: _Writer, rng: np.random.Generator, sample: Sample
    ) -> Iterator[str]:
        """Yield a piece for each token drawn."""
        lm = self.language_model
        vocabulary = lm.tokenizer.vocabulary
        for _ in range(self.config.length):
            probs, banned_mass = next_token_probs(log_probs, self.config, banned=self._banned)
            token_id = draw(probs, rng)
            token = vocabulary.token_of(token_id)
            sample.tokens.append(token)
            sample.log_prob += float(log_probs[token_id])
            sample.unk_mass_rejected += banned_mass
            if token_id != EOS_ID:
                yield written.token(token)
            elif lm.is_stream:
                yield written.newline()
            else:
                return
            log_probs = stepper.next_log_probs(token_id)

    def _read(self, prompt: str) -> tuple[np.ndarray, tuple]:  # type: ignore[type-arg]
        """Return ln P of every next token, and the state, after the prompt."""
        inputs = chain.from_iterable(part.tolist() for part in self._ids(prompt))
        state = self._model.zero_state(1)
        while part := list(islice(inputs, _PROMPT_STEPS)):
            columns, state = self._model.next_log_probs(np.array(part, np.int32)[:, None], state, self._workspace)
        return columns[:, 0], state

    def _ids(self, prompt: str) -> Iterator[np.ndarray]:
        """Yield what the network reads before it draws, in parts: x<1>, and the ids of the prompt."""
        yield np.array([self._first])
        for lines in self._parts(prompt):
            yield self.language_model.tokenizer.encode_lines(lines)[0][:-1]

    def _parts(self, prompt: str) -> Iterator[list[str]]:
        """Yield the lines of a prompt in parts, whose tokens are those of the whole; a line may go on in the next."""
        tokenizer = self.language_model.tokenizer
        is_lowered = tokenizer.level == "char" and tokenizer.splitter.lowercase
        cut = _CUTS["char, lower case" if is_lowered else tokenizer.level]
        start = 0
        # Compiled here and kept by `re`: most prompts are short.
        while start + _PART < len(prompt) and (found := re.compile(cut).search(prompt, start + _PART)):
            yield prompt[start : found.start()].split("\n")
            start = found.start()
        yield prompt[start:].split("\n")


def draw(probs: np.ndarray, rng: np.random.Generator) -> int:
    """Draw an id by its probability, with one number of the generator."""
    edges = probs.cumsum()
    at = int(edges.searchsorted(rng.random() * edges[-1], side="right"))
    return at if at < probs.size and probs[at] else int(np.flatnonzero(probs)[-1])


class _Writer:
    """Turns tokens into pieces of text one by one, as the tokenizer joins them, line by line."""

    def __init__(self, language_model: LanguageModel) -> None:
        self._tokenizer = language_model.tokenizer
        self._start()

    def _start(self) -> None:
        self._queue: list[str] = []
        self._stream = self._tokenizer.stream(iter(self._queue.pop, None))

    def text(self, lines: Sequence[str]) -> str:
        """Return lines as they are written, the first of which goes on with the one before.

        Characters are written as they came, words as the tokenizer joins them.
        """
        if self._tokenizer.level == "char":
            return "\n".join(lines)
        first, *others = lines
        written = [*map(self.token, self._tokenizer.split(first))]
        for line in others:
            written.append(self.newline())
            written += map(self.token, self._tokenizer.split(line))
        return "".join(written)

    def token(self, token: str) -> str:
        self._queue.append(token)
        return next(self._stream)

    def newline(self) -> str:
        self._start()
        return "\n"


def _until(pieces: Iterator[str], stops: Sequence[str]) -> Iterator[str]:
    """Pass pieces on until one of `stops` occurs; what might be its beginning waits."""
    held, longest = "", max(map(len, stops))
    for piece in pieces:
        held += piece
        found = [at for at in map(held.find, stops) if at >= 0]
        if found:
            yield held[: min(found)]
            return
        safe = max(0, len(held) - (longest - 1))
        yield held[:safe]
        held = held[safe:]
    yield held

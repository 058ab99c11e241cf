"""Drawing text from a language model: one pass over the prompt, then one step a token."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import chain, islice

import numpy as np

from charlm.config import SampleConfig
from charlm.errors import UsageError
from charlm.inference.unknown import unknown_tokens
from charlm.language_model import LanguageModel
from charlm.nn.layer import State
from charlm.nn.stepping import Stepper
from charlm.randomness import SAMPLE, generator
from charlm.text import EOS_ID, NOTHING, UNK_ID
from charlm.text.tokens.closed import ClosedSplitter
from charlm.text.tokens.utf8 import WholeCharacters, byte_text, bytes_of, is_unicode, text_of

_PROMPT_STEPS = 256  # tokens of a prompt that one call of the network reads
_PART = 1 << 16  # characters of a prompt that are split into tokens at a time
# Characters before which a prompt may be cut without a change of its tokens. A word ends at a space. The lower case
# of a letter does not depend on what follows a space or a Chinese, Japanese or Korean character. Combining marks are
# not included.
_CUTS = {
    "word": "[ \n]",
    "line": "\n",
    "char, lower case": "[ \n\u3000-\u3029\u3030-\u3098\u309b-\u9fff\uac00-\ud7a3]",
    "char": "[\n -~\u3000-\u3029\u3030-\u3098\u309b-\u9fff\uac00-\ud7a3]",
}


@dataclass
class Sample:
    """One drawn text.

    text: the prompt as it was given, and the continuation
    start: index in text at which the continuation begins, behind the space that joins it to a prompt of words
    tokens: the drawn ones, including `<EOS>` and those that a stop text removed
    log_prob: sum of their ln P under the model, before temperature and bans
    unk_mass_rejected: sum over the draws of the probability of what is masked: `<UNK>`, and bytes that are not UTF-8
    """

    text: str = ""
    tokens: list[str] = field(default_factory=list)
    log_prob: float = 0.0
    unk_mass_rejected: float = 0.0
    start: int = 0

    @property
    def new_text(self) -> str:
        """The continuation alone."""
        return self.text[self.start :]


class Sampler:
    """Draws texts from a language model; each is a function of the prompt, the seed and its number.

    label: the first input of a conditioned model
    Raises UsageError for an unknown label, a missing one, or one for a model that is not conditioned.
    """

    def __init__(self, language_model: LanguageModel, config: SampleConfig, *, label: str | None = None) -> None:
        self.language_model, self.config = language_model, config
        self._first = NOTHING
        if language_model.is_conditioned:
            self._first = len(language_model.tokenizer.vocabulary) + language_model.label_number(label)
        elif label is not None:
            raise UsageError("--class: this model was not trained with --condition", hint="train one with --condition")
        self._model = language_model.model
        splitter = language_model.tokenizer.splitter
        self._bytes = splitter if isinstance(splitter, ClosedSplitter) else None
        if config.raw and self._bytes is None:
            raise UsageError(
                f"--raw with a --level {language_model.text.level} model", hint="leave it out: its tokens are not bytes"
            )
        self._banned = () if config.allow_unk and self._bytes is None else (UNK_ID,)
        self._whole = None
        if self._bytes is not None and not config.raw:
            self._whole = WholeCharacters(self._bytes.token_bytes, never=self._bytes.never_drawn)
        self._stops = tuple(map(byte_text, map(bytes_of, config.stop))) if config.raw else config.stop
        self._workspace = self._model.workspace()
        self._steppers: list[Stepper] = []  # not in use by any text
        self._after: tuple[str, np.ndarray, State] | None = None  # the last prompt, with ln P and the state after it

    def unknown(self, prompt: str, *, most: int | None = None) -> list[str]:
        """Return at most `most` different tokens of the prompt that are out of vocabulary and so read as `<UNK>`."""
        return unknown_tokens(self.language_model, chain.from_iterable(self._parts(prompt)), most=most)

    def sample(self, prompt: str = "", *, seed: int = 0, number: int = 0) -> Sample:
        """Draw one whole text."""
        sample = Sample()
        sample.text = "".join(self.pieces(prompt, seed=seed, number=number, into=sample))
        if self.config.raw:
            sample.text = text_of(bytes_of(sample.text))
        is_joined = self.language_model.tokenizer.splitter.joins_with_spaces and sample.text.startswith(
            " ", len(prompt)
        )
        sample.start = len(prompt) + is_joined
        return sample

    def pieces(
        self,
        prompt: str = "",
        *,
        seed: int = 0,
        number: int = 0,
        into: Sample | None = None,
        with_prompt: bool = True,
    ) -> Iterator[str]:
        """Yield one text piece by piece as it is drawn, the prompt first, unchanged.

        Apart from the prompt, memory does not grow with the text.

        into: filled on the way, except its text
        with_prompt: yield the prompt; otherwise only what follows it
        Raises UsageError for a prompt with a newline if the model was trained line by line. Raises it also for
        one that is not UTF-8 if bytes are tokens, unless `raw`.
        """
        self._check(prompt)
        if self._whole is not None and not is_unicode(prompt):
            raise UsageError("the prompt is not UTF-8", hint="add --raw, which prints bytes as they are")
        written = _Writer(self.language_model, is_raw=self.config.raw)
        for text in filter(None, map(written.text, self._parts(prompt))):
            if with_prompt:
                yield text
        if not with_prompt:
            written.begin()
        drawn = self._continued(prompt, seed, number, written, into if into is not None else Sample())
        if self._stops:
            drawn = _until(drawn, self._stops)
        yield from filter(None, drawn)

    def _continued(self, prompt: str, seed: int, number: int, written: _Writer, sample: Sample) -> Iterator[str]:
        """Read the prompt, and yield a piece for each drawn token."""
        rng = generator(seed, SAMPLE, number)
        if self._after is None or self._after[0] != prompt:
            self._after = prompt, *self._read(prompt, self._first)
        _, log_probs, state = self._after
        stepper = self._steppers.pop() if self._steppers else self._model.stepper()
        stepper.load(state)
        try:
            yield from self._drawn(log_probs, stepper, written, rng, sample)
        finally:
            self._steppers.append(stepper)

    def _drawn(
        self, log_probs: np.ndarray, stepper: Stepper, written: _Writer, rng: np.random.Generator, sample: Sample
    ) -> Iterator[str]:
        """Yield a piece for each drawn token."""
        lm = self.language_model
        token_of, tokens = lm.tokenizer.vocabulary.token_of, sample.tokens
        end = None if lm.is_stream else EOS_ID
        whole = copy(self._whole)
        banned = self._banned if whole is None else whole.banned
        for token_id, log_prob, banned_mass in stepper.draws(log_probs, rng, self.config, banned=banned, end=end):
            if whole is not None:
                whole.add(token_id)
            token = token_of(token_id)
            tokens.append(token)
            sample.log_prob += log_prob
            sample.unk_mass_rejected += banned_mass
            if token_id != EOS_ID:
                yield written.token(token)
            elif lm.is_stream:
                yield written.newline()

    def _check(self, prompt: str) -> None:
        if "\n" in prompt and not self.language_model.is_stream:
            raise UsageError("the prompt contains a newline", hint="this model generates lines: give it one line")

    def next_log_probs(self, prompt: str) -> np.ndarray:
        """Return ln P [V] of every next token after a prompt, read as a line is scored.

        A stream model reads it as if it followed an `<EOS>`.
        Raises UsageError for a prompt with a newline if the model was trained line by line.
        """
        self._check(prompt)
        return self._read(prompt, EOS_ID if self.language_model.is_stream else self._first)[0]

    def _read(self, prompt: str, first: int) -> tuple[np.ndarray, State]:
        """Return ln P [V] of every next token, and the state, after x<1> and the prompt."""
        inputs = chain([first], chain.from_iterable(part.tolist() for part in self._ids(prompt)))
        state = self._model.zero_state(1)
        while part := list(islice(inputs, _PROMPT_STEPS)):
            columns, state = self._model.next_log_probs(np.array(part, np.int32)[:, None], state, self._workspace)
        return columns[:, 0], state

    def _ids(self, prompt: str) -> Iterator[np.ndarray]:
        """Yield the ids of the prompt in parts."""
        for lines in self._parts(prompt):
            yield self.language_model.tokenizer.encode_lines(lines)[0][:-1]

    def _parts(self, prompt: str) -> Iterator[list[str]]:
        """Yield the lines of a prompt in parts with the same tokens as the whole; a line may go on in the next part."""
        tokenizer = self.language_model.tokenizer
        kind = "char, lower case" if tokenizer.splitter.lowercase else "char"
        if tokenizer.splitter.joins_with_spaces:
            kind = "word"
        elif tokenizer.splitter.has_spaced_tokens:
            kind = "line"
        cut = _CUTS[kind]
        start = 0
        # Not compiled at import, because most prompts are short; `re` caches it.
        while start + _PART < len(prompt) and (found := re.compile(cut).search(prompt, start + _PART)):
            yield prompt[start : found.start()].split("\n")
            start = found.start()
        yield prompt[start:].split("\n")


class _Writer:
    """Turns tokens into pieces of text one by one, as the tokenizer joins them."""

    def __init__(self, language_model: LanguageModel, *, is_raw: bool = False) -> None:
        self._tokenizer = language_model.tokenizer
        splitter = self._tokenizer.splitter
        self._text_of = splitter.raw_stream if is_raw and isinstance(splitter, ClosedSplitter) else splitter.stream
        self._joins_with_spaces = self._tokenizer.splitter.joins_with_spaces
        self._begin_line()

    def _begin_line(self) -> None:
        self._queue: list[str] = []
        self._stream = self._text_of(iter(self._queue.pop, None))
        self._has_space = False

    def begin(self) -> None:
        """Write the next token without a space that joins it to the token before."""
        self._has_space = self._joins_with_spaces

    def text(self, lines: Sequence[str]) -> str:
        """Return lines as they are; the first one continues the line before, and a token may follow the last one."""
        text = "\n".join(lines)
        if self._joins_with_spaces and text:
            for number, line in enumerate(lines):
                if number:
                    self._begin_line()
                for token in self._tokenizer.split(line):
                    self._joined(token)
            # White space of the prompt separates its last word from the next one.
            self._has_space = not self._tokenizer.split(lines[-1][-1:])
        return text

    def token(self, token: str) -> str:
        joined = self._joined(token)
        piece = joined.removeprefix(" ") if self._has_space else joined
        self._has_space = False
        return piece

    def _joined(self, token: str) -> str:
        self._queue.append(token)
        return next(self._stream)

    def newline(self) -> str:
        self._begin_line()
        return "\n"


def _until(pieces: Iterator[str], stops: Sequence[str]) -> Iterator[str]:
    """Yield the text of pieces until one of `stops` occurs; a possible beginning of one is held back."""
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

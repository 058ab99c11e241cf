"""A model that is a rule written down: what `Sampler` asks of a `Model`, with every call on record."""

from collections.abc import Callable, Sequence

import numpy as np

from charlm.backends import NumpyBackend
from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.language_model import LanguageModel
from charlm.nn.stepping import Stepper
from charlm.text import EOS, UNK, Tokenizer, Vocabulary, splitter_of
from charlm.text.tokens.codec import Codec

Rule = Callable[[int, int], Sequence[float]]


class FakeModel:
    """Predicts by a rule instead of a network.

    rule(count, last): P of each next token, after `count` inputs (the zero vector included) of which `last` was the
    last one; reads: every id that it was fed, in order; calls: how many there were of each call's inputs
    The state is the number of inputs read so far, so that a state that is lost, or advanced twice, shows.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.ops = NumpyBackend()
        self.config = ModelConfig(vocabulary_size=3)
        self.reads: list[int] = []
        self.calls: list[int] = []
        self._workspaces: list[object] = []

    def workspace(self) -> object:
        self._workspaces.append(object())
        return self._workspaces[-1]

    def zero_state(self, batch: int) -> tuple:
        assert batch == 1
        return (np.zeros((1, batch), np.int64),)

    def next_log_probs(self, inputs: np.ndarray, state: tuple, ws: object) -> tuple[np.ndarray, tuple]:
        assert ws in self._workspaces
        assert inputs.ndim == 2 and inputs.shape[0] >= 1 and inputs.shape[1] == 1
        self.reads += inputs[:, 0].tolist()
        self.calls.append(len(inputs))
        count = int(state[0][0, 0]) + len(inputs)
        with np.errstate(divide="ignore"):
            log_probs = np.log(np.array(self.rule(count, int(inputs[-1, 0])), np.float64))
        return log_probs[:, None].astype(np.float32), (np.full((1, 1), count),)

    def stepper(self) -> "FakeStepper":
        return FakeStepper(self)


class FakeStepper(Stepper):
    """Feeds one token at a time to a `FakeModel`, whose record it shares."""

    def __init__(self, model: FakeModel) -> None:
        self._model, self._workspace = model, model.workspace()
        self._state = model.zero_state(1)

    def load(self, state: tuple) -> None:
        self._state = state

    def next_log_probs(self, token_id: int) -> np.ndarray:
        inputs = np.array([[token_id]], np.int32)
        columns, self._state = self._model.next_log_probs(inputs, self._state, self._workspace)
        return columns[:, 0]


def table(rows: Sequence[Sequence[float]]) -> FakeModel:
    """A Markov chain: row i is P(next | token i), and one more row at the end is P(first token)."""
    return FakeModel(lambda count, last: rows[last])  # NOTHING is -1: the last row


def script(ids: Sequence[int], size: int, *, prompt: int = 0) -> FakeModel:
    """A model that surely says `ids`, one after the other, after a prompt of so many tokens."""

    def rule(count: int, last: int) -> np.ndarray:
        at = count - 1 - prompt
        return np.eye(size)[ids[at] if 0 <= at < len(ids) else 0]

    return FakeModel(rule)


def language_model(model: object, tokens: Sequence[str], **text: object) -> LanguageModel:
    """Put a model beside a vocabulary of `<EOS>`, `<UNK>` and `tokens`; text: fields of `TextConfig`."""
    config = TextConfig(**text)  # type: ignore[arg-type]
    splitter = splitter_of(config)
    return LanguageModel(model, Codec(Tokenizer(splitter, Vocabulary((EOS, UNK, *tokens)))), config, TrainConfig())  # type: ignore[arg-type]


def saying(text: str, *, stream: bool = False, prompt: str = "") -> LanguageModel:
    """A character model that surely continues `prompt` with `text`, and then ends the line."""
    characters = sorted(set(text + prompt) - {"\n"})
    ids = [0 if c == "\n" else characters.index(c) + 2 for c in text]
    fake = script(ids, len(characters) + 2, prompt=len(prompt))
    return language_model(fake, characters, unit="stream" if stream else "line")

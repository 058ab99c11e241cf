"""A network together with its vocabulary and labels: the contents of a model file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from charlm.config import Record, TextConfig, TrainConfig
from charlm.errors import UsageError
from charlm.nn.build import in_precision
from charlm.nn.model import Model
from charlm.quoting import did_you_mean
from charlm.task import Task
from charlm.text import Tokenizer
from charlm.text.reader import CorpusReader
from charlm.text.tasks import corpus_reader
from charlm.text.tokens.codec import Codec


@dataclass
class RunRecord:
    """What is known of a training besides its settings and its history; empty for a model of the Python API.

    corpus: the names of its files, as they were given
    init_from: the model whose weights it began with
    planned_steps: number of steps that the schedule was spread over
    sample_every, sample_prompt: after how many steps a sample is drawn, 0 for never, and how each begins
    samples: one record each, with `step` and `text`
    test_file, test: a file that was judged at the end with the best weights, and its figures
    pieces: the SentencePiece model whose pieces it was given
    vectors: the file of word vectors that its embedding began with
    """

    corpus: list[str] = field(default_factory=list)
    init_from: str = ""
    planned_steps: int = 0
    sample_every: int = 0
    sample_prompt: str = ""
    samples: list[dict[str, Any]] = field(default_factory=list)
    test_file: str = ""
    test: dict[str, Any] = field(default_factory=dict)
    pieces: str = ""
    vectors: str = ""

    @classmethod
    def from_dict(cls, values: Any) -> RunRecord:
        """Return the record of a header; raise ValueError for a malformed one."""
        empty = vars(cls())
        if not isinstance(values, dict):
            raise ValueError("the record of the run is not an object")
        # Others are of a newer charlm.
        known = {name: value for name, value in values.items() if name in empty}
        for name, value in known.items():
            if type(value) is not type(empty[name]):
                raise ValueError(f"the record of the run has an invalid {name}")
        run = cls(**known)
        are_samples = all(
            isinstance(one, dict)
            and set(one) == {"step", "text"}
            and type(one["step"]) is int
            and isinstance(one["text"], str)
            for one in run.samples
        )
        are_figures = all(value is None or isinstance(value, str | int | float) for value in run.test.values())
        if not (are_samples and are_figures and all(isinstance(name, str) for name in run.corpus)):
            raise ValueError("the record of the run is malformed")
        return run

    def to_dict(self) -> dict[str, Any]:
        """Return what is not empty, as plain JSON values."""
        return {name: value for name, value in vars(self).items() if value}


@dataclass(frozen=True)
class Outcome(Record):
    """What a training has come to.

    baseline_nats: the loss of the frequencies of the targets; steps: done
    kept_step: the step of the weights, 0 if they were not validated
    valid_nats: their loss, on `judged` of `held_out` tokens; None if they were not validated
    figure: their accuracy or F1, as named by `figure_name`; None and "" if the task has no figure
    """

    baseline_nats: float
    steps: int
    kept_step: int = 0
    valid_nats: float | None = None
    figure_name: str = ""
    figure: float | None = None
    judged: int = 0
    held_out: int = 0


@dataclass(frozen=True)
class LanguageModel:
    """A trained model, its vocabulary and labels, and the configurations of its training.

    history: one record for each evaluation, in order: step, epoch, train_nats, valid_nats, learning_rate, and accuracy
        or f1 if the task has a figure
    outcome: None if its file, of an older charlm, has none
    run: what is known of its training besides
    version: the charlm that wrote its file; None if it comes from no file
    core: what it was trained on, as in `Backend.core`; None if its file, of an older charlm, does not name it
    """

    model: Model
    codec: Codec
    text: TextConfig
    train: TrainConfig
    history: list[dict[str, Any]] = field(default_factory=list)
    core: str | None = None
    outcome: Outcome | None = None
    run: RunRecord = field(default_factory=RunRecord)
    version: str | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the model's input."""
        return self.codec.tokenizer

    @property
    def task(self) -> str:
        """The name of the task that the model was trained for."""
        return self.model.config.task

    @property
    def facts(self) -> Task:
        """What is true of the task."""
        return self.model.config.facts

    def in_precision(self, dtype: str | None) -> LanguageModel:
        """Return this language model with products in another precision; it shares the weights.

        dtype: that of the weights, which is that of None; or bfloat16 if they are float32, which rounds both factors of
            a product and adds up in float32
        Raises UsageError for another one, and ResourceError if the device has no such products.
        """
        own = self.model.config.array_dtype
        if own not in (dtype or own, "float32"):
            raise UsageError(f"--dtype {dtype} for a model in {own}", hint="leave out --dtype")
        return replace(self, model=in_precision(self.model, dtype or own))

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that the model answers."""
        # A gap has the length of a character or of a word.
        return tuple(name for name in self.facts.commands if name != "fill" or self.text.level in ("char", "word"))

    @property
    def labels(self) -> tuple[str, ...]:
        """The tags, the classes, or the labels that a conditioned model can begin with."""
        return self.codec.labels

    @property
    def is_conditioned(self) -> bool:
        """Whether x<1> is a label."""
        return self.model.config.is_conditioned

    @property
    def is_stream(self) -> bool:
        """Whether the model was trained on one stream of text, in which the newline is a token like any other."""
        return self.text.unit == "stream"

    @property
    def reader(self) -> CorpusReader:
        """The reader of a corpus of the model's task."""
        return corpus_reader(self.task, self.text, conditioned=self.is_conditioned)

    def label_number(self, label: str | None) -> int:
        """Return the number of the label to begin with; raise UsageError if it is missing or unknown."""
        if label not in self.labels:
            what = "no class given" if label is None else f"the class {label!r} was never seen in training"
            listed = ", ".join(self.labels[:8]) + (", ..." if len(self.labels) > 8 else "")
            meant = "" if label is None else did_you_mean(label, self.labels)
            raise UsageError(what, hint=f"{meant}name one with --class: {listed}")
        return self.labels.index(label)

    def require(self, command: str) -> None:
        """Raise UsageError, with the commands that the model answers, if `command` is not one of them."""
        if command not in self.commands:
            at_level = f" of --level {self.text.level}" if command in self.facts.commands else ""
            raise UsageError(
                f"charlm {command} does not work with a --task {self.task} model{at_level}",
                hint=f"use it with: {', '.join(f'charlm {name}' for name in self.commands)}",
            )

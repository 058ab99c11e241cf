"""The tasks: everything that is true of a task, once, in one record.

A new task is one entry of `TASKS`. A class or function that only the new task has gets an entry in the registry of its
room: a reader of its corpus in `text.tasks.READERS`, a head in `nn.heads.HEADS`, figures in
`inference.figures.FIGURES`, predictions in `inference.prediction.PREDICTORS`.
"""

from __future__ import annotations

from dataclasses import dataclass

from charlm.errors import UsageError


@dataclass(frozen=True)
class Task:
    """What is true of one task. Of a tuple of allowed values, the first is the default.

    commands: those that a trained model answers
    answers: what they return, the key of `FIGURES` and `PREDICTORS`: text, tags, classes, translations or pieces

    The corpus:
    reader: key of `READERS`
    conditioned_reader: key of `READERS` with --condition; empty if the task cannot be conditioned
    levels, units: allowed values of --level and --unit
    split: default of --split
    step: what the network reads at one time step
    figures: figures besides the loss that tell how good a model is, the first for any labels
    unit: what an evaluation counts
    target: what the loss is a mean over; empty for tokens, which are named by --level
    frequencies: what the baseline of the loss knows; empty for those of the tokens
    one_record: advice for a corpus of a single record, if there is some

    The network:
    inputs: x<t>: tokens, or keys (several of them sound at once)
    targets: y<t>: tokens, labels or keys
    body: how recurrent layers are arranged: stack, last step, towers or encoder-decoder
    head: key of `HEADS`
    bidirectional: allowed values of --bidirectional
    bidirectional_task: the task that --bidirectional stands for, if it is another one
    binary_head: key of `HEADS` for labels that are 0 and 1; empty if they are treated like all others
    chain_head: key of `HEADS` for labels that depend on each other, with --crf; empty if the task has none
    spells: whether the network can also read words by their characters, with --char-features
    carries_state: whether the hidden state goes on from one mini-batch to the next
    """

    name: str
    commands: tuple[str, ...]
    answers: str

    reader: str
    conditioned_reader: str = ""
    levels: tuple[str, ...] = ("char", "byte", "subword", "word")
    units: tuple[str, ...] = ("line",)
    split: str = "punct"
    step: str = "token"
    unit: str = "token"
    target: str = ""
    frequencies: str = ""
    figures: tuple[str, ...] = ()
    one_record: str = ""

    inputs: str = "tokens"
    targets: str = "tokens"
    body: str = "stack"
    head: str = "softmax"
    bidirectional: tuple[bool, ...] = (False,)
    bidirectional_task: str = ""
    binary_head: str = ""
    chain_head: str = ""
    spells: bool = False
    carries_state: bool = False

    @property
    def can_be_conditioned(self) -> bool:
        """Whether --condition is allowed: x<1> is then a label."""
        return bool(self.conditioned_reader)

    @property
    def needs_labels(self) -> bool:
        """Whether the network predicts labels."""
        return self.targets == "labels"

    @property
    def has_labels(self) -> bool:
        """Whether a model may know labels, to predict them or to be conditioned on them."""
        return self.needs_labels or self.can_be_conditioned

    @property
    def translates(self) -> bool:
        """Whether the targets have a vocabulary of their own."""
        return self.body == "encoder-decoder"

    @property
    def is_language_model(self) -> bool:
        """Whether each token is predicted from those before it, and so the text has a probability."""
        return self.body == "stack" and self.targets == "tokens"

    @property
    def is_cloze(self) -> bool:
        """Whether each token is predicted from all others: their product is a pseudo-probability of the text."""
        return self.body == "towers"


_PREDICT = ("predict", "evaluate")

TASKS: dict[str, Task] = {
    one.name: one
    for one in (
        Task(
            "lm",
            ("generate", "next", "score", "surprisal", "rank", "filter", "rescore", "evaluate", "compare", "export"),
            "text",
            reader="lines",
            conditioned_reader="labelled lines",
            units=("line", "stream"),
            one_record="the text is one line: --unit stream learns it as one text, and can hold out its end",
            bidirectional_task="cloze",
            carries_state=True,
        ),
        Task(
            "cloze",
            ("fill", "score", "rank", "filter", "rescore", "evaluate", "compare", "export"),
            "text",
            reader="gaps",
            one_record="the text is one line: give each sentence a line of its own",
            body="towers",
            bidirectional=(True,),
        ),
        Task(
            "tag",
            (*_PREDICT, "export"),
            "tags",
            reader="tagged sentences",
            levels=("word",),
            split="whitespace",
            target="tag",
            frequencies="label frequencies",
            figures=("accuracy", "f1"),
            one_record="the corpus is one sentence: end each sentence with a blank line",
            targets="labels",
            bidirectional=(True, False),
            binary_head="sigmoid",
            chain_head="crf",
            spells=True,
        ),
        Task(
            "classify",
            (*_PREDICT, "export"),
            "classes",
            reader="labelled texts",
            unit="text",
            target="label",
            frequencies="label frequencies",
            figures=("accuracy",),
            targets="labels",
            body="last step",
            bidirectional=(True, False),
        ),
        Task(
            "translate",
            _PREDICT,
            "translations",
            reader="pairs",
            levels=("word", "char"),
            body="encoder-decoder",
        ),
        Task(
            "music",
            ("generate", "evaluate"),
            "pieces",
            reader="pieces",
            conditioned_reader="labelled pieces",
            levels=("word",),
            split="whitespace",
            step="step",
            unit="step",
            target="step",
            frequencies="key frequencies",
            inputs="keys",
            targets="keys",
            head="sigmoid",
            carries_state=True,
        ),
    )
}


TASK_NAMES = tuple(TASKS)


def task_of(name: object) -> Task:
    """Return the record of a task; raise UsageError for an unknown name."""
    if not isinstance(name, str) or name not in TASKS:
        raise UsageError(f"--task is {name!r}", hint=f"choose one of: {', '.join(TASKS)}")
    return TASKS[name]


def task_named(name: str, *, bidirectional: bool | None) -> str:
    """Return the name of the task that --task and --bidirectional ask for together."""
    other = task_of(name).bidirectional_task
    return other if bidirectional and other else name

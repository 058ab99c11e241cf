"""Small models of every task, their weights drawn at random and large, so that what they say depends on all they read.

`saved` writes one of each to a folder, for the commands; `TEXTS` has a corpus that each can be evaluated on.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from charlm import checkpoint
from charlm.backends import NumpyBackend
from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.language_model import LanguageModel
from charlm.nn.build import build
from charlm.text import EOS, NOTHING, UNK, UNK_ID, Tokenizer, Vocabulary, splitter_of
from charlm.text.batches.lanes import NO_TARGET, Batch
from charlm.text.tokens.codec import BINARY, Codec

WORDS = ("the", "cat", "dog", "sees", "it", ".", ",")
TARGET = ("le", "chat", "voit", ".")
KEYS = tuple(map(str, range(60, 65)))
WORD, APART = {"level": "word"}, {"level": "word", "split": "whitespace"}
IOB2 = {**APART, "tag_scheme": "iob2"}

KINDS = {  # tokens, labels, target tokens, the text's fields, the network's fields
    "lm": ("abc", (), (), {}, {"task": "lm"}),
    "conditioned": ("abc", ("x", "y", "zz"), (), {}, {"task": "lm"}),
    "cloze": (WORDS, (), (), WORD, {"task": "cloze", "bidirectional": True, "embedding_size": 4}),
    "cloze-char": ("abc ", (), (), {}, {"task": "cloze", "bidirectional": True}),
    "tag": (WORDS, ("N", "P", "V"), (), APART, {"task": "tag", "bidirectional": True}),
    "entities": (WORDS, ("B-X", "B-Y", "I-X", "I-Y", "O"), (), IOB2, {"task": "tag", "bidirectional": True}),
    "yes-no": (WORDS, BINARY, (), APART, {"task": "tag", "bidirectional": True}),
    "classify": ("abc ", ("bad", "good", "so-so"), (), {}, {"task": "classify", "bidirectional": True}),
    "translate": (WORDS, (), TARGET, WORD, {"task": "translate"}),
    "music": (KEYS, (), (), APART, {"task": "music"}),
    "genre": (KEYS, ("jig", "waltz"), (), APART, {"task": "music"}),
}
TASKS = {kind: fields[4]["task"] for kind, fields in KINDS.items()}
FITTING = {  # the commands that a model of each task is for
    "lm": ("generate", "next", "score", "surprisal", "rank", "filter", "rescore", "evaluate", "compare", "export"),
    "cloze": ("fill", "score", "rank", "filter", "rescore", "evaluate", "compare", "export"),
    "tag": ("predict", "evaluate", "export"),
    "classify": ("predict", "evaluate", "export"),
    "translate": ("predict", "evaluate"),
    "music": ("generate", "evaluate"),
}
TRAINING = {  # the flags that train a model of each kind
    "lm": (),
    "conditioned": ("--condition",),
    "cloze": ("--bidirectional",),
    "tag": ("--task", "tag"),
    "entities": ("--task", "tag"),
    "yes-no": ("--task", "tag"),
    "classify": ("--task", "classify"),
    "translate": ("--task", "translate"),
    "music": ("--task", "music"),
    "genre": ("--task", "music", "--condition"),
}
CLASSES = {  # what `generate` is to be told
    "conditioned": ("--class", "x"),
    "genre": ("--class", "jig"),
}

LISTS = "u\t-1\tabc\nu\t-2\tca\n"  # what `rescore` reads


def needed(command, kind):
    """Return the flags without which a command does not run, with a model of a kind."""
    classes = CLASSES.get(kind, ())
    flags = {"filter": ("--below", "inf"), "rescore": ("--id", 1, "--score", 2, "--text", 3, *classes)}
    return flags.get(command, classes if command in ("generate", "next") else ())


TEXTS = {  # what each is evaluated on
    "lm": "abc\n\nca\n",
    "conditioned": "x\tabc\nzz\tc\ny\tbb\n",
    "cloze": "the cat sees it.\n\nthe dog\n",
    "cloze-char": "abc a\n\nca\n",
    "tag": "the\tP\ncat\tN\n\nit\tP\nsees\tV\nwhat\tN\n",
    "entities": "the\tO\ncat\tB-X\n\nit\tB-Y\nsees\tI-Y\nwhat\tO\n",
    "yes-no": "the\t0\ncat\t1\n\nit\t0\nsees\t0\nwhat\t1\n",
    "classify": "good\tabc a\nbad\tccc\nso-so\ta b\n",
    "translate": "the cat sees it.\tle chat voit.\nthe dog\tle chat\n",
    "music": "60 - 62,64 60\n61,62\n",
    "genre": "jig\t60 - 62,64 60\nwaltz\t61,62\n",
}


def task_model(kind: str, *, seed: int = 1, spread: float = 2.0, text: dict | None = None, **network) -> LanguageModel:
    """Draw a model; network: fields of `ModelConfig` in place of the kind's."""
    tokens, labels, target, own_text, own_network = KINDS[kind]
    config = TextConfig(**{**own_text, **(text or {})})
    splitter = splitter_of(config)
    codec = Codec(
        Tokenizer(splitter, Vocabulary((EOS, UNK, *tokens))),
        labels,
        Tokenizer(splitter, Vocabulary((EOS, UNK, *target))) if target else None,
    )
    fields = {"hidden_size": 5, "num_layers": 2, "dtype": "float64", **own_network, **network}
    model = build(ModelConfig(**{**codec.sizes(fields["task"]), **fields}), NumpyBackend(), seed=seed)
    model.parameters.values[...] = np.random.default_rng(seed).uniform(-spread, spread, model.parameters.values.size)
    language_model = LanguageModel(model, codec, config, TrainConfig())
    parameter(language_model, "head.b_y")[...] *= 0.1  # what is read is to matter more than what always holds
    return language_model


def parameter(language_model: LanguageModel, name: str) -> np.ndarray:
    """Return one parameter, to be overwritten."""
    parameters = language_model.model.parameters
    return parameters.named(parameters.values)[name]


def outputs(language_model: LanguageModel, log_probs) -> None:
    """Make a model predict the same at every place: what `log_probs`, or the logits, of its choices are."""
    parameter(language_model, "head.W_y")[...] = 0.0
    parameter(language_model, "head.b_y")[:, 0] = log_probs


def ids_of(language_model: LanguageModel, line: str) -> list[int]:
    """Return the ids of a line's tokens."""
    return language_model.tokenizer.encode(line).tolist()


def nats(language_model: LanguageModel, inputs, targets, *, source=None) -> np.ndarray:
    """Return -ln P of each target of one sequence alone, 0 where it is `NO_TARGET`."""
    return _nats(language_model, inputs, np.array(targets, np.int32)[:, None], source)[:, 0]


def choices_at(language_model: LanguageModel, inputs, place: int, *, source=None) -> np.ndarray:
    """Return P of every choice at one place of a sequence, each choice asked for in a copy of its own."""
    config = language_model.model.config
    count = config.target_size or max(config.labels, 2) if config.task != "cloze" else config.vocabulary_size
    targets = np.full((len(inputs), count), NO_TARGET, np.int32)
    targets[place] = np.arange(count)
    probs = np.exp(-_nats(language_model, inputs, targets, source)[place])
    assert abs(probs.sum() - 1.0) < 1e-9
    return probs


def choices_everywhere(language_model: LanguageModel, inputs) -> np.ndarray:
    """Return P of every token of a vocabulary at each place of a sequence, `[T, V]`, for one pass over it."""
    targets = np.tile(np.arange(len(language_model.tokenizer.vocabulary), dtype=np.int32), (len(inputs), 1))
    return np.exp(-_nats(language_model, inputs, targets, None))


def _nats(language_model: LanguageModel, inputs, targets: np.ndarray, source) -> np.ndarray:
    lanes = targets.shape[1]
    columns, sources = (
        None if ids is None else np.repeat(np.array(ids, np.int32)[:, None], lanes, axis=1) for ids in (inputs, source)
    )
    model = language_model.model
    return model.nats(Batch(columns, targets, None, sources), model.zero_state(lanes), model.workspace())[0]


def given_the_others(language_model: LanguageModel, ids, place: int) -> np.ndarray:
    """Return P(token | all others) of every token at a place, with nothing there for the network to peep at."""
    hidden = [*ids]
    hidden[place] = UNK_ID
    return choices_at(language_model, hidden, place)


def shifted(ids, first: int = NOTHING) -> list[int]:
    """Return what a language model reads while it predicts ids."""
    return [first, *ids[:-1]]


def saved(folder: Path, **network) -> SimpleNamespace:
    """Write a model of each kind; give their paths by name, `_` for `-`, and the models in `.models`."""
    made = SimpleNamespace(folder=folder, models={})
    for kind in KINDS:
        path = folder / f"{kind}.safetensors"
        made.models[kind] = task_model(kind, **network)
        checkpoint.save(path, made.models[kind])
        setattr(made, kind.replace("-", "_"), path)
    return made


def random_lines(tokens, count: int, longest: int, *, seed: int = 0, between: str = " ") -> list[str]:
    """Draw lines of 0 to `longest` tokens."""
    rng = np.random.default_rng(seed)
    return [between.join(rng.choice(list(tokens), rng.integers(0, longest + 1))) for _ in range(count)]

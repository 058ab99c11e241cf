"""Random small models of every task, cell and option, their weights drawn and not learned."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from charlm.backends import NumpyBackend
from charlm.config import ACTIVATIONS, CELL_NAMES, RESETS, ModelConfig, TextConfig, TrainConfig
from charlm.language_model import LanguageModel
from charlm.nn.build import build
from charlm.text import EOS, UNK, Tokenizer, Vocabulary, make_splitter
from charlm.text.ids.encoder import count_tokens
from charlm.text.tokens.codec import BINARY, Codec
from tests.fuzz import texts

KINDS = ("lm", "conditioned", "cloze", "tag", "yes-no", "classify", "translate", "music", "genre")
LABELS = ("bad", "good", "so-so", "ß")
TOLERANCE = {"float32": 2e-3, "float64": 1e-7}  # of figures in nats, relative where they are above 1
_CHARACTERS = tuple("anotr")  # that a tagger with an embedding distinguishes
_MANY = 600  # tokens: above 512 what is one-hot is looked up


@dataclass(frozen=True)
class Drawn:
    """A model and what it was drawn with: its kind, a generator for what it is tried on, and whether it is calm.

    calm: its weights are so small that rounding does not grow with the length of a line
    """

    kind: str
    model: LanguageModel
    rng: np.random.Generator
    calm: bool

    @property
    def tolerance(self) -> float:
        """Return how far two figures may be apart that are equal but for rounding, where they are about 1."""
        return TOLERANCE[self.model.model.config.dtype]

    def close(self, one: object, other: object) -> bool:
        """Tell whether figures are equal but for rounding; NaN is equal to nothing."""
        a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
        return a.shape == b.shape and bool(np.all(np.abs(a - b) <= self.tolerance * np.maximum(1.0, np.abs(b))))

    def __str__(self) -> str:
        network, text = self.model.model.config, self.model.text
        return f"a model of the kind {self.kind}: {network}, {text}, {len(self.model.tokenizer.vocabulary)} tokens"


def draw(number: int) -> Drawn:
    """Draw a model; the kinds take turns."""
    rng = np.random.default_rng([14, number])
    kind = KINDS[number % len(KINDS)]
    text = _text(kind, rng)
    codec = _codec(kind, text, rng)
    calm = bool(rng.random() < 0.7)
    network = _network(kind, rng, codec)
    if kind == "tag" and network["embedding_size"]:
        codec = replace(codec, characters=_CHARACTERS)
        network |= {"char_features": network["hidden_size"] % 3 + 1, "characters": len(_CHARACTERS)}
    if not calm:  # what grows has to start small
        network["dtype"] = "float64"
    model = build(ModelConfig(**network), NumpyBackend(), seed=number)
    gain = float(rng.choice([0.3, 0.9] if calm else [1.5, 2.5]))
    for name, array in model.parameters.named(model.parameters.values).items():
        limit = gain * math.sqrt(3.0 / model.config.hidden_size) if name.endswith(".W") else gain
        array[...] = rng.uniform(-limit, limit, array.shape)
    return Drawn(kind, LanguageModel(model, codec, text, TrainConfig()), rng, calm)


def _text(kind: str, rng: np.random.Generator) -> TextConfig:
    if kind in ("tag", "yes-no", "music", "genre"):
        return TextConfig(level="word", split="whitespace", lowercase=bool(rng.random() < 0.3) and kind[0] in "ty")
    return TextConfig(
        level=str(rng.choice(["char", "word"])),
        unit="stream" if kind == "lm" and rng.random() < 0.4 else "line",
        split=str(rng.choice(["punct", "whitespace"])),
        lowercase=bool(rng.random() < 0.3),
        normalize="none",  # random tokens may be marks, which normalization joins with the token before
    )


def _codec(kind: str, text: TextConfig, rng: np.random.Generator) -> Codec:
    """Draw the names: tokens of random text, some of them left out, so that they are unknown."""
    splitter = make_splitter(text.level, text.split, lowercase=text.lowercase)

    def tokenizer() -> Tokenizer:
        seen = texts.lines(rng, 12, oddness=0.15)
        if text.level == "word" and rng.random() < 0.06:
            seen += [f"w{i}" for i in range(_MANY)]
        counts = count_tokens((line.replace("\t", " ").replace("\0", "") for line in [*seen, "ra to ni"]), splitter)
        kept = sorted(token for token in counts if rng.random() < 0.85 or len(counts) > _MANY) or ["ra"]
        return Tokenizer(splitter, Vocabulary((EOS, UNK, *kept)))

    if kind in ("music", "genre"):
        low = int(rng.integers(0, 100))
        keys = map(str, range(low, low + int(rng.integers(3, 20))))
        return Codec(Tokenizer(splitter, Vocabulary((EOS, UNK, *keys))), LABELS[:2] if kind == "genre" else ())
    labels = {"yes-no": BINARY, "tag": LABELS[: rng.integers(2, 5)], "classify": LABELS[: rng.integers(2, 5)]}
    labels["conditioned"] = LABELS[: rng.integers(1, 5)]
    return Codec(tokenizer(), tuple(labels.get(kind, ())), tokenizer() if kind == "translate" else None)


def _network(kind: str, rng: np.random.Generator, codec: Codec) -> dict[str, object]:
    task = {"conditioned": "lm", "yes-no": "tag", "genre": "music"}.get(kind, kind)
    cell = str(rng.choice(CELL_NAMES))
    dense = tuple(int(size) for size in rng.integers(1, 9, rng.choice([0, 0, 1, 2])))
    hidden = int(rng.integers(1, 13))
    bidirectional = task == "cloze" or (task in ("tag", "classify") and bool(rng.random() < 0.6))
    embedding = int(rng.integers(1, 9)) if task != "music" and rng.random() < 0.5 else 0
    tokens = task in ("lm", "cloze", "translate")
    ties = tokens and bool(rng.random() < 0.25)
    if ties:
        embedding = dense[-1] if dense else hidden * (2 if bidirectional else 1)
    sizes = codec.sizes(task)
    return {
        **sizes,
        "task": task,
        "cell": cell,
        "activation": str(rng.choice(ACTIVATIONS)) if cell == "rnn" or dense else "tanh",
        "reset": str(rng.choice(RESETS)) if cell == "gru" else "after",
        "relevance_gate": cell == "lstm" and bool(rng.random() < 0.5),
        "hidden_size": hidden,
        "num_layers": int(rng.integers(1, 4)),
        "embedding_size": embedding,
        "dense": dense,
        "tie_weights": ties,
        "dropout": float(rng.choice([0.0, 0.3])),
        "dtype": str(rng.choice(list(TOLERANCE))),
        "bidirectional": bidirectional,
        **_softmax(rng, sizes.get("target_size") or sizes["vocabulary_size"], may_adapt=tokens),
    }


def _softmax(rng: np.random.Generator, outputs: int, *, may_adapt: bool) -> dict[str, object]:
    """Draw a softmax; one in four of those that may is adaptive, with cutoffs anywhere."""
    if not may_adapt or rng.random() < 0.75:
        return {}
    cutoffs = np.sort(rng.choice(np.arange(1, outputs), min(outputs - 1, int(rng.integers(1, 4))), replace=False))
    return {"softmax": "adaptive", "cutoffs": tuple(cutoffs.tolist())}

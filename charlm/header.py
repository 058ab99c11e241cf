"""The header of a model file: all that is known of a model besides its weights, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from charlm.backends import Backend
from charlm.config import ModelConfig, TextConfig, TrainConfig, check_text
from charlm.errors import CharlmError, ResourceError
from charlm.language_model import LanguageModel, Outcome, RunRecord
from charlm.nn.build import build, parameter_shapes
from charlm.text import Tokenizer, Vocabulary, splitter_of
from charlm.text.tokens.codec import BINARY, SPECIAL, Codec
from charlm.text.tokens.joining import Spacing
from charlm.text.tokens.music_steps import HIGHEST_KEY
from charlm.training import FIGURES, HISTORY_FIELDS
from charlm.version import __version__

# Version 1 has no `text.normalize`. All versions up to this one can be read. `spacing` is optional in all of them.
FORMAT_VERSION = 3

# Limits that keep sums and quotients of these numbers finite.
_LARGEST: dict[type, float] = {int: 1 << 53, float: 1e300}

# What a malformed header raises.
INVALID = (CharlmError, AttributeError, KeyError, TypeError, ValueError)

# The tokens of music.
_KEYS = frozenset(map(str, range(HIGHEST_KEY + 1)))

# Characters of a name.
_LONGEST_NAME = 80


def header_of(language_model: LanguageModel, kind: str = "model") -> dict[str, Any]:
    """Return the header of a file; kind: model or checkpoint."""
    return {
        "format": "charlm",
        "version": FORMAT_VERSION,
        "charlm": __version__,
        "kind": kind,
        "task": language_model.task,
        "text": language_model.text.stored(),
        "model": language_model.model.config.stored(),
        "train": language_model.train.stored(),
        "vocabulary": list(language_model.tokenizer.vocabulary.tokens),
        **_names(language_model.codec),
        "history": language_model.history,
        **({} if language_model.core is None else {"core": language_model.core}),
        **({"run": run} if (run := language_model.run.to_dict()) else {}),
        **({} if language_model.outcome is None else {"outcome": language_model.outcome.to_dict()}),
    }


def _names(codec: Codec) -> dict[str, list[Any]]:
    """Return the names that only some tasks have, and the spacing of text with learned spaces."""
    target = [] if codec.target is None else list(codec.target.vocabulary.tokens)
    names = {"labels": list(codec.labels), "target_vocabulary": target}
    if codec.characters is not None:
        names["characters"] = list(codec.characters)
    tokenizers = {"spacing": codec.tokenizer, "target_spacing": codec.target}
    spacings = {key: one.splitter.spacing.to_json() for key, one in tokenizers.items() if one and one.splitter.spacing}
    return {key: named for key, named in (names | spacings).items() if named or key == "characters"}


def _codec(header: dict[str, Any], text: TextConfig) -> Codec:
    """Return the codec that a header describes; raise ValueError or KeyError for an invalid one."""
    splitter = splitter_of(text)
    names = {
        "vocabulary": header["vocabulary"],
        **{key: header.get(key, []) for key in ("labels", "target_vocabulary", "characters")},
    }
    if strange := next((key for key, listed in names.items() if not isinstance(listed, list)), None):
        raise ValueError(f"{strange} is not a list")
    labels = tuple(names["labels"])
    if not all(isinstance(label, str) and label for label in labels) or len(set(labels)) != len(labels):
        raise ValueError("the labels are not distinct non-empty strings")
    characters = tuple(names["characters"])
    if not all(isinstance(one, str) and len(one) == 1 for one in characters) or len(set(characters)) != len(characters):
        raise ValueError("the characters are not distinct strings of length 1")
    target = tuple(names["target_vocabulary"])
    # Files of older versions have no spacing: their tokens are joined as English is written.
    if splitter.vocabulary is not None and names["vocabulary"] != list(splitter.vocabulary.tokens):
        raise ValueError(f"its vocabulary is not that of its level, {text.level}")
    own, other = (
        splitter.spelling_as(Spacing.from_json(header[key]) if key in header else None)
        for key in ("spacing", "target_spacing")
    )
    return Codec(
        Tokenizer(own, Vocabulary(tuple(names["vocabulary"]))),
        labels,
        Tokenizer(other, Vocabulary(target)) if target else None,
        characters if "characters" in header else None,
    )


def _check_task(config: ModelConfig, text: TextConfig) -> None:
    """Raise UsageError or ValueError if the text or the names do not fit the task of the network."""
    check_text(config.task, text, conditioned=config.is_conditioned)
    if (config.target_size and not config.facts.translates) or (config.labels and not config.facts.has_labels):
        raise ValueError(f"labels or a target vocabulary with the task {config.task}")


@dataclass(frozen=True)
class Described:
    """What a header says of a model."""

    config: ModelConfig
    codec: Codec
    text: TextConfig
    train: TrainConfig
    history: list[dict[str, Any]]
    core: str | None
    outcome: Outcome | None
    run: RunRecord
    version: str | None

    def check_names(self) -> None:
        """Raise ValueError if the names do not fit the network."""
        config, codec = self.config, self.codec
        if config.facts.binary_head and config.labels == 1 and codec.labels != BINARY:
            raise ValueError(f"its labels are {codec.labels}, not {BINARY}")
        if config.facts.inputs == "keys" and not _KEYS.issuperset(codec.tokenizer.vocabulary.tokens[SPECIAL:]):
            raise ValueError(f"its vocabulary contains other tokens than the keys 0 to {HIGHEST_KEY}")
        if (codec.characters is not None) != bool(config.char_features):
            raise ValueError(f"its header lists characters, or lacks them, with --char-features {config.char_features}")
        for name, size in codec.sizes(config.task).items():
            if getattr(config, name) != size:
                raise ValueError(f"its header lists {size} names for a {name} of {getattr(config, name)}")

    def with_weights(self, prefix: str, values: Mapping[str, np.ndarray], ops: Backend) -> LanguageModel:
        """Return the model with these weights; prefix: the beginning of their names."""
        model = build(self.config, ops)
        for name, array in model.parameters.named(model.parameters.values).items():
            array[...] = ops.array(values[prefix + name])
        return LanguageModel(
            model, self.codec, self.text, self.train, self.history, self.core, self.outcome, self.run, self.version
        )


def described_by(header: dict[str, Any]) -> Described:
    """Return what a header says of a model; raise one of `INVALID` for a malformed header."""
    config = ModelConfig.from_dict(header["model"])
    text, train = TextConfig.from_dict(header["text"]), TrainConfig.from_dict(header["train"])
    codec = _codec(header, text)
    if header["task"] != config.task:
        raise ValueError(f"two tasks, {header['task']} and {config.task}")
    _check_task(config, text)
    history, core = checked_history(header["history"]), _checked_core(header.get("core"))
    run, outcome = RunRecord.from_dict(header.get("run", {})), _checked_outcome(header.get("outcome"))
    version = _version(header.get("charlm"))
    return Described(config, codec, text, train, history, core, outcome, run, version)


def not_finite(values: Mapping[str, np.ndarray]) -> str | None:
    """Return the name of an array with NaN or infinity, None if all numbers are finite."""
    return next((name for name, array in values.items() if not np.isfinite(array).all()), None)


def assembled(header: dict[str, Any], values: Mapping[str, np.ndarray], ops: Backend) -> LanguageModel:
    """Return the model of a header, as `header_of` returns it, and of the parameters by name.

    Raises ValueError if they are not those of a model.
    """
    try:
        described = described_by(header)
    except ResourceError:
        raise
    except INVALID as error:
        raise ValueError(f"invalid header: {error}") from error
    described.check_names()
    for name, shape in (implied := parameter_shapes(described.config, ops)).items():
        found = values[name].shape if name in values else "missing"
        if found != shape:
            raise ValueError(f"{name} is {found}, not {shape}")
    if strange := sorted(set(values) - set(implied)):
        raise ValueError(f"unexpected array {strange[0]!r}")
    if (nan := not_finite(values)) is not None:
        raise ValueError(f"{nan} contains NaN or infinity")
    return described.with_weights("", values, ops)


def checked_history(history: Any) -> list[dict[str, Any]]:
    """Return the history; raise ValueError for a malformed one."""
    for row in history if isinstance(history, list) else [None]:
        if not isinstance(row, dict) or set(row) - set(FIGURES) != set(HISTORY_FIELDS):
            raise ValueError("the history is not a list of records")
        if not all(is_number(v) or (v is None and k == "valid_nats") for k, v in row.items()):
            raise ValueError("the history contains an invalid number")
    return list(history)


def _checked_core(core: Any) -> str | None:
    """Return the name of the core, of any charlm, or None; raise ValueError if it is not a name."""
    if core is not None and not (isinstance(core, str) and core.isidentifier() and len(core) <= _LONGEST_NAME):
        raise ValueError("the core is not a name")
    return core


def _version(charlm: Any) -> str | None:
    """Return the version of the charlm that wrote a file, None if it is not named: nothing depends on it."""
    is_name = isinstance(charlm, str) and charlm.isprintable() and 0 < len(charlm) <= _LONGEST_NAME
    return charlm if is_name else None


def _checked_outcome(outcome: Any) -> Outcome | None:
    """Return what a training has come to, or None; raise ValueError for a malformed record."""
    if outcome is None:
        return None
    if not isinstance(outcome, dict):
        raise ValueError("the outcome is not a record")
    optional = ("valid_nats", "figure")
    numbers = {key: value for key, value in outcome.items() if key != "figure_name"}
    if outcome.get("figure_name") not in ("", *FIGURES) or not all(
        is_number(value) or (value is None and key in optional) for key, value in numbers.items()
    ):
        raise ValueError("the outcome contains an invalid value")
    return Outcome.from_dict(outcome)


def is_number(value: Any) -> bool:
    """Return whether a value is a number that the trainer can compute with; JSON allows integers of any size."""
    return type(value) in _LARGEST and abs(value) <= _LARGEST[type(value)]

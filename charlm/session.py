"""From lines and configurations to a training that can start. Every new model is put together here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

from charlm.backends import Backend, get_backend
from charlm.checkpoint import Checkpoint
from charlm.config import (
    LARGEST_SIZE,
    OF_TRAINING,
    ModelConfig,
    TextConfig,
    TrainConfig,
    check_text,
    check_vocabulary,
)
from charlm.errors import CorpusError, UsageError
from charlm.inference.evaluation import CONTEXT
from charlm.inference.tallies import tally_named
from charlm.language_model import LanguageModel
from charlm.nn.build import build, for_training, training_core
from charlm.settings import CorpusSize, before_reading, chosen
from charlm.task import task_named, task_of
from charlm.text.dataset import Encoded
from charlm.text.reader import CorpusReader
from charlm.text.sampling import sample_batches
from charlm.text.tasks import corpus_reader
from charlm.text.tokens.codec import Codec
from charlm.training import HeldOut, Trainer, Validation, check_keep, figure_of
from charlm.training.schedules import spread_anew

VALIDATION_LANES = 64
# Fields of `ModelConfig` that follow from the corpus.
SIZES = ("vocabulary_size", "labels", "target_size", "characters")
# In place of each before the corpus is read: large enough for all --cutoffs.
_UNKNOWN_SIZE = LARGEST_SIZE


@dataclass(frozen=True)
class Session:
    """A training that can start: the model with its first weights, the trainer, and the two parts of the corpus.

    batch_size, seq_length: those of the configuration, or smaller ones for a small corpus
    warnings: what looks wrong with the corpus, one sentence each
    chosen: the settings that followed from the corpus, fields of the configurations

    The trainer's model is the language model's, or shares its weights: see `nn.build.for_training`.
    """

    language_model: LanguageModel
    trainer: Trainer
    train: Encoded
    valid: Encoded
    batch_size: int
    seq_length: int
    warnings: Sequence[str] = ()
    chosen: Mapping[str, Any] = field(default_factory=dict)


def text_defaults(task: str, level: str | None = None) -> dict[str, str]:
    """Return the fields of `TextConfig` whose defaults depend on the task and the level; None: the task's default."""
    facts = task_of(task)
    level = level or facts.levels[0]
    # Bytes in another form would be other bytes.
    form = {"normalize": "none"} if level == "byte" else {}
    scheme = {"tag_scheme": "iob2"} if facts.answers == "tags" else {}
    return {"level": level, "split": facts.split, **form, **scheme}


def settings_of(language_model: LanguageModel) -> dict[str, Any]:
    """Return the settings of a model's training: fields of the configurations, without the sizes of its corpus."""
    network = language_model.model.config.to_dict()
    network = {name: value for name, value in network.items() if name not in SIZES}
    return {**language_model.text.to_dict(), **network, **language_model.train.to_dict()}


def inherited(source: LanguageModel, task: str) -> dict[str, Any]:
    """Return the settings that a training takes over together with the weights of a model: its text and its network.

    task: of the training; of another task, what belongs to the head and to the form of the corpus is not taken over
    """
    free = {*OF_TRAINING, "token_column", "tag_column", *(one.name for one in fields(TrainConfig))}
    if source.task != task:
        free |= {"task", "unit", "tie_weights", "softmax", "cutoffs", "crf", "tag_scheme"}
    return {name: value for name, value in settings_of(source).items() if name not in free}


def check_network(network: dict[str, Any]) -> None:
    """Raise UsageError for an invalid network, before the size of its vocabulary is known."""
    ModelConfig(**{**dict.fromkeys(SIZES, _UNKNOWN_SIZE), **_completed(network)})


def prepare(
    lines: Iterable[str],
    text: TextConfig,
    network: dict[str, Any],
    config: TrainConfig,
    *,
    conditioned: bool = False,
    valid_lines: Iterable[str] | None = None,
    ops: Backend | None = None,
) -> Session:
    """Learn the vocabulary, encode the corpus, hold out a part, and build the network.

    network: fields of `ModelConfig`, without the sizes, which follow from the corpus
    conditioned: whether each line begins with a label and a tab
    valid_lines: held-out lines, in place of a part of the corpus
    Raises CorpusError for an empty or malformed corpus, UsageError for an invalid configuration.
    Raises ResourceError, before the corpus is read, if the device does not compute in the precision asked for.
    """
    network = _completed(network)
    check_network(network)
    check_keep(config.keep, task_of(network["task"]))
    check_vocabulary(text, config.to_dict())
    reader, ops = _opened(network, text, conditioned, ops)
    codec, train, valid = _learned(reader, lines, valid_lines, config)
    return _built(reader, codec, train, valid, network, config, ops)


def prepare_from(
    lines: Iterable[str],
    given: Mapping[str, Any],
    *,
    conditioned: bool = False,
    valid_lines: Iterable[str] | None = None,
    ops: Backend | None = None,
) -> Session:
    """Prepare a training as `prepare` does; the settings that are not given follow from the corpus, see `settings`.

    given: fields of `TextConfig`, `ModelConfig` and `TrainConfig`
    """
    network, config = _completed(_fields_of(ModelConfig, given)), TrainConfig(**_fields_of(TrainConfig, given))
    task = task_of(network["task"])
    check_keep(config.keep, task)
    text = TextConfig(**{**text_defaults(task.name, given.get("level")), **_fields_of(TextConfig, given)})
    check_vocabulary(text, given)
    check_text(task.name, text, conditioned=conditioned)
    check_network({**_fields_of(ModelConfig, chosen(task, text, CorpusSize(1, 1), network)), **network})
    reader, ops = _opened(network, text, conditioned, ops)
    corpus = reader.gather(lines)
    choices: dict[str, Any] = {}
    if "unit" not in given and not conditioned and "stream" in task.units and reader.is_running_text(corpus):
        choices["unit"] = "stream"
        reader = corpus_reader(task.name, replace(text, unit="stream"), conditioned=conditioned)
    choices |= before_reading(task, reader.text, reader.records_in(corpus), given)
    config = replace(config, **_fields_of(TrainConfig, choices))
    codec, train, valid = _learned(reader, corpus, valid_lines, config)
    size = CorpusSize(train.size, codec.outputs(task.name))
    choices |= chosen(task, reader.text, size, {**given, **network})
    network |= _fields_of(ModelConfig, choices)
    config = replace(config, **_fields_of(TrainConfig, choices))
    return replace(_built(reader, codec, train, valid, network, config, ops), chosen=choices)


def _fields_of(kind: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that are fields of a configuration."""
    return {one.name: settings[one.name] for one in fields(kind) if one.name in settings}


def _opened(
    network: Mapping[str, Any], text: TextConfig, conditioned: bool, ops: Backend | None
) -> tuple[CorpusReader, Backend]:
    """Return the reader of the corpus and the backend, after checking that they can do what is asked for."""
    ops = ops or get_backend("cpu")
    ops.in_precision(network.get("dtype", ModelConfig.dtype))
    check_text(network["task"], text, conditioned=conditioned)
    spells = bool(network.get("char_features"))
    return corpus_reader(network["task"], text, conditioned=conditioned, spells=spells), ops


def _learned(
    reader: CorpusReader, corpus: Any, valid_lines: Iterable[str] | None, config: TrainConfig
) -> tuple[Codec, Encoded, Encoded]:
    """Return the codec, the training part and the held-out part of a corpus."""
    if config.valid_seed is not None and reader.text.unit == "stream":
        raise UsageError("--valid-seed with --unit stream", hint="leave it out: the end of the text is held out")
    codec, train, valid = reader.learn(corpus, config, 0.0 if valid_lines is not None else config.valid_fraction)
    if valid_lines is not None:
        valid = reader.encode_corpus(valid_lines, codec)
        if not valid.size:
            raise CorpusError("the held-out text is empty", hint="name a file with at least one line")
    return codec, train, valid


def _built(
    reader: CorpusReader,
    codec: Codec,
    train: Encoded,
    valid: Encoded,
    network: Mapping[str, Any],
    config: TrainConfig,
    ops: Backend,
) -> Session:
    """Return the training of a new network."""
    figure = figure_of(config.keep, task_of(network["task"]), codec.labels)
    config = replace(config, keep=config.keep or figure or "loss")
    sized = ModelConfig(**{**codec.sizes(network["task"]), **network})
    model = build(sized, ops, seed=config.seed, init_scale=config.init_scale)
    text = replace(reader.text, piece_model=codec.tokenizer.splitter.piece_model)
    language_model = LanguageModel(model, codec, text, config, core=training_core(model))
    return replace(assemble(language_model, train, valid), warnings=reader.warnings)


def _completed(network: dict[str, Any]) -> dict[str, Any]:
    """Return the network with its task and its direction."""
    task = task_named(network.get("task", "lm"), bidirectional=network.get("bidirectional"))
    return {"bidirectional": task_of(task).bidirectional[0], **network, "task": task}


def resume(
    checkpoint: Checkpoint, lines: Iterable[str], valid_lines: Iterable[str] | None, limits: dict[str, Any]
) -> Session:
    """Return the training as it was when its checkpoint was written.

    lines, valid_lines: the same text as then
    limits: new values of the fields of `TrainConfig` that limit the training
    """
    stored, state = checkpoint.language_model, checkpoint.training
    assert state is not None
    # A new limit takes the place of all old ones.
    if limits.keys() - {"patience"}:
        limits = {"epochs": None, "max_steps": None, "minutes": None, **limits}
    config = replace(stored.train, **limits)
    language_model = replace(stored, train=config, history=[], core=training_core(stored.model))
    reader = stored.reader
    held_out = 0.0 if valid_lines is not None else config.valid_fraction
    train, valid = reader.again(lines, stored.codec, config, held_out)
    if valid_lines is not None:
        valid = reader.encode_corpus(valid_lines, stored.codec)
    session = assemble(language_model, train, valid)
    session.trainer.restore(state)
    if limits.keys() - {"patience"}:
        spread_anew(session.trainer.numbers)
    return session


def assemble(language_model: LanguageModel, train: Encoded, valid: Encoded) -> Session:
    """Return the training of a model on the encoded parts of its corpus.

    Raises CorpusError if there is nothing to learn from, ResourceError if the device does not compute in the model's
    precision.
    """
    config = language_model.train
    if not train.size:
        raise CorpusError("the corpus is empty", hint="name a text file with at least one word")
    batch_size, seq_length = train.fit(config.batch_size, config.seq_length)
    batches = train.batches(batch_size, seq_length, seed=config.seed)
    model, judged = for_training(language_model.model), None
    if valid.size:
        sample = partial(sample_batches, valid, VALIDATION_LANES, config.seq_length, CONTEXT)
        held_out = HeldOut(valid.size, train.size / batches.steps(0), sample)
        name = figure_of(config.keep, language_model.facts, language_model.labels)
        figure = None if name is None else partial(tally_named, name, language_model.labels)
        judged = Validation(model, sample(valid.size), held_out, figure, name or "")
    trainer = Trainer(model, config, batches, judged)
    trainer.numbers.history = language_model.history
    return Session(language_model, trainer, train, valid, batch_size, seq_length)

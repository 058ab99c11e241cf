"""From lines and configurations to a training that can start; the one place where a new model is put together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from charlm.backends import Backend, NumpyBackend
from charlm.checkpoint import Checkpoint
from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.errors import CorpusError
from charlm.evaluation import CONTEXT
from charlm.language_model import LanguageModel
from charlm.nn.build import build
from charlm.text.dataset import Dataset, encode, learn_vocabulary
from charlm.training import Trainer

VALIDATION_LANES = 64


@dataclass(frozen=True)
class Session:
    """A training that can start: the model with its first weights, the trainer, and the two parts of the corpus.

    batch_size, seq_length: as fitted to the corpus, not larger than asked for
    """

    language_model: LanguageModel
    trainer: Trainer
    train: Dataset
    valid: Dataset
    batch_size: int
    seq_length: int


def prepare(
    lines: Iterable[str],
    text: TextConfig,
    network: dict[str, Any],
    config: TrainConfig,
    *,
    valid_lines: Iterable[str] | None = None,
    ops: Backend | None = None,
) -> Session:
    """Learn the vocabulary, encode the corpus, hold out a part, and build the network.

    network: fields of `ModelConfig`, without the vocabulary's size; valid_lines: held-out lines in place of a part
    Raises CorpusError where there is nothing to learn, UsageError where the configuration does not hold.
    """
    held_out = 0.0 if valid_lines is not None else config.valid_fraction
    tokenizer, train, valid = learn_vocabulary(
        list(lines), text, fraction=held_out, seed=config.seed, max_size=config.vocab_size, min_count=config.min_count
    )
    if valid_lines is not None:
        valid = encode(tokenizer, valid_lines, text.unit)
        if not valid.ids.size:
            raise CorpusError("the held-out text is empty", hint="name a file with a line in it, or leave --valid out")
    model_config = ModelConfig(vocabulary_size=len(tokenizer.vocabulary), **network)
    model = build(model_config, ops or NumpyBackend(), seed=config.seed)
    return assemble(LanguageModel(model, tokenizer, text, config), train, valid)


def resume(
    checkpoint: Checkpoint, lines: Iterable[str], valid_lines: Iterable[str] | None, limits: dict[str, Any]
) -> Session:
    """Put a training together as it was when its checkpoint was written.

    lines, valid_lines: the same text as then; limits: fields of `TrainConfig` that say how long to train, where they
    are to be others than then
    """
    stored, state = checkpoint.language_model, checkpoint.training
    assert state is not None
    if limits.keys() - {"patience"}:  # a new limit takes the place of all old ones
        limits = {"epochs": None, "max_steps": None, "minutes": None, **limits}
    config = replace(stored.train, **limits)
    language_model = replace(stored, train=config, history=[])
    whole = encode(stored.tokenizer, lines, stored.text.unit)
    train, valid = whole.split(0.0 if valid_lines is not None else config.valid_fraction, config.seed)
    if valid_lines is not None:
        valid = encode(stored.tokenizer, valid_lines, stored.text.unit)
    session = assemble(language_model, train, valid)
    session.trainer.restore(state)
    if limits.keys() - {"patience"}:
        session.trainer.total_steps = 0  # to be planned anew
    return session


def assemble(language_model: LanguageModel, train: Dataset, valid: Dataset) -> Session:
    """Put a trainer beside a model and the encoded parts of its corpus."""
    config = language_model.train
    batch_size, seq_length = train.fit(config.batch_size, config.seq_length)
    batches = train.batches(batch_size, seq_length, seed=config.seed)
    judged = None
    if valid.ids.size:
        lanes, steps = valid.fit(VALIDATION_LANES, config.seq_length)
        judged = valid.batches(lanes, steps, context=CONTEXT)
    trainer = Trainer(language_model.model, config, batches, judged)
    trainer.history = language_model.history
    return Session(language_model, trainer, train, valid, batch_size, seq_length)

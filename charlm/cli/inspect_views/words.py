"""The configurations of a model in words, as `charlm inspect` prints them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charlm.cli.training_lines import in_words, rate_figure
from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.storage.files import display_name

_TOKENS = {"char": "characters", "byte": "bytes", "subword": "pieces of words", "word": "words"}

# How a variant of a cell that is not the default is named.
_VARIANTS = {
    "relu": "with ReLU",
    "before": "with the relevance gate before the product",
    "both": "with the relevance gate of the notes",
    "relevance": "with a relevance gate",
}
_KEPT = {
    "loss": "the lowest validation loss",
    "accuracy": "the best accuracy",
    "f1": "the best F1",
    "last": "the last weights",
}


def network_words(config: ModelConfig) -> str:
    """Return the network of a configuration: `lstm, 2 layers of 128, one-hot, dropout 0.3`."""
    facts = config.facts
    layers = f"{config.num_layers} layer{'s' if config.num_layers > 1 else ''} of {config.hidden_size}"
    sides = " in both directions" if config.bidirectional else ""
    body = {"towers": " from each side", "encoder-decoder": " in encoder and decoder"}.get(facts.body, sides)
    keys = "a 0 or 1 for each key"
    read = f"embedding of {config.embedding_size}" if config.embedding_size else "one-hot"
    if config.char_features:
        read += f" and {config.char_features} features of characters from each side"
    words = [
        " ".join(filter(None, (config.cell, _VARIANTS.get(config.variant, "")))),
        layers + body,
        read if facts.inputs == "tokens" else keys,
    ]
    if config.dropout:
        kind = "variational " if config.dropout_kind == "variational" else ""
        words.append(f"{kind}dropout {config.dropout:g}")
    words += _used(config, "embedding_dropout", "weight_drop", "activation_penalty", "temporal_penalty")
    if config.dense:
        activation = "ReLU" if config.activation == "relu" else config.activation
        words.append(f"dense layers of {', '.join(map(str, config.dense))} with {activation}")
    if config.tie_weights:
        words.append("tied weights")
    if config.softmax == "adaptive":
        words.append(f"adaptive softmax cut at {' and '.join(f'{cutoff:,}' for cutoff in config.cutoffs)}")
    if config.crf:
        words.append("a chain of tags")
    return ", ".join([*words, config.dtype])


def _used(config: ModelConfig | TrainConfig, *names: str) -> list[str]:
    """Return those of these fields that are not the default, in words."""
    values = {name: getattr(config, name) for name in names if getattr(config, name) != getattr(type(config), name)}
    return [f"{name.replace('_', ' ')} {value:g}" for name, value in values.items()]


def text_words(config: TextConfig) -> str:
    """Return how a text becomes tokens and sequences."""
    words = [_TOKENS[config.level]]
    if config.level == "word":
        words.append("split at white space" if config.split == "whitespace" else "punctuation split off")
    words.append("one running text" if config.unit == "stream" else "a sequence for each record")
    if config.lowercase:
        words.append("in lower case")
    if config.raw:
        words.append("files as they are")
    if config.token_column is not None:
        words.append(f"tokens in column {config.token_column} and tags in column {config.tag_column}")
    form = "not normalized" if config.normalize == "none" else f"normalized to {config.normalize.upper()}"
    return ", ".join([*words, form])


def training_words(config: TrainConfig) -> str:
    """Return how the network learned."""
    settings: Mapping[str, Any] = {name: value for name, value in config.to_dict().items() if value is not None}
    apart = {"learning_rate", *(["valid_fraction"] if config.valid else [])}
    words = in_words({name: value for name, value in settings.items() if name not in apart})
    words.append(f"{config.optimizer} with learning rate {rate_figure(config.learning_rate)}")
    words += _used(config, "momentum", "beta1", "beta2", "weight_decay", "weight_noise")
    words.append(f"{config.schedule} schedule")
    if config.schedule == "step":
        words.append(f"times {config.decay:g} an epoch after {config.decay_from}")
    words += _used(config, "warmup", "clip_value", "accumulate", "average", "init_scale")
    if config.clip:
        words.append(f"clipping at {config.clip:g}")
    if config.vocab_size is not None:
        words.append(f"the {config.vocab_size:,} most frequent tokens")
    if config.minutes is not None:
        words.append(f"at most {config.minutes:g} min")
    if config.valid is not None:
        words.append(f"validated on {display_name(config.valid)}")
    if config.shards > 1:
        words.append(f"in {config.shards} shards")
    if config.keep is not None:
        words.append(f"keeps {_KEPT[config.keep]}")
    words.append(f"seed {config.seed}")
    if config.valid_seed is not None:
        words.append(f"held-out lines of seed {config.valid_seed}")
    return ", ".join(words)

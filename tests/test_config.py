"""Configurations: checked when they are made, each mistake named by its flag, and the same after JSON."""

import dataclasses
import json
import math

import pytest

from charlm.config import CELL_NAMES, ModelConfig, SampleConfig, TextConfig, TrainConfig
from charlm.errors import UsageError

NETWORK = {"vocabulary_size": 10}


def refusal_of(make):
    with pytest.raises(UsageError) as refusal:
        make()
    assert refusal.value.exit_code == 2
    assert "\n" not in refusal.value.message + refusal.value.hint
    return refusal.value


@pytest.mark.parametrize(
    ("kind", "name", "flag", "bad"),
    [
        (TextConfig, "level", "--level", ["syllable", "", None, 1]),
        (TextConfig, "unit", "--unit", ["page"]),
        (TextConfig, "split", "--split", ["spaces"]),
        (ModelConfig, "cell", "--cell", ["LSTM", None, ["lstm"]]),
        (ModelConfig, "activation", "--activation", ["sigmoid"]),
        (ModelConfig, "reset", "--reset", ["never"]),
        (ModelConfig, "dtype", "--dtype", ["float16"]),
        (ModelConfig, "vocabulary_size", "vocabulary", [2, -1, 3.0, True, "9", (1 << 27) + 1]),
        (ModelConfig, "hidden_size", "--hidden-size", [0, -4, 1.5, True, None, "8", (1 << 20) + 1]),
        (ModelConfig, "num_layers", "--num-layers", [0, 101, 2.0]),
        (ModelConfig, "embedding_size", "--embedding-size", [-1, 0.5, None]),
        (ModelConfig, "char_features", "--char-features", [-1, 0.5, True, None]),
        (ModelConfig, "characters", "characters", [-1, "a"]),
        (ModelConfig, "dense", "--dense", [(0,), (3, -1), (2.5,), ("3",)]),
        (ModelConfig, "dropout", "--dropout", [-0.1, 0.96, 1, math.nan, math.inf, "0", None, True]),
        (TrainConfig, "seq_length", "--seq-length", [0, -1, 1.0, None]),
        (TrainConfig, "batch_size", "--batch-size", [0, -1, 2.0, None]),
        (TrainConfig, "epochs", "--epochs", [0, -1, 1.5, True]),
        (TrainConfig, "max_steps", "--max-steps", [0, 0.5]),
        (TrainConfig, "minutes", "--minutes", [0, -1, math.nan, math.inf, "5"]),
        (TrainConfig, "optimizer", "--optimizer", ["adamw"]),
        (TrainConfig, "schedule", "--schedule", ["linear"]),
        (TrainConfig, "learning_rate", "--lr", [0, -0.1, math.nan, math.inf, "1", 2e9, 10**400]),
        (TrainConfig, "clip", "--clip", [-1, math.nan, math.inf]),
        (TrainConfig, "valid_fraction", "--valid-fraction", [-0.01, 0.91, 1, math.nan]),
        (TrainConfig, "vocab_size", "--vocab-size", [0, -1]),
        (TrainConfig, "min_count", "--min-count", [0, -1]),
        (TrainConfig, "patience", "--patience", [0, -1]),
        (TrainConfig, "seed", "--seed", [-1, 1 << 63, 0.5, None]),
        (SampleConfig, "length", "--length", [-1, 1.5]),
        (SampleConfig, "temperature", "--temperature", [-0.1, math.nan, math.inf]),
        (SampleConfig, "top_k", "--top-k", [0, -1, 1.5]),
        (SampleConfig, "top_p", "--top-p", [-0.1, 1.1, math.nan]),
        (SampleConfig, "stop", "--stop", [("",), ("a", "")]),
    ],
)
def test_a_value_out_of_range_is_named_by_its_flag(kind, name, flag, bad):
    base = NETWORK if kind is ModelConfig else {}
    for value in bad:
        refusal = refusal_of(lambda value=value: kind(**{**base, name: value}))
        assert flag in refusal.message, value
        assert refusal.hint, value


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ModelConfig, {"vocabulary_size": 3, "hidden_size": 1, "num_layers": 100, "dropout": 0.95, "dense": (1,)}),
        (ModelConfig, {"vocabulary_size": 1 << 27, "hidden_size": 1 << 20, "dropout": 0}),
        (TrainConfig, {"seed": (1 << 63) - 1, "learning_rate": 1e-12, "clip": 0, "valid_fraction": 0.9, "epochs": 1}),
        (TrainConfig, {"seed": 0, "valid_fraction": 0, "minutes": 0.001, "patience": 1, "vocab_size": 1}),
        (SampleConfig, {"length": 0, "temperature": 0, "top_k": 1, "top_p": 0.0}),
    ],
)
def test_the_edges_are_allowed(kind, values):
    made = kind(**values)
    assert {name: getattr(made, name) for name in values} == values


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"cell": "gru", "relevance_gate": True}, ("--relevance-gate", "--cell gru")),
        ({"cell": "lstm", "activation": "relu"}, ("--activation relu", "--cell lstm")),
        ({"cell": "lstm", "reset": "before"}, ("--reset before", "--cell lstm")),
        ({"cutoffs": (3,)}, ("--cutoffs", "--softmax adaptive")),
        ({"softmax": "adaptive", "cutoffs": (3, 3)}, ("--cutoffs is 3", "from 4 to 9")),
        ({"softmax": "adaptive", "cutoffs": (10,)}, ("--cutoffs is 10", "from 1 to 9")),
        ({"softmax": "adaptive", "cutoffs": 3}, ("--cutoffs is 3",)),
        ({"softmax": "adaptive", "cutoffs": range(1, 12)}, ("--cutoffs",)),
        ({"softmax": "hierarchical"}, ("--softmax", "full, adaptive")),
        ({"softmax": "adaptive", "tie_weights": True, "embedding_size": 8}, ("--tie-weights", "--embedding-size 128")),
        ({"softmax": "adaptive", "task": "tag", "labels": 3}, ("--softmax adaptive", "--task tag")),
        ({"char_features": 4, "embedding_size": 8}, ("--task lm with --char-features", "--task tag")),
        ({"char_features": 4, "task": "tag", "labels": 2}, ("--char-features 4", "--embedding-size N")),
        ({"tie_weights": True}, ("--tie-weights", "--embedding-size 128")),
        ({"tie_weights": True, "embedding_size": 128, "dense": (64,)}, ("--tie-weights", "--embedding-size 64")),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, flags):
    refusal = refusal_of(lambda: ModelConfig(**NETWORK, **options))
    assert all(flag in refusal.message + " " + refusal.hint for flag in flags)


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "lstm", "relevance_gate": True},
        {"cell": "rnn", "activation": "relu"},
        {"cell": "lstm", "activation": "relu", "dense": (8,)},
        {"cell": "gru", "reset": "both"},
        {"softmax": "adaptive", "cutoffs": (1, 4)},
        {"softmax": "adaptive", "cutoffs": (1, 4), "tie_weights": True, "embedding_size": 128},
        {"softmax": "adaptive", "cutoffs": (2,), "task": "translate", "target_size": 3},
        {"tie_weights": True, "embedding_size": 128},
        {"tie_weights": True, "embedding_size": 64, "dense": (32, 64)},
        {"char_features": 4, "characters": 9, "embedding_size": 8, "task": "tag", "labels": 2},
    ],
)
def test_options_that_go_together_are_not_refused(options):
    made = ModelConfig(**NETWORK, **options)
    assert {name: getattr(made, name) for name in options} == options


EXAMPLES = [
    TextConfig(),
    TextConfig("word", "stream", "whitespace", lowercase=True, normalize="nfkc"),
    *(ModelConfig(7, cell=cell) for cell in CELL_NAMES),
    ModelConfig(9, "rnn", "relu", "after", False, 8, 3, 4, (6, 4), True, 0.25, "float64"),
    TrainConfig(),
    TrainConfig(8, 4, 3, 100, 1.5, "sgd", 0.1, "plateau", 1, 0.2, "held.txt", 50, 2, 7, (1 << 63) - 1),
    SampleConfig(),
    SampleConfig(5, 0.7, 3, 0.9, ("\n", "ab"), allow_unk=True),
]


@pytest.mark.parametrize("config", EXAMPLES, ids=lambda config: type(config).__name__)
def test_json_gives_back_what_it_was_given(config):
    text = json.dumps(config.to_dict(), allow_nan=False)
    again = type(config).from_dict(json.loads(text))
    assert again == config
    assert all(type(getattr(again, f.name)) is type(getattr(config, f.name)) for f in dataclasses.fields(config))
    assert type(config).from_dict(config.to_dict()) == config
    assert json.dumps(again.to_dict(), allow_nan=False) == text


@pytest.mark.parametrize("kind", [TextConfig, ModelConfig, TrainConfig, SampleConfig])
def test_unknown_fields_are_refused(kind):
    base = NETWORK if kind is ModelConfig else {}
    assert "'zebra'" in refusal_of(lambda: kind.from_dict({**base, "zebra": 1})).message


def test_missing_fields_are_refused():
    assert "vocabulary_size" in refusal_of(lambda: ModelConfig.from_dict({})).message


def test_values_out_of_range_are_refused_by_from_dict_too():
    assert "--lr" in refusal_of(lambda: TrainConfig.from_dict({"learning_rate": -1})).message


@pytest.mark.parametrize("config", EXAMPLES, ids=lambda config: type(config).__name__)
def test_a_configuration_is_frozen(config):
    name = dataclasses.fields(config)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, name, getattr(config, name))

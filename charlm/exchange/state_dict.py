"""A state_dict of PyTorch with a vocabulary: nn.Embedding, then nn.RNN, nn.GRU or nn.LSTM, then nn.Linear."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charlm.backends import NumpyBackend
from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.errors import ModelFileError, UsageError
from charlm.exchange.blocks import TORCH
from charlm.exchange.network import Affine, Network, chained, form_of, parameters_of
from charlm.exchange.torch_file import weights_at
from charlm.language_model import LanguageModel
from charlm.nn.build import build
from charlm.quoting import did_you_mean
from charlm.storage.files import display_name
from charlm.text import EOS, UNK, Tokenizer, Vocabulary, splitter_of
from charlm.text.tokens.codec import SPECIAL, Codec

# How other programs spell the end of a sentence and an unknown token.
_ENDS = (EOS, "<eos>", "</s>", "<|endoftext|>", "\n")
_UNKNOWN = (UNK, "<unk>", "[UNK]")

# ln P of an unknown token of a model that knows none, about.
_NEVER = -1e4

_CELLS = {4: "lstm", 3: "gru", 1: "rnn"}  # by the number of blocks
_RECURRENT = re.compile(r"(?P<prefix>.*)(weight|bias)_(ih|hh)_l(?P<layer>\d+)(?P<other>.*)")


@dataclass(frozen=True)
class Reading:
    """What the weights of another program do not tell.

    vocabulary: the tokens in the order of their ids
    level: char or word; None for char if all tokens have one character
    unit: stream if a text begins with the end of a sentence, line if it begins with the zero vector
    activation: of nn.RNN, and between linear layers
    eos, unk: the tokens for the end of a sentence and for what is unknown; None for the usual names
    """

    vocabulary: Sequence[str]
    level: str | None = None
    unit: str = "stream"
    activation: str = "tanh"
    eos: str | None = None
    unk: str | None = None


def model_from(path: Path, arrays: Mapping[str, np.ndarray], reading: Reading) -> LanguageModel:
    """Return the language model of a state_dict.

    Raises ModelFileError if it has other layers, UsageError if the vocabulary does not fit.
    """
    try:
        config, network = _described(arrays, reading)
    except (KeyError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        hint = "charlm reads nn.Embedding, then nn.LSTM, nn.GRU or nn.RNN of one direction, then nn.Linear"
        raise ModelFileError(f"not a language model, {display_name(path)}: {reason}", hint=hint) from error
    order = _order(reading, len(network.output.b), path)
    table, W_y, b_y = network.embedding[:-1], network.output.W, network.output.b
    nothing = np.zeros_like(table[:1])
    # The row -1 is that of an unknown token, if the model knows none.
    table = np.concatenate([table, nothing])[order]
    W_y = np.concatenate([W_y, np.zeros_like(W_y[:1])])[order]
    b_y = np.concatenate([b_y, np.array([_NEVER], b_y.dtype)])[order]
    ordered = Network(np.concatenate([table, nothing]), network.stacks, network.dense, Affine(W_y, b_y))
    config = ModelConfig.from_dict({**config.to_dict(), "vocabulary_size": len(order)})
    model = build(config, NumpyBackend())
    values = parameters_of(ordered, config, form_of(config, TORCH, "torch.nn"))
    named = model.parameters.named(model.parameters.values)
    for name, array in values.items():
        if not np.isfinite(array).all():
            raise ModelFileError(f"{name} contains NaN or infinity, {display_name(path)}", hint="train it again")
        named[name][...] = array
    tokens = tuple(reading.vocabulary[i] for i in order[SPECIAL:])
    text = _text(reading, tokens)
    return LanguageModel(
        model, Codec(Tokenizer(splitter_of(text), Vocabulary((EOS, UNK, *tokens)))), text, TrainConfig()
    )


def read_vocabulary(path: Path) -> list[str]:
    r"""Return the tokens of a file in the order of their ids.

    The file has one token a line, in which \n, \t and \\ are a newline, a tab and a backslash. Or it is a JSON list of
    tokens. Or it is a JSON object of their ids.
    Raises UsageError if the file is missing or malformed.
    """
    import json

    name = display_name(path)
    try:
        text = path.read_bytes().decode()
        if path.suffix != ".json":
            escapes = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}
            lines = text.removesuffix("\n").split("\n")
            return [re.sub(r"\\[nt\\]", lambda found: escapes[found[0]], line.removesuffix("\r")) for line in lines]
        found = json.loads(text)
        tokens = found
        if isinstance(found, dict):
            tokens = sorted(found, key=found.__getitem__)
            if sorted(found.values()) != list(range(len(found))):
                raise ValueError(f"its ids are not 0 to {len(found) - 1}")
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise ValueError("it is not a list of strings")
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}", hint="name a file of tokens") from error
    except (ValueError, TypeError, RecursionError) as error:
        hint = "write one token a line, or a JSON list of tokens"
        raise UsageError(f"not a vocabulary, {name}: {error}", hint=hint) from error
    return tokens


def _described(arrays: Mapping[str, np.ndarray], reading: Reading) -> tuple[ModelConfig, Network]:
    """Return the configuration and the network of a state_dict, its tokens in their own order."""
    if strange := [name for name, array in arrays.items() if array.dtype not in (np.float32, np.float64)]:
        raise ValueError(f"{strange[0]} is {arrays[strange[0]].dtype}, not float32 or float64")
    found = {name: match for name in arrays if (match := _RECURRENT.fullmatch(name))}
    prefixes = {match["prefix"] for match in found.values()}
    if len(prefixes) != 1:
        raise ValueError(f"it has {len(prefixes)} recurrent modules, not one")
    if other := [name for name, match in found.items() if match["other"]]:
        raise ValueError(f"{other[0]} is of a second direction or of a projection")
    (prefix,) = prefixes
    count = 1 + max(int(match["layer"]) for match in found.values())
    layers = tuple((weights_at(arrays, prefix, number),) for number in range(count))
    H = layers[0][0].W_hh.shape[1]
    blocks = layers[0][0].W_hh.shape[0] / H
    if blocks not in _CELLS:
        raise ValueError(f"{prefix}weight_hh_l0 has {blocks:g} blocks of rows, not 1, 3 or 4")
    left = {name: array for name, array in arrays.items() if name not in found}
    tables = [name for name in left if name.endswith("weight") and name.removesuffix("weight") + "bias" not in left]
    D = layers[0][0].W_ih.shape[1]
    tables = [name for name in tables if left[name].ndim == 2 and left[name].shape[1] == D]
    if not tables:
        # Of tied weights `save_model` keeps one name, which may be that of the linear layer.
        tables = [name for name in left if name.endswith("weight") and left[name].shape[1:] == (D,) and D == H]
    if len(tables) != 1:
        raise ValueError(f"it has {len(tables)} embeddings with {D} columns, not one")
    table = left[tables[0]]
    V = len(table)
    if tables[0].removesuffix("weight") + "bias" not in left:
        del left[tables[0]]
    linear = {
        name.removesuffix("bias"): Affine(left.get(name.removesuffix("bias") + "weight", table), left[name])
        for name in left
        if name.endswith("bias")
    }
    if strange := sorted(set(left) - {name + end for name in linear for end in ("weight", "bias")}):
        raise ValueError(f"unexpected array {strange[0]}")
    *dense, output = (linear[name] for name in chained(linear, H, V)) if linear else (None,)
    if output is None:
        raise ValueError("it has no linear layer with a bias")
    cell = _CELLS[int(blocks)]
    tied = output.W.shape == table.shape and np.array_equal(output.W, table)
    config = ModelConfig(
        vocabulary_size=max(V, SPECIAL + 1),
        cell=cell,
        activation=reading.activation if cell == "rnn" or dense else "tanh",
        hidden_size=H,
        num_layers=count,
        embedding_size=D,
        dense=tuple(len(one.b) for one in dense),
        tie_weights=tied,
        dtype=str(table.dtype),
    )
    embedding = np.concatenate([table, np.zeros_like(table[:1])])
    return config, Network(embedding, {"rnn": layers}, tuple(dense), output)


def _order(reading: Reading, size: int, path: Path) -> list[int]:
    """Return the ids of another program in the order of charlm's; -1 for an unknown token that it lacks."""
    tokens = list(reading.vocabulary)
    if len(tokens) != size:
        message = f"the vocabulary has {len(tokens):,} tokens, {display_name(path)} has {size:,}"
        raise UsageError(message, hint="write one token a line, in the order of their ids")
    if "" in tokens:
        raise UsageError("the vocabulary has an empty token", hint=f"see line {tokens.index('') + 1} of its file")
    [(token, times)] = Counter(tokens).most_common(1)
    if times > 1:
        raise UsageError(f"the vocabulary has the token {token!r} {times} times", hint="name each token once")
    end, unknown = _special(tokens, reading.eos, _ENDS, "--eos"), _special(tokens, reading.unk, _UNKNOWN, "--unk")
    if end is None:
        hint = "name the token that ends a sentence: --eos TOKEN"
        raise UsageError("the vocabulary has no token for the end of a sentence", hint=hint)
    special = (end, -1 if unknown is None else unknown)
    return [*special, *(i for i in range(size) if i not in special)]


def _special(tokens: list[str], given: str | None, usual: tuple[str, ...], option: str) -> int | None:
    if given is not None and given not in tokens:
        message = f"{option} {given!r} is not in the vocabulary"
        raise UsageError(message, hint=f"{did_you_mean(given, tokens)}name one of its tokens")
    return next((tokens.index(token) for token in ([given] if given is not None else usual) if token in tokens), None)


def _text(reading: Reading, tokens: Sequence[str]) -> TextConfig:
    level = reading.level or ("char" if all(len(token) == 1 for token in tokens) else "word")
    if level == "char" and (strange := [token for token in tokens if len(token) != 1]):
        raise UsageError(f"--level char, but {strange[0]!r} is a token", hint="use --level word")
    split = "whitespace" if level == "word" else "punct"
    return TextConfig(level=level, unit=reading.unit, split=split, normalize="none")
